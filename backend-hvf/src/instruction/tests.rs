//! Tests of the load and store decoder, against an encoder and against an assembler.

mod encoder;

use proptest::prelude::*;

use super::*;
use encoder::{FORMS, Form};

fn transfers(parts: &[(Register, u8, Extension)]) -> Transfers {
    parts
        .iter()
        .fold(Transfers::NONE, |sum, (register, size, extension)| sum.and(*register, *size, *extension))
}

fn accessed(word: u32) -> Instruction {
    match decode(word) {
        Ok(Decoded::Access(instruction)) => instruction,
        other => panic!("{word:#010x}: {other:?}"),
    }
}

/// What LLVM's assembler makes of a few instructions of each kind.
#[test]
fn assembled_instructions_are_what_they_say() {
    use Extension::{Sign32, Sign64, Zero};
    use Indexing::{Offset as Plain, Post, Pre};
    use Register::{General as X, Vector as V};
    let cases = [
        ("ldr w3, [x5, #4]!", 0xb840_4ca3, false, vec![(X(3), 4, Zero)], 5, Offset::Immediate(4), Pre),
        ("strb wzr, [x1], #-1", 0x381f_f43f, true, vec![(X(31), 1, Zero)], 1, Offset::Immediate(-1), Post),
        (
            "ldr q31, [x30, #65520]",
            0x3dff_ffdf,
            false,
            vec![(V(31), 16, Zero)],
            30,
            Offset::Immediate(65520),
            Plain,
        ),
        (
            "ldp x1, x2, [x3, #-512]!",
            0xa9e0_0861,
            false,
            vec![(X(1), 8, Zero), (X(2), 8, Zero)],
            3,
            Offset::Immediate(-512),
            Pre,
        ),
        (
            "ldpsw x1, x2, [x3], #252",
            0x68df_8861,
            false,
            vec![(X(1), 4, Sign64), (X(2), 4, Sign64)],
            3,
            Offset::Immediate(252),
            Post,
        ),
        (
            "stnp q4, q5, [x6, #1008]",
            0xac1f_94c4,
            true,
            vec![(V(4), 16, Zero), (V(5), 16, Zero)],
            6,
            Offset::Immediate(1008),
            Plain,
        ),
        (
            "ldp s1, s2, [x3]",
            0x2d40_0861,
            false,
            vec![(V(1), 4, Zero), (V(2), 4, Zero)],
            3,
            Offset::Immediate(0),
            Plain,
        ),
        (
            "ldur d9, [x8, #-256]",
            0xfc50_0109,
            false,
            vec![(V(9), 8, Zero)],
            8,
            Offset::Immediate(-256),
            Plain,
        ),
        (
            "ldtrsb x1, [x2, #255]",
            0x388f_f841,
            false,
            vec![(X(1), 1, Sign64)],
            2,
            Offset::Immediate(255),
            Plain,
        ),
        ("ldrsb w1, [x0]", 0x39c0_0001, false, vec![(X(1), 1, Sign32)], 0, Offset::Immediate(0), Plain),
        ("ldar w1, [x2]", 0x88df_fc41, false, vec![(X(1), 4, Zero)], 2, Offset::Immediate(0), Plain),
        ("stlrh w4, [x5]", 0x489f_fca4, true, vec![(X(4), 2, Zero)], 5, Offset::Immediate(0), Plain),
        ("ldaprb w7, [x8]", 0x38bf_c107, false, vec![(X(7), 1, Zero)], 8, Offset::Immediate(0), Plain),
        (
            "ldapursw x1, [x2, #-3]",
            0x999f_d041,
            false,
            vec![(X(1), 4, Sign64)],
            2,
            Offset::Immediate(-3),
            Plain,
        ),
        ("stlur x3, [x4, #7]", 0xd900_7083, true, vec![(X(3), 8, Zero)], 4, Offset::Immediate(7), Plain),
        ("ldlar x1, [x2]", 0xc8df_7c41, false, vec![(X(1), 8, Zero)], 2, Offset::Immediate(0), Plain),
        ("stllr w1, [x2]", 0x889f_7c41, true, vec![(X(1), 4, Zero)], 2, Offset::Immediate(0), Plain),
        (
            "ldrsw x7, [sp, x9, lsl #2]",
            0xb8a9_7be7,
            false,
            vec![(X(7), 4, Sign64)],
            31,
            by(9, Extend::None, 2),
            Plain,
        ),
        (
            "ldrsh w2, [x3, w4, uxtw #1]",
            0x78e4_5862,
            false,
            vec![(X(2), 2, Sign32)],
            3,
            by(4, Extend::UnsignedWord, 1),
            Plain,
        ),
        (
            "str q1, [x2, x3, sxtx #4]",
            0x3ca3_f841,
            true,
            vec![(V(1), 16, Zero)],
            2,
            by(3, Extend::Signed, 4),
            Plain,
        ),
    ];
    for (text, word, is_write, parts, base, offset, indexing) in cases {
        let expected = Instruction { is_write, transfers: transfers(&parts), base, offset, indexing };
        assert_eq!(accessed(word), expected, "{text}");
    }
}

