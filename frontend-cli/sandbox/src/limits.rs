//! Limits of the process: no core file with a guest's memory in it, no more descriptors, no more memory than a guest comes to need.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{Error, Hypervisor};

/// So much private memory may be added when all is opened, beside the guest's RAM: buffers of 4096 connections, stacks, a kernel
/// that is unpacked.
#[cfg(target_os = "linux")]
const HEADROOM: u64 = 4 << 30;

/// Sets them; the guest has `memory` bytes of RAM. The number of processes has no limit: the host counts those of the user, not of
/// this process, and what a thread may call keeps it from making any.
pub(crate) fn set(hypervisor: Hypervisor, memory: u64) -> Result<(), Error> {
    let set = |resource, most| {
        let limit = Rlimit { current: most, maximum: most };
        setrlimit(resource, limit).map_err(|error| Error::new("setrlimit", error))
    };
    set(Resource::Core, Some(0))?;
    set(Resource::Nofile, getrlimit(Resource::Nofile).current)?;
    // A translator takes room for code by the gigabyte and uses little of it.
    #[cfg(target_os = "linux")]
    if hypervisor == Hypervisor::Native
        && let Some(used) = private_memory()
        && getrlimit(Resource::Data).maximum.is_none()
    {
        set(Resource::Data, Some(used.saturating_add(memory).saturating_add(HEADROOM)))?;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (hypervisor, memory);
    Ok(())
}

/// Bytes of private, writable mappings.
#[cfg(target_os = "linux")]
fn private_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmData:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn memory_is_counted() {
        let used = super::private_memory().unwrap();
        assert!((64 << 10..64 << 30).contains(&used), "{used}");
    }
}
