//! Tests of loads and stores to devices, from the abort to the registers.

use std::convert::Infallible;

use proptest::prelude::*;

use super::*;
use crate::instruction::{Decoded, decode};

/// A core's registers in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Core {
    x: [u64; 31],
    v: [u128; 32],
    sp: u64,
    pc: u64,
}

impl Core {
    /// Every register holds another value.
    fn new() -> Self {
        let x = std::array::from_fn(|number| 0x1111_0000_0000_0000 + number as u64);
        let v = std::array::from_fn(|number| 0x2222_0000_0000_0000_3333_0000_0000_0000 + number as u128);
        Self { x, v, sp: 0x4444_0000, pc: 0x8000 }
    }
}

impl Registers for Core {
    type Error = Infallible;

    fn general(&self, number: u8) -> Result<u64, Infallible> {
        Ok(self.x[usize::from(number)])
    }

    fn set_general(&mut self, number: u8, value: u64) -> Result<(), Infallible> {
        self.x[usize::from(number)] = value;
        Ok(())
    }

    fn vector(&self, number: u8) -> Result<u128, Infallible> {
        Ok(self.v[usize::from(number)])
    }

    fn set_vector(&mut self, number: u8, value: u128) -> Result<(), Infallible> {
        self.v[usize::from(number)] = value;
        Ok(())
    }

    fn stack_pointer(&self) -> Result<u64, Infallible> {
        Ok(self.sp)
    }

    fn set_stack_pointer(&mut self, value: u64) -> Result<(), Infallible> {
        self.sp = value;
        Ok(())
    }

    fn advance(&mut self) -> Result<(), Infallible> {
        self.pc += 4;
        Ok(())
    }
}

/// Carries the access out on a device that answers `answers`; what it asked the machine for.
fn carry_out(mut access: Access, core: &mut Core, answers: &[u64]) -> Vec<Step> {
    let mut steps = Vec::new();
    while let Some(step) = access.step() {
        steps.push(step);
        access.answer(answers.get(steps.len() - 1).copied().unwrap_or(0));
    }
    access.answer(u64::MAX);
    let Ok(()) = access.complete(core);
    steps
}

const DEVICE: u64 = 0x0900_0000;

fn transfer(size: u8, is_sign_extended: bool, register: u8, is_64_bit: bool) -> SyndromeTransfer {
    SyndromeTransfer { size, is_sign_extended, register, is_64_bit, is_ordered: false }
}

#[test]
fn a_load_extends_as_the_syndrome_says() {
    let answer = 0xfedc_ba98_8765_8381;
    for (size, sign, wide, expected) in [
        (1, false, false, 0x81),
        (1, false, true, 0x81),
        (1, true, false, 0xffff_ff81),
        (1, true, true, 0xffff_ffff_ffff_ff81),
        (2, false, false, 0x8381),
        (2, true, false, 0xffff_8381),
        (2, true, true, 0xffff_ffff_ffff_8381),
        (4, false, false, 0x8765_8381),
        (4, true, true, 0xffff_ffff_8765_8381),
        (8, false, true, answer),
    ] {
        for register in 0..32 {
            let (before, mut core) = (Core::new(), Core::new());
            let Ok(access) = Access::of_syndrome(&transfer(size, sign, register, wide), false, DEVICE, &core);
            let steps = carry_out(access, &mut core, &[answer]);
            assert_eq!(steps, [Step { address: DEVICE, size, store: None }]);
            let mut expected_core = before;
            expected_core.pc += 4;
            if let Some(x) = expected_core.x.get_mut(usize::from(register)) {
                *x = expected;
            }
            assert_eq!(core, expected_core, "{size} {sign} {wide} X{register}");
        }
    }
}

#[test]
fn a_store_brings_the_low_bytes_of_its_register_or_zero() {
    for (register, value) in [(7, 0xfedc_ba98_7654_3210), (31, 0)] {
        for (size, mask) in [(1, 0xff), (2, 0xffff), (4, 0xffff_ffff), (8, u64::MAX)] {
            let mut core = Core::new();
            core.x[7] = 0xfedc_ba98_7654_3210;
            let mut expected = core.clone();
            expected.pc += 4;
            let Ok(access) = Access::of_syndrome(&transfer(size, false, register, true), true, DEVICE, &core);
            let steps = carry_out(access, &mut core, &[u64::MAX]);
            assert_eq!(steps, [Step { address: DEVICE, size, store: Some(value & mask) }]);
            assert_eq!(core, expected);
        }
    }
}

fn of_word(word: u32, address: u64, core: &Core) -> Result<Access, Refusal> {
    let Ok(Decoded::Access(instruction)) = decode(word) else { panic!("{word:#x}") };
    Access::of_instruction(&instruction, address, core).map_err(|unable| match unable {
        Unable::Refused(refusal) => refusal,
        Unable::Host(never) => match never {},
    })
}

