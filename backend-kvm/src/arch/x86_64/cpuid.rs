//! What a core's CPUID says: KVM's answer, edited for the core's place in the machine. Pure.
//!
//! The machine has one package; each core has one thread and its index as APIC id.

use kvm_bindings::{KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2 as Entry};

/// A core's place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) index: u32,
    /// Number of cores of the machine.
    pub(super) count: u32,
}

/// Leaves of the topology (SDM vol. 2, CPUID), which are written afresh.
const TOPOLOGY: u32 = 0xb;
const TOPOLOGY_V2: u32 = 0x1f;
/// AMD's, which is left out in favour of `TOPOLOGY`.
const AMD_TOPOLOGY: u32 = 0x8000_0026;
const TSC_FREQUENCY: u32 = 0x15;
const PROCESSOR_FREQUENCY: u32 = 0x16;
const HYPERVISOR: u32 = 0x4000_0000;
/// Frequencies of TSC and APIC timer in kHz, a convention that hypervisors share.
const HYPERVISOR_TIMING: u32 = 0x4000_0010;
/// KVM's local APIC counts nanoseconds (KVM API, `KVM_CAP_X86_APIC_BUS_CYCLES_NS`).
const APIC_BUS_KHZ: u32 = 1_000_000;

impl Place {
    /// Bits of an APIC id that number the cores of a package.
    fn bits(self) -> u32 {
        self.count.max(1).next_power_of_two().trailing_zeros()
    }

    /// Cores that the APIC ids have room for.
    fn room(self) -> u32 {
        1 << self.bits()
    }
}

/// Width of a guest-physical address.
pub(super) fn physical_address_bits(supported: &[Entry]) -> u8 {
    /// Of processors that do not tell (SDM vol. 2, CPUID 8000_0008H).
    const DEFAULT: u8 = 36;
    let told =
        supported.iter().find(|entry| entry.function == 0x8000_0008).map(|entry| entry.eax.to_le_bytes()[0]);
    told.filter(|bits| *bits != 0).unwrap_or(DEFAULT)
}

/// The CPUID of the core at `place`, out of what KVM supports.
pub(super) fn for_core(supported: &[Entry], place: Place, tsc_khz: Option<u32>) -> Vec<Entry> {
    let written =
        [TOPOLOGY, TOPOLOGY_V2, AMD_TOPOLOGY, TSC_FREQUENCY, PROCESSOR_FREQUENCY, HYPERVISOR_TIMING];
    let mut leaves: Vec<Entry> =
        supported.iter().filter(|entry| !written.contains(&entry.function)).copied().collect();
    for entry in &mut leaves {
        edit(entry, place);
    }
    let last = largest(&leaves, 0);
    if last >= TOPOLOGY {
        leaves.extend(topology(TOPOLOGY, place));
    }
    if last >= TOPOLOGY_V2 && is_intel(&leaves) {
        leaves.extend(topology(TOPOLOGY_V2, place));
    }
    if let Some(khz) = tsc_khz {
        if last >= PROCESSOR_FREQUENCY && is_intel(&leaves) {
            leaves.extend([tsc_frequency(khz), processor_frequency(khz)]);
        }
        tell_timing(&mut leaves, khz);
    }
    leaves
}

