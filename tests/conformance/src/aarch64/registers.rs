//! Registers and instructions that a guest may try: each works, or is undefined to the guest, and it goes on.

use hv_core::{
    arch::{Aarch64, aarch64::SystemRegister},
    hypervisor::{Hypervisor, Vcpu, Vm},
};

use super::snippet::{Snippets, class, mrs, msr};
use crate::{Case, Needs, rig::Rig};

/// The class of an undefined instruction.
const UNKNOWN: u64 = 0;
/// Those of an access to a register that a guest may see: undefined, in the ID space (`FEAT_IDST`), SVE, SME.
const REFUSED: [u64; 4] = [UNKNOWN, 0x18, 0x19, 0x1d];

pub(super) fn cases<H: Hypervisor + 'static>() -> Vec<Case>
where
    H::Vm: Vm<Arch = Aarch64>,
{
    vec![
        Case::new("all_of_the_id_space_reads", Needs::Little, id_space::<H>),
        Case::new("unknown_registers_do_no_harm", Needs::Little, unknown::<H>),
        Case::new("a_sweep_of_registers_does_no_harm", Needs::Little, sweep::<H>),
        Case::new("odd_instructions_do_no_harm", Needs::Little, odd::<H>),
        Case::new("keys_of_pointer_authentication_are_kept", Needs::Little, keys::<H>),
    ]
}

/// Fields of ID registers, by their lowest bit, of what the machine `hv-1` has on no host: 0, or 15 where that says so too.
const ABSENT: &[(SystemRegister, &[(&str, u32)])] = &[
    (SystemRegister::ID_AA64PFR0_EL1, &[("SVE", 32), ("MPAM", 40), ("AMU", 44)]),
    (SystemRegister::ID_AA64PFR1_EL1, &[("MTE", 8), ("SME", 24)]),
    (SystemRegister::ID_AA64DFR0_EL1, &[("PMU", 8), ("SPE", 32)]),
    (SystemRegister::ID_AA64ZFR0_EL1, &[("SVE2", 0)]),
    (SystemRegister::ID_AA64SMFR0_EL1, &[("SME with F32F32", 32)]),
];

/// What is not allocated there is zero (Arm ARM, D23.3.1).
fn id_space<H: Hypervisor>()
where
    H::Vm: Vm<Arch = Aarch64>,
{
    let (rig, mut vcpu) = Rig::<H>::single();
    let mut core = Snippets::<H>::new(&rig, &mut vcpu);
    for crm in 1..8 {
        for op2 in 0..8 {
            let register = SystemRegister::new(3, 0, 0, crm, op2);
            let state = core.run(&[mrs(register)], |state| state.x[1] = u64::MAX);
            let value = state.unwrap_or_else(|_| panic!("{register} is undefined")).x[1];
            if register == SystemRegister::new(3, 0, 0, 7, 7) {
                assert_eq!(value, 0, "{register}");
            }
            if let Some((_, fields)) = ABSENT.iter().find(|(name, _)| *name == register) {
                for (what, low) in *fields {
                    assert!(
                        [0, 15].contains(&(value >> low & 15)),
                        "{what} is offered: {register} is {value:#x}"
                    );
                }
            }
            if register == SystemRegister::ID_AA64PFR0_EL1 {
                // Programs at EL0 may be AArch32 where the host's processor runs those; KVM does not let us hide it.
                assert_eq!(value >> 4 & 15, 1, "EL1 runs AArch64 alone: {value:#x}");
                assert_eq!(value >> 24 & 15, 1, "the GIC has system registers: {value:#x}");
            }
        }
    }
    let mpidr = core.run(&[mrs(SystemRegister::MPIDR_EL1)], |_| ()).unwrap().x[1];
    assert_eq!(mpidr & 0xff_00ff_ffff, 0);
}

