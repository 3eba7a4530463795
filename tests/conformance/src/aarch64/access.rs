//! Loads and stores where there is no RAM, in all forms that AArch64 has for them.

use hv_core::{
    arch::{
        Aarch64,
        aarch64::{CpuState, SystemRegister},
    },
    hypervisor::{Exit, Hypervisor, Kick, Stop, Vcpu, Vm},
};
use vm_memory::{Bytes, MemoryRegionAddress};

use super::{
    forms::{self, Access, Form, STACK, V0, V1, X1, X3, byte},
    snippet::Snippets,
};
use crate::{
    Case, Needs,
    rig::{self, DEVICE, REPORT, Rig},
};

pub(super) fn cases<H: Hypervisor + 'static>() -> Vec<Case>
where
    H::Vm: Vm<Arch = Aarch64>,
{
    vec![
        Case::new("loads_and_stores_of_one_register", Needs::Little, || pass::<H>(&forms::described())),
        Case::new("loads_that_extend_the_sign", Needs::Signs, || pass::<H>(&forms::signed())),
        Case::new("loads_and_stores_of_any_form", Needs::Decoder, || pass::<H>(&forms::to_be_decoded())),
        Case::new("loads_and_stores_of_any_form_in_ram", Needs::Little, ram::<H>),
        Case::new("a_kick_between_two_parts_of_a_load_loses_nothing", Needs::Decoder, kick_between::<H>),
        Case::new("reset_forgets_the_rest_of_a_load", Needs::Decoder, reset_between::<H>),
        Case::new("what_no_device_can_do_ends_in_the_guest_or_with_a_reason", Needs::Little, impossible::<H>),
        Case::new("cache_hints_for_a_device_do_nothing", Needs::Little, cache::<H>),
    ]
}

/// Where the forms load and store.
const BASE: u64 = DEVICE + 0x100;
/// The same in RAM.
const RAM_BASE: u64 = 0x18_0100;

fn pass<H: Hypervisor>(forms: &[Form])
where
    H::Vm: Vm<Arch = Aarch64>,
{
    let (rig, mut vcpu) = Rig::<H>::single();
    let mut core = Snippets::<H>::new(&rig, &mut vcpu);
    for form in forms {
        let expected = start(&mut core, form, BASE);
        for access in &form.accesses {
            answer(core.vcpu, form.text, access);
        }
        finish(&mut core, form, expected);
    }
}

/// The processor itself does what the table says, where there is RAM.
fn ram<H: Hypervisor>()
where
    H::Vm: Vm<Arch = Aarch64>,
{
    const FROM: u64 = RAM_BASE - 0x40;
    let (rig, mut vcpu) = Rig::<H>::single();
    let mut core = Snippets::<H>::new(&rig, &mut vcpu);
    for form in [forms::described(), forms::signed(), forms::to_be_decoded()].into_iter().flatten() {
        let mut bytes: Vec<u8> = (FROM..FROM + 0x100).map(byte).collect();
        rig.ram.write_slice(&bytes, MemoryRegionAddress(FROM)).unwrap();
        let expected = start(&mut core, &form, RAM_BASE);
        finish(&mut core, &form, expected);
        for access in &form.accesses {
            if let Access::Store(offset, data) = access {
                let at = usize::try_from(offset + 0x40).unwrap();
                bytes[at..at + data.len()].copy_from_slice(data);
            }
        }
        let mut found = vec![0; bytes.len()];
        rig.ram.read_slice(&mut found, MemoryRegionAddress(FROM)).unwrap();
        assert_eq!(found, bytes, "{}", form.text);
    }
}

