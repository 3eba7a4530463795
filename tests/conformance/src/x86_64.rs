//! x86_64 in the suite: its programs, how a core enters them, and the cases that only it has.

mod cores;
mod interrupts;
mod ports;
mod reset;

use hv_core::{
    arch::{
        X86_64,
        x86_64::{CpuState, DescriptorTable, GeneralRegisters, IrqPlan, Segment, Segments},
    },
    hypervisor::{Hypervisor, Region, Vm, VmPlan},
};
use vm_memory::{Bytes, MemoryRegionAddress};

use crate::{Case, Program, Programs};

macro_rules! image {
    ($name:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/x86_64/", $name, ".bin"))
    };
}
use image;

const TASK_STATE: u64 = 0x800;
const GDT: u64 = 0x500;
const PAGE_TABLES: u64 = 0x1000;
const IMAGE: u64 = 0x10_0000;
/// As after a call.
const STACK: u64 = 0x1f_fff8;

impl Programs for X86_64 {
    fn plan(vcpus: u32) -> VmPlan<Self> {
        VmPlan { vcpus, address_bits: 39, irq: IrqPlan }
    }

    fn image(program: Program) -> &'static [u8] {
        match program {
            Program::Mmio => image!("mmio"),
            Program::Load => image!("load"),
            Program::Store => image!("store"),
            Program::Spin => image!("spin"),
            Program::Halt => image!("halt"),
        }
    }

    fn load(image: &[u8], argument: u64, ram: &Region) -> CpuState {
        ram.write_slice(image, MemoryRegionAddress(IMAGE)).unwrap();
        let store = |address, value: u64| ram.write_obj(value, MemoryRegionAddress(address)).unwrap();
        store(GDT + 8, 0x00af_9b00_0000_ffff);
        store(GDT + 16, 0x00cf_9300_0000_ffff);
        // Of the first 512 GiB the first four and the last are mapped to themselves by 2 MiB pages: one table of each of
        // the upper levels, five below.
        store(PAGE_TABLES, (PAGE_TABLES + 0x1000) | 3);
        for (table, gib) in (PAGE_TABLES + 0x2000..).step_by(0x1000).zip([0, 1, 2, 3, 511]) {
            store(PAGE_TABLES + 0x1000 + gib * 8, table | 3);
            for n in 0..512 {
                store(table + n * 8, gib << 30 | n << 21 | 0x83);
            }
        }
        long_mode(argument)
    }

    fn loaded(state: &CpuState) -> u64 {
        state.general.rax
    }

    fn distinct(entry: CpuState) -> CpuState {
        let mut n = 0;
        let mut next = || {
            n += 0x0123_4567_89ab_cdef;
            n
        };
        let general = GeneralRegisters {
            rax: next(),
            rbx: next(),
            rcx: next(),
            rdx: next(),
            rsi: next(),
            rdi: next(),
            rsp: next(),
            rbp: next(),
            r8: next(),
            r9: next(),
            r10: next(),
            r11: next(),
            r12: next(),
            r13: next(),
            r14: next(),
            r15: next(),
        };
        let mut segments = entry.segments;
        segments.fs.base = 0x1111_2222_3333;
        segments.gs.base = 0x4444_5555_6666;
        CpuState { general, rip: 0x7654_3210, rflags: 0x8d7, segments, cr2: next(), ..entry }
    }

    fn comparable(state: &CpuState) -> String {
        format!("{state:#x?}")
    }

    fn cases<H: Hypervisor + 'static>() -> Vec<Case>
    where
        H::Vm: Vm<Arch = Self>,
    {
        [ports::cases::<H>(), interrupts::cases::<H>(), cores::cases::<H>(), reset::cases::<H>()].concat()
    }
}

/// 64-bit mode at the image's first byte.
fn long_mode(argument: u64) -> CpuState {
    let data = Segment { selector: 16, base: 0, limit: u32::MAX, attributes: 0xc093 };
    let code = Segment { selector: 8, attributes: 0xa09b, ..data };
    let task = Segment { selector: 24, base: TASK_STATE, limit: 0x67, attributes: 0x8b };
    let unused = Segment { attributes: 0x2, ..Default::default() };
    CpuState {
        general: GeneralRegisters { rsp: STACK, rdi: argument, ..Default::default() },
        rip: IMAGE,
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
        gdt: DescriptorTable { base: GDT, limit: 23 },
        idt: DescriptorTable { base: 0, limit: 0 },
        // Paging, protection, numeric errors, extension type; PAE, SSE; long mode, active.
        cr0: 0x8000_0031,
        cr2: 0,
        cr3: PAGE_TABLES,
        cr4: 0x620,
        efer: 0x500,
    }
}
