//! PSCI (DEN 0022) by HVC: other cores on and off, and the end of the machine.

use std::thread;

use hv_core::{
    arch::{
        Aarch64,
        aarch64::{SystemRegister, affinity},
    },
    hypervisor::{Exit, Hypervisor, Stop, Vcpu, Vm},
};

use super::{
    cores::{Others, with_cores},
    interrupts,
    snippet::{HVC, Snippets, WFI, mrs},
};
use crate::{
    Case, Needs,
    rig::{REPORT, Rig},
};

const SMCCC_VERSION: u32 = 0x8000_0000;
const VERSION: u32 = 0x8400_0000;
const CPU_SUSPEND: u32 = 0xc400_0001;
const CPU_OFF: u32 = 0x8400_0002;
const CPU_ON: u32 = 0xc400_0003;
const AFFINITY_INFO: u32 = 0xc400_0004;
const MIGRATE_INFO_TYPE: u32 = 0x8400_0006;
const SYSTEM_OFF: u32 = 0x8400_0008;
const SYSTEM_RESET: u32 = 0x8400_0009;
const FEATURES: u32 = 0x8400_000a;
const SYSTEM_RESET2: u32 = 0xc400_0012;

const NOT_SUPPORTED: i32 = -1;
const INVALID_PARAMETERS: i32 = -2;
const ALREADY_ON: i32 = -4;
/// What `AFFINITY_INFO` tells.
const ON: i32 = 0;
const OFF: i32 = 1;

pub(super) fn cases<H: Hypervisor + 'static>() -> Vec<Case>
where
    H::Vm: Vm<Arch = Aarch64>,
{
    vec![
        Case::new("psci_tells_its_version_and_functions", Needs::Little, functions::<H>),
        Case::new("psci_starts_and_stops_a_core", Needs::Little, on_and_off::<H>),
        Case::new("psci_starts_as_many_cores_as_there_can_be", Needs::Little, many::<H>),
        Case::new("psci_refuses_a_core_that_is_on_or_not_there", Needs::Little, refused::<H>),
        Case::new("psci_ends_the_machine", Needs::Little, ends::<H>),
        Case::new("psci_suspend_ends_with_an_interrupt", Needs::Little, suspend::<H>),
        Case::new("a_core_that_is_off_can_be_kicked", Needs::Little, off_kicked::<H>),
        Case::new("reset_puts_a_core_back_to_off", Needs::Little, off_again::<H>),
    ]
}

