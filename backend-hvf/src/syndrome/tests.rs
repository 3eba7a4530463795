//! Tests of the syndrome decoder: every value of every field.

use super::*;

/// `ESR_EL2` with `IL` set, of class `class`.
fn esr(class: u64, specific: u64) -> u64 {
    class << 26 | 1 << 25 | specific
}

fn data_abort(specific: u64) -> DataAbort {
    match Syndrome::decode(esr(0x24, specific)) {
        Syndrome::DataAbort(abort) => abort,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_fields_of_a_transfer_are_where_the_architecture_has_them() {
    for sas in 0..4_u64 {
        for register in 0..32_u64 {
            for flags in 0..32_u64 {
                let (sse, sf, ar, valid, write) =
                    (flags & 1, flags >> 1 & 1, flags >> 2 & 1, flags >> 3 & 1, flags >> 4);
                let specific = valid << 24
                    | sas << 22
                    | sse << 21
                    | register << 16
                    | sf << 15
                    | ar << 14
                    | write << 6
                    | 7;
                let abort = data_abort(specific);
                assert_eq!(abort.fault, Fault::Translation(3));
                assert_eq!(abort.is_write, write == 1);
                let expected = SyndromeTransfer {
                    size: [1, 2, 4, 8][usize::try_from(sas).unwrap()],
                    is_sign_extended: sse == 1,
                    register: u8::try_from(register).unwrap(),
                    is_64_bit: sf == 1,
                    is_ordered: ar == 1,
                };
                assert_eq!(abort.transfer, (valid == 1).then_some(expected));
            }
        }
    }
}

#[test]
fn the_flags_of_a_data_abort_are_independent() {
    for flags in 0..16_u64 {
        let (fnv, cm, s1ptw, wnr) = (flags & 1, flags >> 1 & 1, flags >> 2 & 1, flags >> 3);
        let abort = data_abort(fnv << 10 | cm << 8 | s1ptw << 7 | wnr << 6 | 0x10);
        let expected = DataAbort {
            fault: Fault::External,
            is_write: wnr == 1,
            is_address_valid: fnv == 0,
            is_cache_maintenance: cm == 1,
            is_table_walk: s1ptw == 1,
            transfer: None,
        };
        assert_eq!(abort, expected);
    }
}

#[test]
fn every_status_code_is_a_fault() {
    for code in 0..64_u8 {
        let level = code & 3;
        let expected = match code >> 2 {
            0 => Fault::AddressSize(level),
            1 => Fault::Translation(level),
            2 => Fault::AccessFlag(level),
            3 => Fault::Permission(level),
            _ if code == 0x10 => Fault::External,
            _ if code == 0x21 => Fault::Alignment,
            _ => Fault::Other(code),
        };
        assert_eq!(data_abort(code.into()).fault, expected);
        let abort = Syndrome::decode(esr(0x20, u64::from(code) | 1 << 7));
        let expected = InstructionAbort { fault: expected, is_address_valid: true, is_table_walk: true };
        assert_eq!(abort, Syndrome::InstructionAbort(expected));
    }
    let abort = Syndrome::decode(esr(0x20, 1 << 10));
    assert!(matches!(abort, Syndrome::InstructionAbort(InstructionAbort { is_address_valid: false, .. })));
}

#[test]
fn hvc_smc_and_brk_bring_their_immediate() {
    for immediate in 0..=u16::MAX {
        let specific = immediate.into();
        assert_eq!(Syndrome::decode(esr(0x16, specific)), Syndrome::Hypercall { immediate });
        assert_eq!(Syndrome::decode(esr(0x17, specific)), Syndrome::SecureMonitorCall { immediate });
        assert_eq!(Syndrome::decode(esr(0x3c, specific)), Syndrome::Brk { immediate });
    }
}

/// Against the encoding of MSR and MRS: op0 in bits 19-20 of the word, op1 16-18, `CRn` 12-15, `CRm` 8-11, op2 5-7.
#[test]
fn every_register_is_named_as_its_instruction_names_it() {
    for number in 0..=u16::MAX {
        let register = SystemRegister(number);
        let specific = u64::from(register.op0()) << 20
            | u64::from(register.op2()) << 17
            | u64::from(register.op1()) << 14
            | u64::from(register.crn()) << 10
            | u64::from(register.crm()) << 1;
        for (general, is_read) in [(0, true), (31, false), (21, true)] {
            let specific = specific | u64::from(general) << 5 | u64::from(is_read);
            let expected = SystemRegisterAccess { register, general, is_read };
            assert_eq!(Syndrome::decode(esr(0x18, specific)), Syndrome::SystemRegister(expected));
        }
    }
    // MRS X1, MDCCINT_EL1, written out.
    let expected =
        SystemRegisterAccess { register: SystemRegister::new(2, 0, 0, 2, 0), general: 1, is_read: true };
    assert_eq!(Syndrome::decode(0x6220_0025), Syndrome::SystemRegister(expected));
}

#[test]
fn every_wait_is_told_with_its_timeout() {
    for (code, instruction) in
        [WaitInstruction::Wfi, WaitInstruction::Wfe, WaitInstruction::Wfit, WaitInstruction::Wfet]
            .into_iter()
            .enumerate()
    {
        for register in 0..32_u8 {
            for valid in [false, true] {
                let specific = code as u64 | u64::from(valid) << 2 | u64::from(register) << 5 | 0x1e << 20;
                let timeout_register = (valid && code >= 2).then_some(register);
                let expected = Wait { instruction, timeout_register };
                assert_eq!(Syndrome::decode(esr(1, specific)), Syndrome::Wait(expected));
            }
        }
    }
}

#[test]
fn every_class_is_told() {
    for class in 0..64_u8 {
        // IL and what lies above bit 31 change nothing.
        for around in [0, 1 << 25, 0xffff_ffff << 32] {
            let told = Syndrome::decode(u64::from(class) << 26 | 0x12_3456 | around);
            let known = match class {
                0x01 => matches!(told, Syndrome::Wait(_)),
                0x16 => matches!(told, Syndrome::Hypercall { .. }),
                0x17 => matches!(told, Syndrome::SecureMonitorCall { .. }),
                0x18 => matches!(told, Syndrome::SystemRegister(_)),
                0x20 => matches!(told, Syndrome::InstructionAbort(_)),
                0x24 => matches!(told, Syndrome::DataAbort(_)),
                0x30 => told == Syndrome::Breakpoint,
                0x32 => told == Syndrome::SoftwareStep,
                0x34 => told == Syndrome::Watchpoint,
                0x3c => matches!(told, Syndrome::Brk { .. }),
                _ => told == Syndrome::Other { class, specific: 0x12_3456 },
            };
            assert!(known, "{class:#x}: {told:?}");
        }
    }
}