fn by(register: u8, extend: Extend, shift: u8) -> Offset {
    Offset::Register { register, extend, shift }
}

#[test]
fn sixteen_bytes_are_two_transfers() {
    // stnp q4, q5, [x6, #1008]
    let parts: Vec<_> =
        accessed(0xac1f_94c4).transfers.iter().map(|part| (part.register, part.size, part.offset)).collect();
    let expected = [
        (Register::Vector(4), 8, 0),
        (Register::VectorHigh(4), 8, 8),
        (Register::Vector(5), 8, 16),
        (Register::VectorHigh(5), 8, 24),
    ];
    assert_eq!(parts, expected);
}

#[test]
fn what_is_no_plain_access_is_refused_by_its_kind() {
    for (text, word, refusal) in [
        ("ldxr w1, [x2]", 0x885f_7c41, Refusal::Exclusive),
        ("stxp w1, x2, x3, [x4]", 0xc821_0c82, Refusal::Exclusive),
        ("ldaxrb w1, [x2]", 0x085f_fc41, Refusal::Exclusive),
        ("casal x1, x2, [x3]", 0xc8e1_fc62, Refusal::Atomic),
        ("casp x0, x1, x2, x3, [x4]", 0x4820_7c82, Refusal::Atomic),
        ("ldadd x1, x2, [x3]", 0xf821_0062, Refusal::Atomic),
        ("swpb w1, w2, [x3]", 0x3821_8062, Refusal::Atomic),
        ("prfm pldl1keep, [x1]", 0xf980_0020, Refusal::Unsupported),
        ("prfum pldl1keep, [x1, #-8]", 0xf89f_8020, Refusal::Unsupported),
        ("ld1 { v0.16b }, [x1]", 0x4c40_7020, Refusal::Unsupported),
        ("ld1 { v0.b }[1], [x1]", 0x0d40_0420, Refusal::Unsupported),
        ("ldraa x1, [x2]", 0xf820_0441, Refusal::Unsupported),
        ("stgp x1, x2, [x3]", 0x6900_0861, Refusal::Unsupported),
        ("stg x1, [x2]", 0xd920_0841, Refusal::Unsupported),
        ("dc zva, x1", 0xd50b_7421, Refusal::Unsupported),
        ("dc isw, x1", 0xd508_7641, Refusal::Unsupported),
        ("mov x1, x2", 0xaa02_03e1, Refusal::Unsupported),
        ("nop", 0xd503_201f, Refusal::Unsupported),
        ("ldr x1, [x1], #8", 0xf840_8421, Refusal::Unpredictable),
        ("ldp x1, x1, [x3]", 0xa940_0461, Refusal::Unpredictable),
        ("ldp q1, q1, [x3]", 0xad40_0461, Refusal::Unpredictable),
        ("stp x1, x2, [x2, #16]!", 0xa981_0841, Refusal::Unpredictable),
    ] {
        assert_eq!(decode(word), Err(refusal), "{text}");
    }
}

