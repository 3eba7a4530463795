//! The x86_64 guest: host facts, interrupt plan and register state.

use super::Arch;

/// Guests in the architecture of the Intel SDM and the AMD64 APM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct X86_64;

impl Arch for X86_64 {
    type Facts = Facts;
    type IrqPlan = IrqPlan;
    type CpuState = CpuState;
}

/// What an x86_64 host can give its guests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Most vCPUs of one guest.
    pub max_vcpus: u32,
    /// Width of a guest-physical address in bits (CPUID 8000_0008H:EAX\[7:0\]).
    pub physical_address_bits: u8,
}

/// The PC's interrupt controllers need no choice: two 8259, one IOAPIC with 24 pins, a LAPIC per core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IrqPlan;

/// Pins of the IOAPIC, and so the number of GSIs.
pub const IOAPIC_PINS: u32 = 24;
/// Guest-physical address of the IOAPIC.
pub const IOAPIC_BASE: u64 = 0xfec0_0000;
/// Guest-physical address of the local APIC of each core (`IA32_APIC_BASE`).
pub const LAPIC_BASE: u64 = 0xfee0_0000;

/// One core's registers: what a loader sets and a debugger reads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CpuState {
    /// RAX, RBX, RCX, RDX, RSI, RDI, RSP, RBP, R8..R15.
    pub general: GeneralRegisters,
    /// Instruction pointer.
    pub rip: u64,
    /// Flags.
    pub rflags: u64,
    /// Segment registers.
    pub segments: Segments,
    /// Global descriptor table register.
    pub gdt: DescriptorTable,
    /// Interrupt descriptor table register.
    pub idt: DescriptorTable,
    /// CR0.
    pub cr0: u64,
    /// CR2.
    pub cr2: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// `IA32_EFER`.
    pub efer: u64,
}

/// The sixteen general registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "each field is the register of its name")]
pub struct GeneralRegisters {
    pub rax: u64,
    pub rbx: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub rsp: u64,
    pub rbp: u64,
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
}

/// The segment registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "each field is the register of its name")]
pub struct Segments {
    pub cs: Segment,
    pub ds: Segment,
    pub es: Segment,
    pub fs: Segment,
    pub gs: Segment,
    pub ss: Segment,
    pub tr: Segment,
    pub ldt: Segment,
}

/// A segment register with its hidden part (SDM vol. 3, 3.4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Segment {
    /// The visible selector.
    pub selector: u16,
    /// Linear base address.
    pub base: u64,
    /// Limit in bytes, granularity applied.
    pub limit: u32,
    /// Bits 40..56 of the descriptor: type, S, DPL, P, 4 bits of limit (0), AVL, L, D/B, G.
    pub attributes: u16,
}

/// GDTR or IDTR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DescriptorTable {
    /// Linear base address.
    pub base: u64,
    /// Size in bytes, less one.
    pub limit: u16,
}