#[test]
fn a_pair_with_write_back_is_two_loads_and_a_new_base() {
    let mut core = Core::new();
    core.x[3] = DEVICE + 0x218;
    let mut expected = core.clone();
    // ldp x1, x2, [x3, #-512]!
    let access = of_word(0xa9e0_0861, DEVICE + 0x18, &core).unwrap();
    let steps = carry_out(access, &mut core, &[5, 6]);
    let step = |address| Step { address, size: 8, store: None };
    assert_eq!(steps, [step(DEVICE + 0x18), step(DEVICE + 0x20)]);
    (expected.x[1], expected.x[2], expected.x[3], expected.pc) = (5, 6, DEVICE + 0x18, 0x8004);
    assert_eq!(core, expected);
}

#[test]
fn the_stack_pointer_is_a_base_that_moves() {
    let mut core = Core::new();
    core.sp = DEVICE + 0x20;
    // str x0, [sp, #-16]!
    let access = of_word(0xf81f_0fe0, DEVICE + 0x10, &core).unwrap();
    let steps = carry_out(access, &mut core, &[]);
    assert_eq!(steps, [Step { address: DEVICE + 0x10, size: 8, store: Some(Core::new().x[0]) }]);
    assert_eq!(core, Core { sp: DEVICE + 0x10, pc: 0x8004, ..Core::new() });
}

#[test]
fn sixteen_bytes_are_two_accesses_of_one_register() {
    let mut core = Core::new();
    core.x[6] = DEVICE;
    core.v[5] = 0xaaaa_bbbb_cccc_dddd_1111_2222_3333_4444;
    let mut expected = core.clone();
    // str q5, [x6]; ldr q4, [x6]; ldr b3, [x6].
    let steps = carry_out(of_word(0x3d80_00c5, DEVICE, &core).unwrap(), &mut core, &[]);
    let store = |address, value| Step { address, size: 8, store: Some(value) };
    assert_eq!(steps, [store(DEVICE, 0x1111_2222_3333_4444), store(DEVICE + 8, 0xaaaa_bbbb_cccc_dddd)]);
    carry_out(of_word(0x3dc0_00c4, DEVICE, &core).unwrap(), &mut core, &[7, 8]);
    carry_out(of_word(0x3d40_00c3, DEVICE, &core).unwrap(), &mut core, &[0x1ff]);
    (expected.v[4], expected.v[3], expected.pc) = (8 << 64 | 7, 0xff, 0x800c);
    assert_eq!(core, expected);
}

#[test]
fn an_access_that_is_not_one_run_of_a_page_is_refused() {
    let mut core = Core::new();
    for (base, abort, refused) in [
        (0xffff_0ff0_u64, DEVICE + 0xff0, false),
        (0xffff_0ff8, DEVICE + 0xff8, true),
        // The abort is of the second page: the first is RAM.
        (0xffff_0ff8, DEVICE, true),
        (0xffff_0000, DEVICE + 8, true),
    ] {
        core.x[3] = base;
        // ldp x1, x2, [x3]
        let result = of_word(0xa940_0861, abort, &core);
        assert_eq!(result.err(), refused.then_some(Refusal::Split), "{base:#x} {abort:#x}");
    }
}

proptest! {
    /// Any load or store is at most four steps in one page; a store reads its registers, a load changes its own.
    #[test]
    fn any_access_ends(word: u32, page in 0..1_u64 << 24, x: [u64; 31], answers: [u64; 4]) {
        let Ok(Decoded::Access(instruction)) = decode(word) else { return Ok(()) };
        let mut core = Core { x, ..Core::new() };
        let base = if instruction.base == 31 { core.sp } else { core.x[usize::from(instruction.base)] };
        let offset = match instruction.offset {
            Offset::Register { register, .. } if register != 31 => core.x[usize::from(register)],
            _ => 0,
        };
        let (address, new_base) = instruction.address(base, offset);
        let Ok(access) = Access::of_instruction(&instruction, (page << 12) | (address % PAGE), &core) else { return Ok(()) };
        let steps = carry_out(access, &mut core, &answers);
        prop_assert_eq!(steps.len(), instruction.transfers.len());
        for step in &steps {
            prop_assert_eq!(step.address >> 12, page);
            prop_assert_eq!(step.store.is_some(), instruction.is_write);
        }
        prop_assert_eq!(core.pc, 0x8004);
        if let Some(value) = new_base {
            let base = if instruction.base == 31 { core.sp } else { core.x[usize::from(instruction.base)] };
            prop_assert_eq!(base, value);
        }
    }
}
