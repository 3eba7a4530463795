//! The guest that tells a KVM of processors from one that interprets.

use std::{io, sync::Arc};

use hv_core::{
    arch::x86_64::{CpuState, DescriptorTable, GeneralRegisters, IrqPlan, Segment, Segments},
    hypervisor::{Access, Error, Exit, Hypervisor, Region, Result, Vcpu, Vm, VmPlan},
};
use vm_memory::{Bytes, GuestAddress, MemoryRegionAddress};

use crate::{Kvm, KvmVcpu, KvmVm};

/// Where the guest writes the number of each step that it did.
const PORT: u16 = 0xf4;
/// What the steps are.
pub(crate) const STEPS: &[&str] = &["CMPXCHG16B", "the interrupt of a timer"];

/// The number of the step that the guest reports.
pub(crate) fn reported_step(exit: &Exit<'_>) -> Option<u8> {
    match exit {
        Exit::PioWrite { port: PORT, data: [step] } => Some(*step),
        _ => None,
    }
}

/// A guest of a few instructions, ready to run.
pub(crate) struct ProbeGuest {
    pub(crate) vcpu: KvmVcpu,
    _vm: KvmVm,
}

const TASK_STATE: u16 = 0x800;
const GDT: u16 = 0x1000;
const PAGE_TABLES: u16 = 0x2000;
const IDT: u16 = 0x6000;
const CODE: u16 = 0x7000;
/// Within `CODE`.
const HANDLER: u16 = 0x40;
const STACK: u64 = 0x9000;
const RAM: usize = 0x1_0000;

/// The vector of the timer; its code is at `HANDLER`. 16 bytes at 0x9000 are free.
#[rustfmt::skip]
const PROGRAM: [u8; 0x50] = [
    0xf0, 0x48, 0x0f, 0xc7, 0x0c, 0x25, 0x00, 0x90, 0x00, 0x00, // lock cmpxchg16b [0x9000]
    0xb0, 0x01,                                                 // mov al, 1
    0xe6, 0xf4,                                                 // out PORT, al
    0xbf, 0x00, 0x00, 0xe0, 0xfe,                               // mov edi, LAPIC
    0xc7, 0x87, 0xf0, 0x00, 0x00, 0x00, 0xff, 0x01, 0x00, 0x00, // mov dword [rdi + spurious vector], enabled
    0xc7, 0x87, 0xe0, 0x03, 0x00, 0x00, 0x0b, 0x00, 0x00, 0x00, // mov dword [rdi + divide], by 1
    0xc7, 0x87, 0x20, 0x03, 0x00, 0x00, 0x20, 0x00, 0x02, 0x00, // mov dword [rdi + timer], periodic, vector 0x20
    0xc7, 0x87, 0x80, 0x03, 0x00, 0x00, 0x40, 0x42, 0x0f, 0x00, // mov dword [rdi + initial count], 1 000 000
    0xfb,                                                       // sti
    0xf4,                                                       // hlt
    0xeb, 0xfd,                                                 // jmp hlt
    0x90,
    0xb0, 0x02,                                                 // HANDLER: mov al, 2
    0xe6, 0xf4,                                                 // out PORT, al
    0xc7, 0x87, 0xb0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // mov dword [rdi + end of interrupt], 0
    0x48, 0xcf,                                                 // iretq
];

const VECTOR: u16 = 0x20;
const CODE_SELECTOR: u16 = 8;

impl ProbeGuest {
    pub(crate) fn new(kvm: &Kvm) -> Result<Self> {
        let vm = kvm.create_vm(&VmPlan { vcpus: 1, address_bits: 39, irq: IrqPlan })?;
        vm.map(
            Arc::new(ram().map_err(|error| Error::new("mmap of the probe's RAM", error))?),
            Access::ReadWrite,
        )?;
        let mut vcpu = vm.create_vcpu(0)?;
        vcpu.set_state(&long_mode())?;
        Ok(Self { vcpu, _vm: vm })
    }
}

fn ram() -> io::Result<Region> {
    let region = Region::from_range(GuestAddress(0), RAM, None).map_err(io::Error::other)?;
    let store = |address: u16, value: u64| {
        region.write_obj(value, MemoryRegionAddress(address.into())).map_err(io::Error::other)
    };
    region.write_slice(&PROGRAM, MemoryRegionAddress(CODE.into())).map_err(io::Error::other)?;
    store(GDT + CODE_SELECTOR, 0x00af_9b00_0000_ffff)?;
    // An interrupt gate (SDM vol. 3, 7.14.1): present, type 14, at an address below 64 KiB.
    store(IDT + VECTOR * 16, u64::from(CODE + HANDLER) | u64::from(CODE_SELECTOR) << 16 | 0x8e00 << 32)?;
    // Present and writable; 2 MiB pages for low memory and for the LAPIC at 0xfee0_0000, that one uncached.
    let [pml4, pdpt, low, high] = [0, 1, 2, 3].map(|n| PAGE_TABLES + n * 0x1000);
    store(pml4, u64::from(pdpt) | 3)?;
    store(pdpt, u64::from(low) | 3)?;
    store(pdpt + 3 * 8, u64::from(high) | 3)?;
    store(low, 0x83)?;
    store(high + 0x1f7 * 8, 0xfee0_0000 | 0x93)?;
    Ok(region)
}

fn long_mode() -> CpuState {
    let data = Segment { selector: 16, base: 0, limit: u32::MAX, attributes: 0xc093 };
    let code = Segment { selector: CODE_SELECTOR, attributes: 0xa09b, ..data };
    let task = Segment { selector: 24, base: TASK_STATE.into(), limit: 0x67, attributes: 0x8b };
    let unused = Segment { attributes: 0x82, ..Default::default() };
    CpuState {
        general: GeneralRegisters { rsp: STACK, ..Default::default() },
        rip: CODE.into(),
        rflags: 2,
        segments: Segments {
            cs: code,
            ds: data,
            es: data,
            fs: data,
            gs: data,
            ss: data,
            tr: task,
            ldt: unused,
        },
        gdt: DescriptorTable { base: GDT.into(), limit: 15 },
        idt: DescriptorTable { base: IDT.into(), limit: (VECTOR + 1) * 16 - 1 },
        // Paging, protection, numeric errors, extension type; then PAE; then long mode, active.
        cr0: 0x8000_0031,
        cr2: 0,
        cr3: PAGE_TABLES.into(),
        cr4: 0x20,
        efer: 0x500,
    }
}