/// The result of a call, which has 32 bits in all that matter here.
fn call<H: Hypervisor>(core: &mut Snippets<'_, H>, function: u32, arguments: [u64; 3]) -> i32
where
    H::Vm: Vm<Arch = Aarch64>,
{
    let low = core.call(function, arguments) & 0xffff_ffff;
    u32::try_from(low).unwrap().cast_signed()
}

fn functions<H: Hypervisor>()
where
    H::Vm: Vm<Arch = Aarch64>,
{
    let (rig, mut vcpu) = Rig::<H>::single();
    let mut core = Snippets::<H>::new(&rig, &mut vcpu);
    assert_eq!(call(&mut core, VERSION, [0; 3]), 0x1_0001);
    assert!(call(&mut core, SMCCC_VERSION, [0; 3]) >= 0x1_0001);
    assert_eq!(call(&mut core, MIGRATE_INFO_TYPE, [0; 3]), 2, "there is no trusted system to migrate");
    for function in [
        SMCCC_VERSION,
        VERSION,
        CPU_OFF,
        CPU_ON,
        AFFINITY_INFO,
        SYSTEM_OFF,
        SYSTEM_RESET,
        FEATURES,
        SYSTEM_RESET2,
    ] {
        assert_eq!(call(&mut core, FEATURES, [function.into(), 0, 0]), 0, "{function:#x}");
    }
    for unknown in [0x8400_001f, 0xc400_001f, 0x8400_ffff, 0xc200_0000, 0x0000_0000, 0xffff_ffff] {
        assert_eq!(call(&mut core, FEATURES, [unknown.into(), 0, 0]), NOT_SUPPORTED, "{unknown:#x}");
        assert_eq!(call(&mut core, unknown, [0; 3]), NOT_SUPPORTED, "{unknown:#x}");
    }
}

/// A started core reports its affinity, its exception level and SCTLR, then switches itself off. The context says
/// where to report.
fn writes_itself_off<H: Hypervisor>(core: &mut Snippets<'_, H>) -> u64
where
    H::Vm: Vm<Arch = Aarch64>,
{
    const STR_X1_X0: u32 = 0xf900_0001;
    const CURRENT_EL: SystemRegister = SystemRegister::new(3, 0, 4, 2, 2);
    core.write(&[
        mrs(SystemRegister::MPIDR_EL1),
        STR_X1_X0,
        mrs(CURRENT_EL),
        STR_X1_X0,
        mrs(SystemRegister::SCTLR_EL1),
        STR_X1_X0,
        0x5280_0040, // mov w0, #2
        0x72b0_8000, // movk w0, #0x8400, lsl #16
        HVC,
    ])
}

/// A started core waits.
fn waits<H: Hypervisor>(core: &mut Snippets<'_, H>) -> u64
where
    H::Vm: Vm<Arch = Aarch64>,
{
    const BRANCH_BACK: u32 = 0x17ff_ffff;
    core.write(&[WFI, BRANCH_BACK])
}

/// Takes the three reports of a core that was just started.
fn present<H: Hypervisor>(others: &Others<H>, index: u32) {
    let reports = [others.report(), others.report(), others.report()];
    assert!(reports.iter().all(|(from, _)| *from == index), "{index}: {reports:x?}");
    let [mpidr, level, sctlr] = reports.map(|(_, value)| value);
    assert_eq!(mpidr & 0xff_00ff_ffff, affinity(index));
    assert_eq!(level, 1 << 2);
    assert_eq!(sctlr & 0x1005, 0, "MMU and caches are off");
}

/// A core that is told to start or to stop does so in its own time.
fn until<H: Hypervisor>(core: &mut Snippets<'_, H>, index: u32, state: i32)
where
    H::Vm: Vm<Arch = Aarch64>,
{
    while call(core, AFFINITY_INFO, [affinity(index), 0, 0]) != state {}
}

fn on_and_off<H: Hypervisor>()
where
    H::Vm: Vm<Arch = Aarch64>,
{
    with_cores::<H>(2, |rig, first, others| {
        let mut core = Snippets::new(rig, first);
        let entry = writes_itself_off(&mut core);
        assert_eq!(call(&mut core, AFFINITY_INFO, [1, 0, 0]), OFF);
        assert_eq!(call(&mut core, AFFINITY_INFO, [0, 0, 0]), ON);
        for _ in 0..3 {
            assert_eq!(call(&mut core, CPU_ON, [1, entry, REPORT]), 0);
            present(others, 1);
            until(&mut core, 1, OFF);
        }
    });
}

fn many<H: Hypervisor>()
where
    H::Vm: Vm<Arch = Aarch64>,
{
    let most = H::open().unwrap().facts().unwrap().max_vcpus;
    assert!(most >= 1);
    // The machine has no more, whatever the host can do.
    let count = most.min(64);
    with_cores::<H>(count, |rig, first, others| {
        let mut core = Snippets::new(rig, first);
        let entry = writes_itself_off(&mut core);
        for index in 1..count {
            assert_eq!(call(&mut core, CPU_ON, [affinity(index), entry, REPORT]), 0);
            present(others, index);
        }
    });
}

fn refused<H: Hypervisor>()
where
    H::Vm: Vm<Arch = Aarch64>,
{
    with_cores::<H>(2, |rig, first, _| {
        let mut core = Snippets::new(rig, first);
        let waits = waits(&mut core);
        assert_eq!(call(&mut core, CPU_ON, [1, waits, 0]), 0);
        until(&mut core, 1, ON);
        for target in [0, 1] {
            assert_eq!(call(&mut core, CPU_ON, [target, waits, 0]), ALREADY_ON, "{target}");
        }
        for target in [2, 0x100, 0x1_0000, 1 << 32, u64::MAX] {
            assert_eq!(call(&mut core, CPU_ON, [target, waits, 0]), INVALID_PARAMETERS, "{target:#x}");
            assert_eq!(call(&mut core, AFFINITY_INFO, [target, 0, 0]), INVALID_PARAMETERS, "{target:#x}");
        }
        assert_eq!(call(&mut core, AFFINITY_INFO, [1, 9, 0]), INVALID_PARAMETERS, "of no level");
    });
}

fn ends<H: Hypervisor>()
where
    H::Vm: Vm<Arch = Aarch64>,
{
    let (rig, mut vcpu) = Rig::<H>::single();
    for (function, stop) in [
        (SYSTEM_OFF, Stop::PowerOff),
        (SYSTEM_RESET, Stop::Reset),
        (SYSTEM_RESET2, Stop::Reset),
        (SYSTEM_OFF, Stop::PowerOff),
    ] {
        let mut core = Snippets::<H>::new(&rig, &mut vcpu);
        core.start(&[HVC], |state| state.x[0] = function.into());
        assert_eq!(core.vcpu.run().unwrap(), Exit::Stop(stop), "{function:#x}");
        rig.vm.reset().unwrap();
        vcpu.reset().unwrap();
    }
}

/// Interrupts stay masked, as they are when a kernel suspends a core.
fn suspend<H: Hypervisor>()
where
    H::Vm: Vm<Arch = Aarch64>,
{
    let (rig, mut vcpu, chip) = interrupts::machine::<H>(interrupts::MASKED);
    let mut core = Snippets::<H>::new(&rig, &mut vcpu);
    core.start(&[HVC], |state| state.x[0] = CPU_SUSPEND.into());
    let sender = thread::spawn(move || chip.send_msi(interrupts::message_of(interrupts::FIRST)));
    assert_eq!(core.end().unwrap().x[0], 0);
    sender.join().unwrap();
}

/// A reset kicks all cores, and waits until each has said so.
fn off_kicked<H: Hypervisor>()
where
    H::Vm: Vm<Arch = Aarch64>,
{
    with_cores::<H>(2, |rig, first, others| {
        for _ in 0..3 {
            others.reset(rig, first);
        }
    });
}

fn off_again<H: Hypervisor>()
where
    H::Vm: Vm<Arch = Aarch64>,
{
    with_cores::<H>(2, |rig, first, others| {
        // The second core trusts its instruction cache: each program stays where it is.
        let programs = |core: &mut Snippets<'_, H>| (waits(core), writes_itself_off(core));
        for _ in 0..3 {
            let mut core = Snippets::new(rig, first);
            let (waits, _) = programs(&mut core);
            assert_eq!(call(&mut core, AFFINITY_INFO, [1, 0, 0]), OFF);
            assert_eq!(call(&mut core, CPU_ON, [1, waits, 0]), 0);
            until(&mut core, 1, ON);
            others.reset(rig, first);
        }
        let mut core = Snippets::new(rig, first);
        let (_, entry) = programs(&mut core);
        assert_eq!(call(&mut core, CPU_ON, [1, entry, REPORT]), 0);
        present(others, 1);
    });
}
