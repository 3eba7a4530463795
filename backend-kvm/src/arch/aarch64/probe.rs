//! The guest that tries what all guests need.

use std::{io, sync::Arc};

use hv_core::{
    arch::aarch64::{CpuState, IrqPlan, PSTATE_AT_RESET},
    hypervisor::{Access, Error, Exit, Hypervisor, Region, Result, Vcpu, Vm, VmPlan},
};
use vm_memory::{Bytes, GuestAddress, MemoryRegionAddress};

use crate::{Kvm, KvmVcpu, KvmVm};

/// What the steps are.
pub(crate) const STEPS: &[&str] = &["a call of PSCI", "the interrupt of a timer"];

/// A guest of a few instructions, ready to run.
pub(crate) struct ProbeGuest {
    pub(crate) vcpu: KvmVcpu,
    _vm: KvmVm,
}

const DISTRIBUTOR: u64 = 0x0800_0000;
/// Where the guest stores the number of each step that it did.
const REPORT: u64 = 0x0900_0000;
const REDISTRIBUTORS: u64 = 0x0a00_0000;
const RAM: u64 = 0x8000_0000;
/// A page, of the largest size that a host has.
const RAM_SIZE: usize = 0x1_0000;

/// Runs without address translation. The timer's compare value lies in the past, so that it interrupts at once.
#[rustfmt::skip]
const PROGRAM: [u32; 28] = [
    0x52b0_8000, // movz w0, #0x8400, lsl #16 (PSCI_VERSION)
    0xd400_0002, // hvc #0
    0xd2a1_2001, // movz x1, #0x0900, lsl #16 (REPORT)
    0x7100_081f, // cmp w0, #2
    0x5400_02eb, // b.lt end
    0x5280_0022, // mov w2, #1
    0x3900_0022, // strb w2, [x1]
    0xd2a1_0003, // movz x3, #0x0800, lsl #16 (DISTRIBUTOR)
    0x5280_0244, // mov w4, #0x12 (group 1, by affinity)
    0xb900_0064, // str w4, [x3] (GICD_CTLR)
    0xd2a1_4023, // movz x3, #0x0a01, lsl #16 (REDISTRIBUTORS, second frame)
    0x52a1_0004, // movz w4, #0x0800, lsl #16 (PPI 27)
    0xb900_8064, // str w4, [x3, #0x80] (GICR_IGROUPR0)
    0xb901_0064, // str w4, [x3, #0x100] (GICR_ISENABLER0)
    0xd280_1fe4, // mov x4, #0xff
    0xd518_4604, // msr ICC_PMR_EL1, x4
    0xd280_0024, // mov x4, #1
    0xd518_cce4, // msr ICC_IGRPEN1_EL1, x4
    0xd51b_e35f, // msr CNTV_CVAL_EL0, xzr
    0xd51b_e324, // msr CNTV_CTL_EL0, x4
    0xd503_3fdf, // isb
    0xd503_207f, // wait: wfi
    0xd538_cc05, // mrs x5, ICC_IAR1_EL1
    0x7100_6cbf, // cmp w5, #27
    0x54ff_ffa1, // b.ne wait
    0x5280_0042, // mov w2, #2
    0x3900_0022, // strb w2, [x1]
    0x1400_0000, // end: b end
];

/// The number of the step that the guest reports.
pub(crate) fn reported_step(exit: &Exit<'_>) -> Option<u8> {
    match exit {
        Exit::MmioWrite { address: REPORT, data: [step] } => Some(*step),
        _ => None,
    }
}

impl ProbeGuest {
    pub(crate) fn new(kvm: &Kvm) -> Result<Self> {
        let irq = IrqPlan {
            distributor: DISTRIBUTOR,
            redistributors: REDISTRIBUTORS,
            msi_frame: 0x0801_0000,
            msis: 32..64,
            intids: 64,
        };
        let vm = kvm.create_vm(&VmPlan { vcpus: 1, address_bits: 36, irq })?;
        vm.map(
            Arc::new(ram().map_err(|error| Error::new("mmap of the probe's RAM", error))?),
            Access::ReadWrite,
        )?;
        let mut vcpu = vm.create_vcpu(0)?;
        vm.seal()?;
        vcpu.set_state(&CpuState { pc: RAM, pstate: PSTATE_AT_RESET, ..Default::default() })?;
        Ok(Self { vcpu, _vm: vm })
    }
}

fn ram() -> io::Result<Region> {
    let region = Region::from_range(GuestAddress(RAM), RAM_SIZE, None).map_err(io::Error::other)?;
    let code = PROGRAM.map(u32::to_le_bytes);
    region.write_slice(code.as_flattened(), MemoryRegionAddress(0)).map_err(io::Error::other)?;
    Ok(region)
}
