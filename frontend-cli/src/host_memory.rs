//! How much memory this host can give to a guest.

#[cfg(not(target_os = "macos"))]
mod linux;

use anyhow::bail;

const MIB: u64 = 1 << 20;

/// What the host has, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HostMemory {
    /// The most that this process could ever have: RAM and swap, or the limit of a control group.
    pub(crate) limit: u64,
    /// What is free or soon can be.
    pub(crate) available: u64,
}

impl HostMemory {
    /// Asks this host; nothing if it does not say.
    pub(crate) fn of_this_host() -> Option<Self> {
        cfg_if::cfg_if! {
            if #[cfg(target_os = "macos")] {
                // What is free is not told: macOS makes room by compression as long as it can.
                crate::macos::physical_memory().map(|limit| Self { limit, available: limit })
            } else {
                linux::read(std::path::Path::new("/"))
            }
        }
    }

    /// Refuses guests that can never fit. Smaller ones may share what there is: RAM that a guest does not touch
    /// costs nothing.
    pub(crate) fn check(&self, memory: u64) -> anyhow::Result<()> {
        if memory > self.limit {
            let (wanted, limit, free) = (memory / MIB, self.limit / MIB, self.available / MIB);
            bail!(
                "--memory {wanted}M is more than this host's {limit}M; {}",
                match free {
                    0..64 => "free some memory first".to_owned(),
                    _ => format!("use --memory {}M or less", free & !1),
                }
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_has_memory() {
        let memory = HostMemory::of_this_host().unwrap();
        assert!(memory.limit >= memory.available && memory.available > 0);
        assert!(memory.check(u64::MAX).is_err());
    }
}
