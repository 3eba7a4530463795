//! `Hvf`: Hypervisor.framework, as this host and this binary may use it.

use std::io;

use hv_core::{
    arch::{Aarch64, aarch64::Facts},
    hypervisor::{Error, Hypervisor, Result, VmPlan},
};

use crate::{
    HvfVm,
    framework::{self, Machine},
};

/// The version of Darwin in macOS 15, the first whose framework has an interrupt controller.
const DARWIN_OF_MACOS_15: u32 = 24;

/// Redistributors that the machine has room for.
const MOST_VCPUS: u32 = 64;

/// Hypervisor.framework.
#[derive(Debug)]
pub struct Hvf(());

impl Hypervisor for Hvf {
    type Vm = HvfVm;

    /// Makes a virtual machine and throws it away: nothing else tells whether this binary may.
    fn open() -> Result<Self> {
        if cfg!(all(target_os = "macos", not(feature = "simulated"))) {
            require(&rustix::system::uname().release().to_string_lossy())?;
        }
        match Machine::create(None) {
            Ok(_) => Ok(Self(())),
            // The one that there is shows that it may.
            Err(error) if error.source.kind() == io::ErrorKind::ResourceBusy => Ok(Self(())),
            Err(error) => Err(error),
        }
    }

    fn facts(&self) -> Result<Facts> {
        Ok(Facts {
            max_vcpus: framework::max_vcpus()?.min(MOST_VCPUS),
            physical_address_bits: u8::try_from(framework::max_address_bits()?).unwrap_or(u8::MAX),
        })
    }

    fn create_vm(&self, plan: &VmPlan<Aarch64>) -> Result<HvfVm> {
        HvfVm::new(plan)
    }
}

/// The release of Darwin, as `uname -r` has it, is new enough.
fn require(release: &str) -> Result<()> {
    let major = release.split('.').next().and_then(|major| major.parse::<u32>().ok());
    // What is no number is newer than this program.
    if major.is_none_or(|major| major >= DARWIN_OF_MACOS_15) {
        return Ok(());
    }
    let old = format!(
        "this macOS (Darwin {release}) is too old: its framework has no interrupt controller; upgrade to macOS 15 or newer"
    );
    Err(Error::new("open Hypervisor.framework", io::Error::new(io::ErrorKind::Unsupported, old)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macos_14_is_too_old() {
        let error = require("23.6.0").unwrap_err().to_string();
        assert!(error.contains("macOS 15") && error.contains("Darwin 23.6.0"), "{error}");
        for release in ["24.0.0", "25.1.0", "", "x"] {
            assert!(require(release).is_ok(), "{release}");
        }
    }
}
