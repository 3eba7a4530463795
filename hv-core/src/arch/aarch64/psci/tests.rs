//! Tests of the power state machine.

use proptest::prelude::*;

use super::{super::smccc, *};

const ENTRY: u64 = 0x8000_0000;

fn call(function: u32, arguments: [u64; 3]) -> Call {
    let [a, b, c] = arguments;
    Call::new([function.into(), a, b, c])
}

fn machine(vcpus: u32) -> Psci {
    Psci::new(vcpus, 36)
}

#[test]
fn a_core_is_started_once_and_begins_where_it_was_told() {
    let mut psci = machine(2);
    let start = Start { entry: ENTRY, context: 7 };
    let on = call(CPU_ON_64, [1, ENTRY, 7]);
    assert_eq!(psci.power(1), Power::Off);
    assert_eq!(psci.call(0, on), Effect::Start { core: 1, start });
    assert_eq!(psci.power(1), Power::OnPending);
    assert_eq!(psci.call(0, on), Effect::Return(code::ON_PENDING));
    psci.begun(1);
    assert_eq!(psci.power(1), Power::On);
    assert_eq!(psci.call(0, on), Effect::Return(code::ALREADY_ON));
    assert_eq!(psci.call(1, call(CPU_OFF, [0; 3])), Effect::Off);
    assert_eq!(psci.power(1), Power::Off);
    assert_eq!(psci.call(0, on), Effect::Start { core: 1, start });
}

#[test]
fn cores_are_called_by_their_affinity() {
    let mut psci = machine(18);
    assert!(matches!(psci.call(0, call(CPU_ON_64, [0x101, ENTRY, 0])), Effect::Start { core: 17, .. }));
    for nobody in [0x102, 0x10, 0x1_0001, 1 << 31 | 1, 1 << 32 | 1, u64::MAX] {
        let effect = psci.call(0, call(CPU_ON_64, [nobody, ENTRY, 0]));
        assert_eq!(effect, Effect::Return(code::INVALID_PARAMETERS), "{nobody:#x}");
    }
}

#[test]
fn an_entry_point_is_an_aligned_address_of_the_machine() {
    for (entry, good) in
        [(0, true), (ENTRY | 2, false), ((1 << 36) - 4, true), (1 << 36, false), (u64::MAX, false)]
    {
        let effect = machine(2).call(0, call(CPU_ON_64, [1, entry, 0]));
        assert_eq!(effect == Effect::Return(code::INVALID_ADDRESS), !good, "{entry:#x}");
        assert_eq!(matches!(effect, Effect::Start { .. }), good, "{entry:#x}");
    }
}

#[test]
fn a_32_bit_call_has_32_bit_arguments_and_a_64_bit_call_has_not() {
    let effect = machine(2).call(0, call(CPU_ON, [0xf_0000_0001, 0xf_8000_0000, 0xf_0000_0002]));
    assert_eq!(effect, Effect::Start { core: 1, start: Start { entry: ENTRY, context: 2 } });
    let effect = machine(2).call(0, call(CPU_ON_64, [0xf_0000_0001, ENTRY, 2]));
    assert_eq!(effect, Effect::Return(code::INVALID_PARAMETERS));
}

#[test]
fn affinity_info_tells_of_one_core_or_of_all_below_an_instance() {
    let mut psci = machine(18);
    let info = |psci: &mut Psci, target, level| match psci.call(0, call(AFFINITY_INFO_64, [target, level, 0]))
    {
        Effect::Return(value) => value,
        other => panic!("{other:?}"),
    };
    assert_eq!((info(&mut psci, 0, 0), info(&mut psci, 1, 0)), (0, 1));
    assert_eq!((info(&mut psci, 0, 1), info(&mut psci, 0x100, 1), info(&mut psci, 0x1ff, 1)), (0, 1, 1));
    assert_eq!((info(&mut psci, 0, 2), info(&mut psci, 0, 3)), (0, 0));
    psci.call(0, call(CPU_ON_64, [0x101, ENTRY, 0]));
    assert_eq!((info(&mut psci, 0x101, 0), info(&mut psci, 0x100, 0), info(&mut psci, 0x100, 1)), (2, 1, 2));
    psci.begun(17);
    assert_eq!((info(&mut psci, 0x101, 0), info(&mut psci, 0x100, 1)), (0, 0));
    for (target, level) in
        [(0x102, 0), (0x200, 1), (0x1_0000, 2), (1 << 32, 3), (0, 4), (0, u64::MAX), (1 << 31, 0)]
    {
        assert_eq!(info(&mut psci, target, level), code::INVALID_PARAMETERS, "{target:#x} {level}");
    }
}

#[test]
fn the_machine_ends_as_it_is_asked_to() {
    let effect = |function, kind| machine(1).call(0, call(function, [kind, 0, 0]));
    assert_eq!(effect(SYSTEM_OFF, 0), Effect::SystemOff);
    assert_eq!(effect(SYSTEM_RESET, 0), Effect::SystemReset);
    for function in [SYSTEM_RESET2, SYSTEM_RESET2_64] {
        assert_eq!(effect(function, 0), Effect::SystemReset);
        for unknown in [1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] {
            assert_eq!(effect(function, unknown), Effect::Return(code::INVALID_PARAMETERS));
        }
    }
}

