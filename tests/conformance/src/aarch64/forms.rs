//! Every form of a load and a store, and what is left of it: the accesses that arrive, the registers afterwards.

use hv_core::arch::aarch64::{CpuState, SystemRegister};

use Access::Load;
use Change::{Base, Stack, V, X};

/// SP is that much above X2 before a form. X4 is 24, and the registers below hold these bytes.
pub(super) const STACK: u64 = 0x40;
pub(super) const X1: [u8; 8] = *b"\xe0\xe1\xe2\xe3\xe4\xe5\xe6\xe7";
pub(super) const X3: [u8; 8] = *b"\xa0\xa1\xa2\xa3\xa4\xa5\xa6\xa7";
pub(super) const V0: [u8; 16] = *b"0123456789abcdef";
pub(super) const V1: [u8; 16] = *b"ghijklmnopqrstuv";

/// One instruction.
pub(super) struct Form {
    pub(super) text: &'static str,
    pub(super) word: u32,
    pub(super) accesses: Vec<Access>,
    pub(super) changes: Vec<Change>,
}

/// One access, at an offset from X2.
pub(super) enum Access {
    Load(i64, usize),
    Store(i64, Vec<u8>),
}

/// What the instruction does to the registers.
pub(super) enum Change {
    /// A general register is this.
    X(usize, u64),
    /// A vector register is this.
    V(usize, u128),
    /// X2 moves.
    Base(i64),
    /// SP moves.
    Stack(i64),
}

impl Change {
    pub(super) fn make(&self, state: &mut CpuState) {
        match *self {
            X(n, value) => state.x[n] = value,
            V(n, value) => state.v[n] = value,
            Base(by) => state.x[2] = state.x[2].wrapping_add_signed(by),
            Stack(by) => {
                if let Some(sp) = state.system.get_mut(&SystemRegister::SP_EL1) {
                    *sp = sp.wrapping_add_signed(by);
                }
            }
        }
    }
}

/// What a load from `address` finds: the low seven bits of the address, with the sign set.
pub(super) fn byte(address: u64) -> u8 {
    address.to_le_bytes()[0] | 0x80
}

fn form<const A: usize, const C: usize>(
    text: &'static str,
    word: u32,
    accesses: [Access; A],
    changes: [Change; C],
) -> Form {
    Form { text, word, accesses: accesses.into(), changes: changes.into() }
}

fn store(offset: i64, data: &[u8]) -> Access {
    Access::Store(offset, data.to_vec())
}

/// Those that the processor describes in the syndrome of the abort (Arm ARM, ISS of a data abort: ISV is 1).
pub(super) fn described() -> Vec<Form> {
    vec![
        form("strb w1, [x2]", 0x3900_0041, [store(0, &X1[..1])], []),
        form("strh w1, [x2]", 0x7900_0041, [store(0, &X1[..2])], []),
        form("str w1, [x2]", 0xb900_0041, [store(0, &X1[..4])], []),
        form("str x1, [x2]", 0xf900_0041, [store(0, &X1)], []),
        form("strb wzr, [x2]", 0x3900_005f, [store(0, &[0])], []),
        form("strh wzr, [x2]", 0x7900_005f, [store(0, &[0; 2])], []),
        form("str wzr, [x2]", 0xb900_005f, [store(0, &[0; 4])], []),
        form("str xzr, [x2]", 0xf900_005f, [store(0, &[0; 8])], []),
        form("str x1, [x2, #8]", 0xf900_0441, [store(8, &X1)], []),
        form("strb w1, [x2, x4]", 0x3824_6841, [store(24, &X1[..1])], []),
        form("stur x1, [x2, #-8]", 0xf81f_8041, [store(-8, &X1)], []),
        form("stlr x1, [x2]", 0xc89f_fc41, [store(0, &X1)], []),
        form("ldrb w1, [x2]", 0x3940_0041, [Load(0, 1)], [X(1, 0x80)]),
        form("ldrh w1, [x2]", 0x7940_0041, [Load(0, 2)], [X(1, 0x8180)]),
        form("ldr w1, [x2]", 0xb940_0041, [Load(0, 4)], [X(1, 0x8382_8180)]),
        form("ldr x1, [x2]", 0xf940_0041, [Load(0, 8)], [X(1, 0x8786_8584_8382_8180)]),
        form("ldr xzr, [x2]", 0xf940_005f, [Load(0, 8)], []),
        form("ldr x2, [x2]", 0xf940_0042, [Load(0, 8)], [X(2, 0x8786_8584_8382_8180)]),
        form("ldrb w1, [x2, x4]", 0x3864_6841, [Load(24, 1)], [X(1, 0x98)]),
        form("ldur x1, [x2, #-8]", 0xf85f_8041, [Load(-8, 8)], [X(1, 0xfffe_fdfc_fbfa_f9f8)]),
        form("ldar w1, [x2]", 0x88df_fc41, [Load(0, 4)], [X(1, 0x8382_8180)]),
    ]
}

