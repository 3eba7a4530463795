//! Tests of the trapped registers.

use super::*;

const REGISTERS: std::ops::RangeInclusive<u16> = 0..=u16::MAX;

#[test]
fn the_os_lock_is_set_at_power_on_and_follows_its_access_register() {
    let mut registers = TrappedRegisters::new();
    assert_eq!(registers.read(OSLSR_EL1), Read::Value(0b1010));
    assert_eq!(registers.write(OSLAR_EL1, 0xfffe), Write::Done);
    assert_eq!(registers.read(OSLSR_EL1), Read::Value(0b1000));
    assert_eq!(registers.write(OSLAR_EL1, 1), Write::Done);
    assert_eq!(registers.read(OSLSR_EL1), Read::Value(0b1010));
    assert_eq!(
        (registers.read(OSLAR_EL1), registers.write(OSLSR_EL1, 0)),
        (Read::Undefined, Write::Undefined)
    );
    registers.write(OSLAR_EL1, 0);
    registers.reset();
    assert_eq!(registers.read(OSLSR_EL1), Read::Value(0b1010));
}

#[test]
fn breakpoints_and_watchpoints_keep_what_was_written() {
    let mut registers = TrappedRegisters::new();
    let all = (0..16).flat_map(|crm| (4..8).map(move |op2| SystemRegister::new(2, 0, 0, crm, op2)));
    for register in all.clone() {
        assert_eq!(registers.read(register), Read::Value(0));
        assert_eq!(registers.write(register, u64::from(register.0) << 8), Write::Done);
    }
    for register in all.clone() {
        assert_eq!(registers.read(register), Read::Value(u64::from(register.0) << 8));
    }
    registers.reset();
    for register in all {
        assert_eq!(registers.read(register), Read::Value(0));
    }
}

#[test]
fn the_id_space_reads_as_zero_and_is_not_written() {
    let mut registers = TrappedRegisters::new();
    for crm in 1..8 {
        for op2 in 0..8 {
            let register = SystemRegister::new(3, 0, 0, crm, op2);
            assert_eq!(
                (registers.read(register), registers.write(register, 1)),
                (Read::Value(0), Write::Undefined)
            );
        }
    }
    for outside in [SystemRegister::new(3, 0, 0, 8, 0), SystemRegister::new(3, 2, 0, 1, 0)] {
        assert_eq!(registers.read(outside), Read::Undefined);
    }
}

#[test]
fn what_newer_macos_traps_and_what_kernels_touch_is_known() {
    let mut registers = TrappedRegisters::new();
    for (name, register) in [
        ("MDCCINT_EL1", SystemRegister::new(2, 0, 0, 2, 0)),
        ("OSDLR_EL1", SystemRegister::new(2, 0, 1, 3, 4)),
        ("ACTLR_EL1", SystemRegister::new(3, 0, 1, 0, 1)),
        ("PMCR_EL0", SystemRegister::new(3, 3, 9, 12, 0)),
        ("PMUSERENR_EL0", SystemRegister::new(3, 3, 9, 14, 0)),
        ("PMCCFILTR_EL0", SystemRegister::new(3, 3, 14, 15, 7)),
        ("DISR_EL1", SystemRegister::new(3, 0, 12, 1, 1)),
    ] {
        assert_eq!(registers.write(register, 5), Write::Done, "{name}");
        assert_eq!(registers.read(register), Read::Value(0), "{name}");
    }
    assert!(registers.logged.is_empty());
    assert_eq!(registers.read(CNTPCT_EL0), Read::PhysicalCount);
}

#[test]
fn implementation_defined_registers_read_as_zero() {
    let mut registers = TrappedRegisters::new();
    for crn in [11, 15] {
        let register = SystemRegister::new(3, 1, crn, 3, 5);
        assert_eq!((registers.read(register), registers.write(register, 9)), (Read::Value(0), Write::Done));
        assert_eq!(registers.write(SystemRegister::new(1, 4, crn, 0, 0), 9), Write::Done);
    }
}

#[test]
fn cache_maintenance_by_set_and_way_is_skipped_and_other_instructions_are_undefined() {
    let mut registers = TrappedRegisters::new();
    for crm in [6, 10, 14] {
        assert_eq!(registers.write(SystemRegister::new(1, 0, 7, crm, 2), 0), Write::Done);
    }
    assert_eq!(registers.write(SystemRegister::new(1, 4, 8, 7, 0), 0), Write::Undefined);
}

#[test]
fn every_encoding_has_an_answer_that_stays_and_the_log_is_bounded() {
    let mut registers = TrappedRegisters::new();
    for number in REGISTERS {
        let register = SystemRegister(number);
        let (read, write) = (registers.read(register), registers.write(register, u64::MAX));
        // A register of no kind is UNDEFINED both ways; what can be written and read is one that is known or zero.
        let undefined = (read == Read::Undefined, write == Write::Undefined);
        match classify(register).0 {
            Kind::Undefined => assert_eq!(undefined, (true, true), "{register}"),
            Kind::OsLockAccess | Kind::WriteOnly => assert_eq!(undefined, (true, false), "{register}"),
            Kind::OsLockStatus | Kind::PhysicalCount | Kind::ReadOnlyZero => {
                assert_eq!(undefined, (false, true), "{register}");
            }
            Kind::Zero | Kind::Stored => assert_eq!(undefined, (false, false), "{register}"),
        }
    }
    assert_eq!(registers.logged.len(), MOST_LOGGED);
    assert_eq!(registers.debug.len(), 64);
}

#[test]
fn a_register_is_logged_once() {
    let mut registers = TrappedRegisters::new();
    let register = SystemRegister::new(3, 7, 3, 3, 3);
    assert!(registers.is_first(register));
    assert!(!registers.is_first(register));
    registers.reset();
    assert!(!registers.is_first(register));
}