#[test]
fn a_core_suspends_unless_reserved_bits_are_set() {
    let effect = |state| machine(1).call(0, call(CPU_SUSPEND_64, [state, ENTRY, 0]));
    for state in [0, 1 << 16, 3 << 24, 0xffff] {
        assert_eq!(effect(state), Effect::Suspend);
    }
    for bit in (17..=23).chain(26..=31) {
        assert_eq!(effect(1 << bit), Effect::Return(code::INVALID_PARAMETERS));
    }
}

#[test]
fn it_describes_itself() {
    let value = |function, argument| machine(1).call(0, call(function, [argument, 0, 0]));
    assert_eq!(value(VERSION, 0), Effect::Return(0x1_0001));
    assert_eq!(value(smccc::VERSION, 0), Effect::Return(0x1_0001));
    assert_eq!(value(smccc::ARCH_FEATURES, 0x8000_8000), Effect::Return(code::NOT_SUPPORTED));
    assert_eq!(value(MIGRATE_INFO_TYPE, 0), Effect::Return(2));
}

/// Every identifier of a standard secure service (DEN0028, table 6-2) and of the architecture, in both widths.
#[test]
fn a_function_is_a_feature_exactly_if_it_does_something() {
    for number in 0..=0xffff_u32 {
        for base in [0x8400_0000, 0xc400_0000, 0x8000_0000] {
            let function = base | number;
            if function == smccc::ARCH_FEATURES {
                continue;
            }
            // An argument that none of them refuses as not supported.
            let effect = machine(1).call(0, call(function, [smccc::VERSION.into(), 0, 0]));
            let feature = machine(1).call(0, call(FEATURES, [function.into(), 0, 0]));
            assert_eq!(
                feature == Effect::Return(0),
                effect != Effect::Return(code::NOT_SUPPORTED),
                "{function:#x}: {effect:?}"
            );
        }
    }
}

#[test]
fn a_reset_leaves_core_0_on_and_the_others_off() {
    let mut psci = machine(3);
    psci.call(0, call(CPU_ON_64, [1, ENTRY, 0]));
    psci.call(0, call(CPU_ON_64, [2, ENTRY, 0]));
    psci.begun(1);
    psci.call(0, call(CPU_OFF, [0; 3]));
    psci.reset();
    assert_eq!(psci, machine(3));
}

#[test]
fn a_core_that_is_not_there_is_off_and_changes_nothing() {
    let mut psci = machine(2);
    psci.begun(2);
    assert_eq!(psci.power(u32::MAX), Power::Off);
    assert_eq!(psci.call(2, call(CPU_OFF, [0; 3])), Effect::Return(code::DENIED));
    assert_eq!(psci, machine(2));
}

/// A call as guests and attackers make it.
fn any_call() -> impl Strategy<Value = Call> {
    let function = prop_oneof![
        4 => prop::sample::select(vec![
            CPU_ON, CPU_ON_64, CPU_OFF, AFFINITY_INFO_64, CPU_SUSPEND, SYSTEM_OFF, SYSTEM_RESET2, FEATURES
        ]),
        1 => any::<u32>(),
    ];
    let argument = prop_oneof![3 => 0..4_u64, 1 => Just(ENTRY), 1 => any::<u64>()];
    (function, prop::array::uniform3(argument)).prop_map(|(function, arguments)| call(function, arguments))
}

proptest! {
    /// A core is started only while it is off, and calls change no other core.
    #[test]
    fn a_core_begins_at_most_once_for_each_time_it_is_off(
        vcpus in 1..5_u32,
        steps in prop::collection::vec((0..5_u32, any_call(), 0..5_u32, any::<bool>()), 0..40),
    ) {
        let mut psci = machine(vcpus);
        let mut model: Vec<_> = (0..vcpus).map(at_power_on).collect();
        for (caller, call, begins, begin) in steps {
            match psci.call(caller, call) {
                Effect::Start { core, start } => {
                    let core = usize::try_from(core).unwrap();
                    prop_assert_eq!(model[core], Power::Off);
                    prop_assert!(start.entry % 4 == 0 && start.entry < 1 << 36);
                    model[core] = Power::OnPending;
                }
                Effect::Off => model[usize::try_from(caller).unwrap()] = Power::Off,
                Effect::Return(_) | Effect::Suspend | Effect::SystemOff | Effect::SystemReset => {}
            }
            if begin {
                psci.begun(begins);
                if let Some(power) = model.get_mut(usize::try_from(begins).unwrap())
                    && *power == Power::OnPending
                {
                    *power = Power::On;
                }
            }
            for (index, power) in (0..).zip(&model) {
                prop_assert_eq!(psci.power(index), *power);
            }
        }
    }
}