/// Of those, the ones that extend the sign.
pub(super) fn signed() -> Vec<Form> {
    vec![
        form("ldrsb w1, [x2]", 0x39c0_0041, [Load(0, 1)], [X(1, 0xffff_ff80)]),
        form("ldrsb x1, [x2]", 0x3980_0041, [Load(0, 1)], [X(1, 0xffff_ffff_ffff_ff80)]),
        form("ldrsh w1, [x2]", 0x79c0_0041, [Load(0, 2)], [X(1, 0xffff_8180)]),
        form("ldrsh x1, [x2]", 0x7980_0041, [Load(0, 2)], [X(1, 0xffff_ffff_ffff_8180)]),
        form("ldrsw x1, [x2]", 0xb980_0041, [Load(0, 4)], [X(1, 0xffff_ffff_8382_8180)]),
        form("ldrsb wzr, [x2]", 0x39c0_005f, [Load(0, 1)], []),
    ]
}

/// Those that it does not describe: the hypervisor must read the instruction. Pieces are of at most 8 bytes, in order.
pub(super) fn to_be_decoded() -> Vec<Form> {
    vec![
        form("str x1, [x2], #8", 0xf800_8441, [store(0, &X1)], [Base(8)]),
        form("str x1, [x2, #8]!", 0xf800_8c41, [store(8, &X1)], [Base(8)]),
        form("strb wzr, [x2], #1", 0x3800_145f, [store(0, &[0])], [Base(1)]),
        form("str w1, [sp, #-16]!", 0xb81f_0fe1, [store(0x30, &X1[..4])], [Stack(-16)]),
        form("stp x1, x3, [x2]", 0xa900_0c41, [store(0, &X1), store(8, &X3)], []),
        form("stp w1, w3, [x2], #8", 0x2881_0c41, [store(0, &X1[..4]), store(4, &X3[..4])], [Base(8)]),
        form("stp xzr, xzr, [x2, #16]!", 0xa981_7c5f, [store(16, &[0; 8]), store(24, &[0; 8])], [Base(16)]),
        form("stnp x1, x3, [x2]", 0xa800_0c41, [store(0, &X1), store(8, &X3)], []),
        form("str b0, [x2]", 0x3d00_0040, [store(0, &V0[..1])], []),
        form("str h0, [x2]", 0x7d00_0040, [store(0, &V0[..2])], []),
        form("str s0, [x2]", 0xbd00_0040, [store(0, &V0[..4])], []),
        form("str d0, [x2]", 0xfd00_0040, [store(0, &V0[..8])], []),
        form("str q0, [x2]", 0x3d80_0040, [store(0, &V0[..8]), store(8, &V0[8..])], []),
        form("stur q0, [x2, #-16]", 0x3c9f_0040, [store(-16, &V0[..8]), store(-8, &V0[8..])], []),
        form("stp d0, d1, [x2]", 0x6d00_0440, [store(0, &V0[..8]), store(8, &V1[..8])], []),
        form(
            "stp q0, q1, [x2], #32",
            0xac81_0440,
            [store(0, &V0[..8]), store(8, &V0[8..]), store(16, &V1[..8]), store(24, &V1[8..])],
            [Base(32)],
        ),
        form("ldr x1, [x2], #-8", 0xf85f_8441, [Load(0, 8)], [X(1, 0x8786_8584_8382_8180), Base(-8)]),
        form("ldr w1, [x2, #4]!", 0xb840_4c41, [Load(4, 4)], [X(1, 0x8786_8584), Base(4)]),
        form("ldrsb x1, [x2], #1", 0x3880_1441, [Load(0, 1)], [X(1, 0xffff_ffff_ffff_ff80), Base(1)]),
        form("ldrsh w1, [x2, #2]!", 0x78c0_2c41, [Load(2, 2)], [X(1, 0xffff_8382), Base(2)]),
        form("ldrsw x1, [x2], #4", 0xb880_4441, [Load(0, 4)], [X(1, 0xffff_ffff_8382_8180), Base(4)]),
        form("ldr x1, [sp], #16", 0xf841_07e1, [Load(0x40, 8)], [X(1, 0xc7c6_c5c4_c3c2_c1c0), Stack(16)]),
        form(
            "ldp x1, x3, [x2]",
            0xa940_0c41,
            [Load(0, 8), Load(8, 8)],
            [X(1, 0x8786_8584_8382_8180), X(3, 0x8f8e_8d8c_8b8a_8988)],
        ),
        form(
            "ldp w1, w3, [x2, #8]",
            0x2941_0c41,
            [Load(8, 4), Load(12, 4)],
            [X(1, 0x8b8a_8988), X(3, 0x8f8e_8d8c)],
        ),
        form(
            "ldpsw x1, x3, [x2]",
            0x6940_0c41,
            [Load(0, 4), Load(4, 4)],
            [X(1, 0xffff_ffff_8382_8180), X(3, 0xffff_ffff_8786_8584)],
        ),
        form(
            "ldp x1, x3, [x2, #-16]!",
            0xa9ff_0c41,
            [Load(-16, 8), Load(-8, 8)],
            [X(1, 0xf7f6_f5f4_f3f2_f1f0), Base(-16), X(3, 0xfffe_fdfc_fbfa_f9f8)],
        ),
        form("ldp x1, xzr, [x2]", 0xa940_7c41, [Load(0, 8), Load(8, 8)], [X(1, 0x8786_8584_8382_8180)]),
        form(
            "ldnp x1, x3, [x2]",
            0xa840_0c41,
            [Load(0, 8), Load(8, 8)],
            [X(1, 0x8786_8584_8382_8180), X(3, 0x8f8e_8d8c_8b8a_8988)],
        ),
        form("ldr b0, [x2]", 0x3d40_0040, [Load(0, 1)], [V(0, 0x80)]),
        form("ldr h0, [x2]", 0x7d40_0040, [Load(0, 2)], [V(0, 0x8180)]),
        form("ldr s0, [x2]", 0xbd40_0040, [Load(0, 4)], [V(0, 0x8382_8180)]),
        form("ldr d0, [x2]", 0xfd40_0040, [Load(0, 8)], [V(0, 0x8786_8584_8382_8180)]),
        form("ldr d0, [x2, x4]", 0xfc64_6840, [Load(24, 8)], [V(0, 0x9f9e_9d9c_9b9a_9998)]),
        form(
            "ldr q0, [x2]",
            0x3dc0_0040,
            [Load(0, 8), Load(8, 8)],
            [V(0, 0x8f8e_8d8c_8b8a_8988_8786_8584_8382_8180)],
        ),
        form(
            "ldr q0, [x2], #16",
            0x3cc1_0440,
            [Load(0, 8), Load(8, 8)],
            [V(0, 0x8f8e_8d8c_8b8a_8988_8786_8584_8382_8180), Base(16)],
        ),
        form(
            "ldp s0, s1, [x2]",
            0x2d40_0440,
            [Load(0, 4), Load(4, 4)],
            [V(0, 0x8382_8180), V(1, 0x8786_8584)],
        ),
        form(
            "ldp q0, q1, [x2]",
            0xad40_0440,
            [Load(0, 8), Load(8, 8), Load(16, 8), Load(24, 8)],
            [
                V(0, 0x8f8e_8d8c_8b8a_8988_8786_8584_8382_8180),
                V(1, 0x9f9e_9d9c_9b9a_9998_9796_9594_9392_9190),
            ],
        ),
    ]
}
