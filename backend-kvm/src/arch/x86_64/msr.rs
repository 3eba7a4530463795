//! Model-specific registers of a core: those at power-on, and reading and writing many at once.

use hv_core::hypervisor::{Error, Result};
use kvm_bindings::{KVM_MAX_MSR_ENTRIES, Msrs, kvm_msr_entry};
use kvm_ioctls::VcpuFd;

/// Counts since power-on (SDM vol. 4, table 2-2).
pub(super) const TIME_STAMP_COUNTER: u32 = 0x10;
/// `IA32_MISC_ENABLE`; bit 0: fast strings.
const MISC_ENABLE: (u32, u64) = (0x1a0, 1);
/// `IA32_MTRR_DEF_TYPE`: MTRRs enabled, all memory write-back. Firmware sets it so.
const MTRR_DEFAULT_TYPE: (u32, u64) = (0x2ff, 0x806);

/// The memory type ranges, variable and fixed, and the default type: not in every kernel's list of what to save.
const MEMORY_TYPES: [std::ops::RangeInclusive<u32>; 5] =
    [0x200..=0x20f, 0x250..=0x250, 0x258..=0x259, 0x268..=0x26f, MTRR_DEFAULT_TYPE.0..=MTRR_DEFAULT_TYPE.0];

/// All that a reset brings back: KVM's list of what to save, and what is missing there.
pub(super) fn with_memory_types(saved: &[u32]) -> Vec<u32> {
    let missing = MEMORY_TYPES.into_iter().flatten().filter(|index| !saved.contains(index));
    saved.iter().copied().chain(missing).collect()
}

/// What firmware leaves behind.
pub(super) fn firmware() -> Vec<kvm_msr_entry> {
    [MISC_ENABLE, MTRR_DEFAULT_TYPE]
        .map(|(index, data)| kvm_msr_entry { index, data, ..Default::default() })
        .to_vec()
}

/// Reads those that KVM lets us read. KVM stops at the first that it refuses; that one is left out.
pub(super) fn read(vcpu: &VcpuFd, indices: &[u32]) -> Result<Vec<kvm_msr_entry>> {
    let wanted = indices.iter().map(|index| kvm_msr_entry { index: *index, ..Default::default() }).collect();
    in_batches(wanted, |batch| vcpu.get_msrs(batch).map_err(|error| Error::new("KVM_GET_MSRS", error)))
}

/// Writes those that KVM lets us write.
pub(super) fn write(vcpu: &VcpuFd, values: &[kvm_msr_entry]) -> Result<()> {
    let write = |batch: &mut Msrs| vcpu.set_msrs(batch).map_err(|error| Error::new("KVM_SET_MSRS", error));
    in_batches(values.to_vec(), write).map(drop)
}

/// Gives `entries` to `transfer`, which says how many of them it did; leaves out what it stops at. Returns the done ones.
fn in_batches(
    mut entries: Vec<kvm_msr_entry>,
    transfer: impl Fn(&mut Msrs) -> Result<usize>,
) -> Result<Vec<kvm_msr_entry>> {
    let mut done = Vec::with_capacity(entries.len());
    while !entries.is_empty() {
        let size = entries.len().min(KVM_MAX_MSR_ENTRIES);
        let (now, later) = entries.split_at(size);
        let mut batch = Msrs::from_entries(now)
            .map_err(|_| Error::new("KVM_SET_MSRS", std::io::Error::from(std::io::ErrorKind::OutOfMemory)))?;
        let count = transfer(&mut batch)?.min(size);
        done.extend_from_slice(batch.as_slice().split_at(count).0);
        let refused = now.get(count);
        if let Some(entry) = refused {
            tracing::debug!("KVM refuses MSR {:#x}", entry.index);
        }
        entries = now.iter().skip(count + 1).chain(later).copied().collect();
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_refusal_does_not_stop_the_rest() {
        let entries = (0..600).map(|index| kvm_msr_entry { index, ..Default::default() }).collect();
        let until_refused = |batch: &mut Msrs| {
            let refused = |entry: &kvm_msr_entry| [0, 7, 8, 255, 256, 599].contains(&entry.index);
            let entries = batch.as_slice();
            Ok(entries.iter().position(refused).unwrap_or(entries.len()))
        };
        let done = in_batches(entries, until_refused).unwrap();
        assert_eq!(done.len(), 594);
        assert!(done.iter().all(|entry| ![0, 7, 8, 255, 256, 599].contains(&entry.index)));
    }
}