#[test]
fn cache_maintenance_by_address_is_known() {
    for dc in [
        "ivac 0xd5087621",
        "cvac 0xd50b7a21",
        "cvau 0xd50b7b21",
        "civac 0xd50b7e21",
        "cvap 0xd50b7c21",
        "cvadp 0xd50b7d21",
    ] {
        let word = u32::from_str_radix(&dc[dc.len() - 8..], 16).unwrap();
        assert_eq!(decode(word), Ok(Decoded::CacheMaintenance), "dc {dc}");
    }
}

/// Every opcode of the loads and stores: all words by what is not a register or an immediate in any of them.
#[test]
fn a_word_is_an_access_exactly_if_the_encoder_has_it() {
    let mut accesses = 0;
    for opcode in 0..1_u32 << 17 {
        // Bits 21 to 31, and 10 to 15.
        let opcode = (opcode >> 6) << 21 | (opcode & 0x3f) << 10;
        // Base x3; x2 or v2; a second register in bits 10-14 may be any; an offset register or an immediate in 16-20.
        for word in
            [opcode | 3 << 5 | 2, opcode | 0x1f << 16 | 3 << 5 | 2, opcode | 0b10110 << 16 | 31 << 5 | 30]
        {
            let form = FORMS.iter().find(|form| form.holds(word));
            match (form, decode(word)) {
                (Some(form), Ok(Decoded::Access(instruction))) => {
                    assert_eq!(instruction, form.expected(word), "{word:#010x}");
                    accesses += 1;
                }
                (Some(form), Err(Refusal::Unpredictable)) => {
                    assert!(form.is_unpredictable(word), "{word:#010x}");
                }
                (None, Err(_)) => {}
                (form, decoded) => panic!("{word:#010x}: {form:?}, {decoded:?}"),
            }
        }
    }
    assert!(accesses > 10_000, "{accesses}");
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(
        at in 0..FORMS.len(), registers in prop::array::uniform4(0..32_u32), immediate: u32,
    ) {
        let form: &Form = &FORMS[at];
        let word = form.encode(registers, immediate);
        prop_assert!(form.holds(word));
        match decode(word) {
            Ok(Decoded::Access(instruction)) => prop_assert_eq!(instruction, form.expected(word)),
            other => prop_assert!(other == Err(Refusal::Unpredictable) && form.is_unpredictable(word)),
        }
    }

    /// Any word at all: no panic, and never more than 32 bytes in at most four parts that follow each other.
    #[test]
    fn transfers_follow_each_other(word: u32, base: u64, offset: u64) {
        if let Ok(Decoded::Access(instruction)) = decode(word) {
            let mut end = 0;
            for part in &*instruction.transfers {
                prop_assert_eq!(part.offset, end);
                prop_assert!([1, 2, 4, 8].contains(&part.size));
                end += part.size;
            }
            prop_assert!((1..=32).contains(&end));
            let (address, new_base) = instruction.address(base, offset);
            match instruction.indexing {
                Indexing::Offset => prop_assert_eq!(new_base, None),
                Indexing::Pre => prop_assert_eq!(new_base, Some(address)),
                Indexing::Post => prop_assert_eq!(address, base),
            }
        }
    }
}

#[test]
fn a_register_offset_is_extended_and_shifted() {
    let address = |extend, shift, offset| {
        let instruction = Instruction { offset: by(1, extend, shift), ..accessed(0x88df_fc41) };
        instruction.address(0x1000, offset).0
    };
    assert_eq!(address(Extend::UnsignedWord, 3, 0xffff_ffff_0000_0001), 0x1008);
    assert_eq!(address(Extend::None, 0, u64::MAX), 0xfff);
    assert_eq!(address(Extend::Signed, 4, u64::MAX), 0xff0);
    assert_eq!(address(Extend::SignedWord, 2, 0x1234_ffff_ffff), 0xffc);
    assert_eq!(address(Extend::SignedWord, 2, 0xffff_ffff_0000_0002), 0x1008);
}