/// Reads the register, then writes it, if `value` is given.
fn touch<H: Hypervisor>(core: &mut Snippets<'_, H>, register: SystemRegister, value: Option<u64>)
where
    H::Vm: Vm<Arch = Aarch64>,
{
    for (word, value) in [(mrs(register), Some(0)), (msr(register), value)] {
        let Some(value) = value else { continue };
        if let Err(state) = core.run(&[word], |state| state.x[1] = value) {
            let at = state.system[&SystemRegister::ELR_EL1];
            assert!(REFUSED.contains(&class(&state)), "{register}: class {:#x}", class(&state));
            assert_eq!(at, state.x[30], "{register}");
        }
    }
}

/// Debug, performance monitors, errors, profiling, implementation-defined, and those of extensions that are not offered.
fn unknown<H: Hypervisor>()
where
    H::Vm: Vm<Arch = Aarch64>,
{
    let (rig, mut vcpu) = Rig::<H>::single();
    let mut core = Snippets::<H>::new(&rig, &mut vcpu);
    let written = [
        (2, 0, 0, 2, 0),
        (2, 0, 0, 0, 4),
        (2, 0, 0, 0, 5),
        (2, 0, 0, 0, 6),
        (2, 0, 0, 0, 7),
        (2, 0, 0, 15, 5),
        (2, 0, 1, 0, 4),
        (2, 0, 1, 3, 4),
        (2, 0, 7, 8, 6),
        (3, 0, 1, 0, 1),
        (3, 0, 1, 2, 0),
        (3, 0, 5, 3, 1),
        (3, 0, 5, 4, 0),
        (3, 0, 9, 9, 0),
        (3, 0, 9, 11, 0),
        (3, 0, 9, 14, 1),
        (3, 0, 9, 14, 2),
        (3, 0, 10, 4, 3),
        (3, 0, 11, 0, 0),
        (3, 0, 15, 2, 0),
        (3, 1, 15, 3, 7),
        (3, 3, 9, 12, 0),
        (3, 3, 9, 12, 1),
        (3, 3, 9, 12, 5),
        (3, 3, 9, 13, 0),
        (3, 3, 9, 13, 1),
        (3, 3, 9, 14, 0),
        (3, 3, 14, 8, 0),
        (3, 3, 14, 15, 7),
        (3, 3, 15, 7, 0),
        (3, 7, 15, 15, 7),
    ];
    for (op0, op1, crn, crm, op2) in written {
        touch(&mut core, SystemRegister::new(op0, op1, crn, crm, op2), Some(0));
    }
    let read = [
        (2, 0, 1, 0, 0),
        (2, 0, 1, 1, 4),
        (2, 0, 7, 14, 6),
        (2, 3, 0, 1, 0),
        (3, 0, 5, 3, 0),
        (3, 0, 9, 10, 7),
        (3, 3, 2, 4, 0),
        (3, 3, 9, 12, 6),
        (3, 4, 1, 1, 0),
        (3, 4, 12, 0, 0),
        (3, 6, 1, 1, 0),
    ];
    for (op0, op1, crn, crm, op2) in read {
        touch(&mut core, SystemRegister::new(op0, op1, crn, crm, op2), None);
    }
}

/// Reads of encodings spread over the whole space. A step that shares no factor with its size visits all parts of it.
/// Acknowledging an interrupt by chance is harmless: nothing is pending.
fn sweep<H: Hypervisor>()
where
    H::Vm: Vm<Arch = Aarch64>,
{
    const REGISTERS: u16 = 1 << 15;
    let (rig, mut vcpu) = Rig::<H>::single();
    for batch in 0..2_u16 {
        let mut core = Snippets::<H>::new(&rig, &mut vcpu);
        for n in 0..300_u16 {
            let register = SystemRegister((1 << 15) | ((batch * 300 + n).wrapping_mul(10_007) % REGISTERS));
            touch(&mut core, register, None);
        }
    }
}

/// The class of each, where it has one that the guest must see.
fn odd<H: Hypervisor>()
where
    H::Vm: Vm<Arch = Aarch64>,
{
    let (rig, mut vcpu) = Rig::<H>::single();
    let mut core = Snippets::<H>::new(&rig, &mut vcpu);
    for (text, word, expected) in [
        ("svc #0", 0xd400_0001, 0x15),
        ("brk #0", 0xd420_0000, 0x3c),
        ("udf #0", 0, UNKNOWN),
        ("an unallocated one", 0x0100_0000, UNKNOWN),
    ] {
        let state = core.run(&[word], |_| ()).expect_err(text);
        assert_eq!(class(&state), expected, "{text}");
    }
    // There is no EL3: undefined, or a call that nobody knows.
    if let Err(state) = core.run(&[0xd400_0003], |state| state.x[0] = 0xc300_0000) {
        assert_eq!(class(&state), UNKNOWN, "smc #0");
    }
    // Hints that may wait, and come back.
    for (text, word) in
        [("yield", 0xd503_203f), ("sevl", 0xd503_20bf), ("sev", 0xd503_209f), ("isb", 0xd503_3fdf)]
    {
        assert!(core.run(&[word], |_| ()).is_ok(), "{text}");
    }
    assert!(core.run(&[0xd503_20bf, 0xd503_205f], |_| ()).is_ok(), "sevl; wfe");
}

fn keys<H: Hypervisor>()
where
    H::Vm: Vm<Arch = Aarch64>,
{
    let (rig, mut vcpu) = Rig::<H>::single();
    let mut core = Snippets::<H>::new(&rig, &mut vcpu);
    let found = core.vcpu.state().unwrap().system;
    let mut set = Vec::new();
    for (register, value) in (SystemRegister::APIAKEYLO_EL1.0..).map(SystemRegister).zip(1_u64..) {
        if register > SystemRegister::APGAKEYHI_EL1 {
            break;
        }
        if found.contains_key(&register) {
            set.push((register, value << 40 | 0x55aa));
        }
    }
    let state = core.run(&[], |state| state.system.extend(set.iter().copied())).unwrap();
    for (register, value) in set {
        assert_eq!(state.system[&register], value, "{register}");
    }
}
