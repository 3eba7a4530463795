//! The instruction of a data abort whose syndrome does not say what it transfers.

use backend_hvf::{
    access::{Access, Registers, Unable},
    instruction::{Decoded, Refusal, Register, decode},
};

use crate::{Input, cores::Core};

/// Any instructions and registers. An access is at most four steps in one page, changes no register but those it loads and
/// its base, and moves PC on by one instruction.
///
/// # Panics
/// The decoder or the access breaks one of these.
pub fn instruction(data: &[u8]) {
    let mut input = Input::new(data);
    while !input.is_empty() {
        let mut word = input.u32();
        if input.flag() {
            // Into the loads and stores: bit 27 set, bit 25 clear.
            word = word & !(1 << 25) | 1 << 27;
        }
        let Ok(Decoded::Access(instruction)) = decode(word) else { continue };
        let mut core = Core::new();
        for x in &mut core.x {
            *x ^= input.number();
        }
        let before = core.clone();
        // The abort is of the right byte of its page, or of any.
        let base = if instruction.base == 31 { core.sp } else { core.x[usize::from(instruction.base)] };
        let index = match instruction.offset {
            backend_hvf::instruction::Offset::Register { register, .. } if register < 31 => {
                core.x[usize::from(register)]
            }
            _ => 0,
        };
        let byte = if input.flag() { instruction.address(base, index).0 } else { input.number() } & 0xfff;
        let page = u64::from(input.u16()) << 12;
        let mut access = match Access::of_instruction(&instruction, page | byte, &core) {
            Ok(access) => access,
            Err(Unable::Refused(refusal)) => {
                assert_eq!(refusal, Refusal::Split);
                continue;
            }
            Err(Unable::Host(never)) => match never {},
        };
        let mut steps = 0;
        while let Some(step) = access.step() {
            assert!(step.address & !0xfff == page && [1, 2, 4, 8].contains(&step.size));
            assert_eq!(step.store.is_some(), instruction.is_write);
            access.answer(input.u64());
            steps += 1;
        }
        assert!((1..=4).contains(&steps));
        let Ok(()) = access.complete(&mut core);
        let mut expected = before;
        let Ok(()) = expected.advance();
        let base = instruction.base;
        let loads = instruction.transfers.iter().filter(|_| !instruction.is_write).map(|part| part.register);
        for register in loads.chain([Register::General(base)]) {
            match register {
                Register::General(31) => expected.sp = core.sp,
                Register::General(number) => expected.x[usize::from(number)] = core.x[usize::from(number)],
                Register::Vector(number) | Register::VectorHigh(number) => {
                    expected.v[usize::from(number)] = core.v[usize::from(number)];
                }
            }
        }
        assert_eq!(core, expected);
    }
}