/// Makes the core enter the form, with X2 as given; says what its registers are to be afterwards.
fn start<H: Hypervisor>(core: &mut Snippets<'_, H>, form: &Form, base: u64) -> CpuState
where
    H::Vm: Vm<Arch = Aarch64>,
{
    let mut expected = CpuState::default();
    core.start(&[form.word], |state| {
        state.x = [0x5a5a_5a5a_a5a5_a5a5; 31];
        (state.x[1], state.x[3]) = (u64::from_le_bytes(X1), u64::from_le_bytes(X3));
        (state.x[2], state.x[4]) = (base, 24);
        state.v = [0x1234_5678_9abc_def0_0fed_cba9_8765_4321; 32];
        (state.v[0], state.v[1]) = (u128::from_le_bytes(V0), u128::from_le_bytes(V1));
        state.system.insert(SystemRegister::SP_EL1, base + STACK);
        expected = state.clone();
        form.changes.iter().for_each(|change| change.make(&mut expected));
    });
    expected
}

fn finish<H: Hypervisor>(core: &mut Snippets<'_, H>, form: &Form, mut expected: CpuState)
where
    H::Vm: Vm<Arch = Aarch64>,
{
    let text = form.text;
    let state = core.end().unwrap_or_else(|state| panic!("{text}: {:#x?}", state.system));
    // Those of the snippet itself.
    for n in [28, 30] {
        expected.x[n] = state.x[n];
    }
    assert_eq!(state.x, expected.x, "{text}: {:x?} {:x?}", state.x, expected.x);
    assert_eq!(state.v, expected.v, "{text}: {:x?} {:x?}", state.v, expected.v);
    let sp = SystemRegister::SP_EL1;
    assert_eq!(state.system[&sp], expected.system[&sp], "{text}");
}

fn answer(vcpu: &mut impl Vcpu, text: &str, access: &Access) {
    match (vcpu.run().unwrap(), access) {
        (Exit::MmioRead { address, data }, Access::Load(offset, size)) => {
            assert_eq!((address, data.len()), (BASE.wrapping_add_signed(*offset), *size), "{text}");
            data.iter_mut().zip(address..).for_each(|(to, at)| *to = byte(at));
        }
        (Exit::MmioWrite { address, data }, Access::Store(offset, stored)) => {
            assert_eq!((address, data), (BASE.wrapping_add_signed(*offset), &**stored), "{text}");
        }
        (other, _) => panic!("{text}: {other:x?}"),
    }
}

const LDP_X1_X3_X2: u32 = 0xa940_0c41;

/// Makes the core enter a load of two registers, and answers the first part.
fn first_part<H: Hypervisor>(core: &mut Snippets<'_, H>)
where
    H::Vm: Vm<Arch = Aarch64>,
{
    core.start(&[LDP_X1_X3_X2], |state| state.x[2] = BASE);
    rig::answer(core.vcpu, BASE, &[1; 8]);
}

fn kick_between<H: Hypervisor>()
where
    H::Vm: Vm<Arch = Aarch64>,
{
    let (rig, mut vcpu) = Rig::<H>::single();
    let mut core = Snippets::<H>::new(&rig, &mut vcpu);
    first_part(&mut core);
    core.vcpu.kick().kick();
    assert_eq!(core.vcpu.run().unwrap(), Exit::Kicked);
    rig::answer(core.vcpu, BASE + 8, &[2; 8]);
    let state = core.end().unwrap();
    assert_eq!((state.x[1], state.x[3]), (u64::from_le_bytes([1; 8]), u64::from_le_bytes([2; 8])));
}

fn reset_between<H: Hypervisor>()
where
    H::Vm: Vm<Arch = Aarch64>,
{
    let (rig, mut vcpu) = Rig::<H>::single();
    let mut core = Snippets::<H>::new(&rig, &mut vcpu);
    first_part(&mut core);
    rig.vm.reset().unwrap();
    core.vcpu.reset().unwrap();
    let state = core.run(&[], |_| ()).unwrap();
    assert_eq!((state.x[1], state.x[3]), (0, 0));
}

/// An atomic operation on a device, and instructions where there are none: the guest takes an exception, or it
/// cannot go on, with a reason on one line.
fn impossible<H: Hypervisor>()
where
    H::Vm: Vm<Arch = Aarch64>,
{
    const LDADD_X1_X3_X2: u32 = 0xf821_0043;
    const BR_X2: u32 = 0xd61f_0040;
    /// Address translation is off, with which the page is not to be executed.
    const SCTLR: u64 = super::SCTLR & !1;
    for (text, word, sctlr) in [("ldadd", LDADD_X1_X3_X2, super::SCTLR), ("a jump", BR_X2, SCTLR)] {
        let (rig, mut vcpu) = Rig::<H>::single();
        let mut core = Snippets::<H>::new(&rig, &mut vcpu);
        core.start(&[word], |state| {
            state.x[2] = BASE;
            state.system.insert(SystemRegister::SCTLR_EL1, sctlr);
        });
        match core.vcpu.run().unwrap() {
            Exit::Stop(Stop::Crash(reason)) => {
                assert!(!reason.is_empty() && !reason.contains('\n'), "{text}: {reason:?}");
            }
            // What the vectors report.
            exit => assert_eq!(rig::reported(&exit), REPORT, "{text}"),
        }
    }
}

fn cache<H: Hypervisor>()
where
    H::Vm: Vm<Arch = Aarch64>,
{
    let (rig, mut vcpu) = Rig::<H>::single();
    let mut core = Snippets::<H>::new(&rig, &mut vcpu);
    for (text, word) in [
        ("dc civac, x2", 0xd50b_7e22),
        ("dc cvac, x2", 0xd50b_7a22),
        ("dc cvau, x2", 0xd50b_7b22),
        ("prfm pldl1keep, [x2]", 0xf980_0040),
    ] {
        assert!(core.run(&[word], |state| state.x[2] = BASE).is_ok(), "{text}");
    }
}