/// Writes the core's place into one leaf.
fn edit(entry: &mut Entry, place: Place) {
    let many = place.count > 1;
    match entry.function {
        1 => {
            // Bits 31..24: initial APIC id; 23..16: APIC ids of the package.
            entry.ebx = entry.ebx & 0xffff | place.index << 24 | place.room().min(0xff) << 16;
            // VMX is for hosts; the local APIC's TSC deadline is KVM's own; bit 31: in a virtual machine.
            entry.ecx = entry.ecx & !(1 << 5) | 1 << 24 | 1 << 31;
            // HTT: the package has more than one APIC id.
            set(&mut entry.edx, 28, many);
        }
        4 if entry.eax & 0x1f != 0 => {
            let ids = if shares_package(entry) { place.room() - 1 } else { 0 };
            entry.eax = entry.eax & 0x3fff | ids << 14 | (place.room() - 1).min(0x3f) << 26;
        }
        0x8000_0001 => {
            // CmpLegacy: HTT means cores. SVM is for hosts.
            set(&mut entry.ecx, 1, many);
            set(&mut entry.ecx, 2, false);
        }
        // Number of cores less one, and bits of an APIC id for them.
        0x8000_0008 => entry.ecx = place.bits() << 12 | place.count.saturating_sub(1) & 0xff,
        0x8000_001d if entry.eax & 0x1f != 0 => {
            let ids = if shares_package(entry) { place.room() - 1 } else { 0 };
            entry.eax = entry.eax & 0x3fff | ids << 14;
        }
        // APIC id; core, with one thread each; node 0, the only one.
        0x8000_001e => (entry.eax, entry.ebx, entry.ecx) = (place.index, place.index & 0xff, 0),
        _ => {}
    }
}

/// A cache of the third level is the package's (leaves 4 and 8000_001D, EAX bits 7..5).
fn shares_package(cache: &Entry) -> bool {
    cache.eax >> 5 & 7 >= 3
}

fn set(register: &mut u32, bit: u32, value: bool) {
    *register = *register & !(1 << bit) | u32::from(value) << bit;
}

fn largest(leaves: &[Entry], base: u32) -> u32 {
    leaves.iter().find(|entry| entry.function == base).map_or(base, |entry| entry.eax)
}

fn is_intel(leaves: &[Entry]) -> bool {
    let vendor =
        leaves.iter().find(|entry| entry.function == 0).map(|entry| [entry.ebx, entry.edx, entry.ecx]);
    vendor.is_some_and(|words| words.map(u32::to_le_bytes).as_flattened() == b"GenuineIntel")
}

/// One thread per core, all cores in one package.
fn topology(function: u32, place: Place) -> [Entry; 3] {
    const THREAD: u32 = 1 << 8;
    const CORE: u32 = 2 << 8;
    let level = |index, shift, count, kind| Entry {
        function,
        index,
        flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
        eax: shift,
        ebx: count,
        ecx: index | kind,
        edx: place.index,
        ..Default::default()
    };
    [level(0, 0, 1, THREAD), level(1, place.bits(), place.count, CORE), level(2, 0, 0, 0)]
}

/// The TSC as a multiple of the crystal clock, which is also what the local APIC counts.
fn tsc_frequency(khz: u32) -> Entry {
    let (numerator, denominator) = ratio(khz, APIC_BUS_KHZ);
    Entry {
        function: TSC_FREQUENCY,
        eax: denominator,
        ebx: numerator,
        ecx: APIC_BUS_KHZ * 1000,
        ..Default::default()
    }
}

/// The best fraction for `over / under` by continued fractions whose numerator times `under` fits 32 bits: Linux
/// multiplies them so.
fn ratio(over: u32, under: u32) -> (u32, u32) {
    let most = u64::from(u32::MAX / under);
    let (mut a, mut b) = (u64::from(over), u64::from(under));
    let (mut before, mut best) = ((0, 1), (1, 0));
    while b != 0 {
        let next = (a / b * best.0 + before.0, a / b * best.1 + before.1);
        if next.0 > most {
            break;
        }
        (before, best) = (best, next);
        (a, b) = (b, a % b);
    }
    let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    (narrow(best.0), narrow(best.1))
}

/// Base, highest and bus frequency in MHz.
fn processor_frequency(khz: u32) -> Entry {
    let mhz = khz / 1000;
    Entry { function: PROCESSOR_FREQUENCY, eax: mhz, ebx: mhz, ecx: 100, ..Default::default() }
}

fn tell_timing(leaves: &mut Vec<Entry>, khz: u32) {
    if let Some(first) = leaves.iter_mut().find(|entry| entry.function == HYPERVISOR) {
        first.eax = first.eax.max(HYPERVISOR_TIMING);
        leaves.push(Entry { function: HYPERVISOR_TIMING, eax: khz, ebx: APIC_BUS_KHZ, ..Default::default() });
    }
}

#[cfg(test)]
mod tests;
