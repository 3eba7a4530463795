//! `Kvm`: the open `/dev/kvm`.

use std::io;

use hv_core::{
    arch::Arch,
    hypervisor::{Error, Hypervisor, Result, VmPlan},
};

use crate::{KvmVm, arch};

/// The version of the KVM API that has been stable since Linux 2.6.22 (KVM API, 4.1).
const API_VERSION: i32 = 12;

/// The open `/dev/kvm`.
#[derive(Debug)]
pub struct Kvm(kvm_ioctls::Kvm);

impl Kvm {
    fn require(&self) -> Result<()> {
        let version = self.0.get_api_version();
        if version != API_VERSION {
            let found =
                io::Error::other(format!("version {version} instead of {API_VERSION}; this is not KVM"));
            return Err(Error::new("KVM_GET_API_VERSION", found));
        }
        match arch::REQUIRED.iter().find(|(capability, _)| !self.0.check_extension(*capability)) {
            None => Ok(()),
            Some((_, name)) => {
                let missing = io::Error::other(format!("{name} is missing; a newer Linux kernel has it"));
                Err(Error::new("KVM_CHECK_EXTENSION", missing))
            }
        }
    }
}

impl Hypervisor for Kvm {
    type Vm = KvmVm;

    fn open() -> Result<Self> {
        let kvm =
            Self(kvm_ioctls::Kvm::new().map_err(|error| Error::new("open /dev/kvm", explain(error.into())))?);
        kvm.require()?;
        Ok(kvm)
    }

    fn facts(&self) -> Result<<arch::Guest as Arch>::Facts> {
        arch::facts(&self.0)
    }

    fn create_vm(&self, plan: &VmPlan<arch::Guest>) -> Result<KvmVm> {
        KvmVm::new(&self.0, plan)
    }
}

/// Adds to the host's reason for refusing `/dev/kvm` what its user can do.
fn explain(error: io::Error) -> io::Error {
    let cure = match error.raw_os_error() {
        Some(libc::ENOENT) => arch::ABSENT,
        Some(libc::ENODEV) => arch::DISABLED,
        Some(libc::EACCES | libc::EPERM) => "join the group that owns it (usually kvm) and log in again",
        _ => return error,
    };
    io::Error::new(error.kind(), format!("{error}; {cure}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_cause_and_cure() {
        let message = |code| explain(io::Error::from_raw_os_error(code)).to_string();
        assert!(
            message(libc::EACCES).contains("Permission denied") && message(libc::EACCES).contains("group")
        );
        assert!(message(libc::ENOENT).contains(arch::ABSENT));
        assert_eq!(message(libc::EMFILE), io::Error::from_raw_os_error(libc::EMFILE).to_string());
    }
}
