//! PSCI calls of several cores.

use hv_core::arch::aarch64::{
    psci::{
        Effect, Power, Psci,
        code::{INVALID_PARAMETERS, NOT_SUPPORTED},
        function,
    },
    smccc::Call,
};

use crate::Input;

const FUNCTIONS: &[u32] = &[
    function::CPU_ON,
    function::CPU_ON_64,
    function::CPU_OFF,
    function::CPU_SUSPEND,
    function::AFFINITY_INFO_64,
    function::SYSTEM_OFF,
    function::SYSTEM_RESET2_64,
    function::FEATURES,
    0x8000_0000,
    0x8000_0001,
];

/// Any calls. A core starts only when it is off, at an address of the machine; a call changes the caller and the core
/// that it starts, no other; a code is one of the interface.
///
/// # Panics
/// The power states break one of these.
pub fn psci(data: &[u8]) {
    let mut input = Input::new(data);
    let vcpus = u32::from(input.u8() % 20) + 1;
    let mut psci = Psci::new(vcpus, 36);
    while !input.is_empty() {
        let caller = u32::from(input.u8()) % vcpus;
        let before = states(&psci, vcpus);
        let function = if input.flag() { input.choose(FUNCTIONS) } else { input.u32() };
        let call = Call::new([function.into(), input.number(), input.number(), input.number()]);
        let effect = psci.call(caller, call);
        let mut expected = before;
        let of = |core: u32| usize::try_from(core).unwrap();
        match effect {
            Effect::Start { core, start } => {
                assert_eq!(expected[of(core)], Power::Off);
                assert!(start.entry < 1 << 36 && start.entry.is_multiple_of(4));
                expected[of(core)] = Power::OnPending;
            }
            Effect::Off => expected[of(caller)] = Power::Off,
            Effect::Return(value) => assert!(value <= 0x1_0001 || value >= (-9_i64).cast_unsigned()),
            Effect::Suspend | Effect::SystemOff | Effect::SystemReset => {}
        }
        assert_eq!(states(&psci, vcpus), expected);
        if call.function == function::FEATURES {
            assert!(matches!(effect, Effect::Return(0 | NOT_SUPPORTED)));
        }
        if call.function == function::SYSTEM_RESET2 && call.arguments[0] != 0 {
            assert_eq!(effect, Effect::Return(INVALID_PARAMETERS));
        }
        if input.flag() {
            psci.begun(u32::from(input.u8()));
        }
        if input.u8() == 0xff {
            psci.reset();
            assert_eq!(psci, Psci::new(vcpus, 36));
        }
    }
}

fn states(psci: &Psci, vcpus: u32) -> Vec<Power> {
    (0..vcpus).map(|index| psci.power(index)).collect()
}
