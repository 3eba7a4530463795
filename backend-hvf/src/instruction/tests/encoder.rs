//! Loads and stores as a table of opcodes with the places of their fields, for tests of the decoder.

use super::super::{Extend, Extension, Indexing, Instruction, Offset, Register, Transfers};

/// Where the parts of an instruction are, beside the base in bits 5-9 and the register in 0-4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fields {
    /// 12 bits from 10, scaled.
    Scaled,
    /// 9 bits from 12, signed.
    Unscaled(Indexing),
    /// 5 bits from 16, extended in this way, shifted or not.
    Indexed(Extend, bool),
    /// A second register from 10, 7 bits from 15, signed and scaled.
    Pair(Indexing),
    /// Nothing; the bits that should be ones may be any.
    Ordered,
    /// Nothing.
    Alone,
}

/// One kind of instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form {
    opcode: u32,
    fields: Fields,
    is_write: bool,
    is_vector: bool,
    /// The logarithm of the bytes of one register.
    scale: u32,
    extension: Extension,
}

const LOADS: &[(u32, bool, bool, u32, Extension)] = {
    use Extension::{Sign32, Sign64, Zero};
    // Opcodes with unsigned offset: strb, ldrb, ldrsb x, ldrsb w, strh and so on.
    &[
        (0x3900_0000, true, false, 0, Zero),
        (0x3940_0000, false, false, 0, Zero),
        (0x3980_0000, false, false, 0, Sign64),
        (0x39c0_0000, false, false, 0, Sign32),
        (0x7900_0000, true, false, 1, Zero),
        (0x7940_0000, false, false, 1, Zero),
        (0x7980_0000, false, false, 1, Sign64),
        (0x79c0_0000, false, false, 1, Sign32),
        (0xb900_0000, true, false, 2, Zero),
        (0xb940_0000, false, false, 2, Zero),
        (0xb980_0000, false, false, 2, Sign64),
        (0xf900_0000, true, false, 3, Zero),
        (0xf940_0000, false, false, 3, Zero),
        (0x3d00_0000, true, true, 0, Zero),
        (0x3d40_0000, false, true, 0, Zero),
        (0x7d00_0000, true, true, 1, Zero),
        (0x7d40_0000, false, true, 1, Zero),
        (0xbd00_0000, true, true, 2, Zero),
        (0xbd40_0000, false, true, 2, Zero),
        (0xfd00_0000, true, true, 3, Zero),
        (0xfd40_0000, false, true, 3, Zero),
        (0x3d80_0000, true, true, 4, Zero),
        (0x3dc0_0000, false, true, 4, Zero),
    ]
};

/// Opcodes of pairs with a signed offset: stp w, ldp w, ldpsw, stp x, ldp x, stp s and so on.
const PAIRS: &[(u32, bool, bool, u32, Extension)] = &[
    (0x2900_0000, true, false, 2, Extension::Zero),
    (0x2940_0000, false, false, 2, Extension::Zero),
    (0x6940_0000, false, false, 2, Extension::Sign64),
    (0xa900_0000, true, false, 3, Extension::Zero),
    (0xa940_0000, false, false, 3, Extension::Zero),
    (0x2d00_0000, true, true, 2, Extension::Zero),
    (0x2d40_0000, false, true, 2, Extension::Zero),
    (0x6d00_0000, true, true, 3, Extension::Zero),
    (0x6d40_0000, false, true, 3, Extension::Zero),
    (0xad00_0000, true, true, 4, Extension::Zero),
    (0xad40_0000, false, true, 4, Extension::Zero),
];

/// All that there are.
pub(crate) static FORMS: std::sync::LazyLock<Vec<Form>> = std::sync::LazyLock::new(forms);

fn forms() -> Vec<Form> {
    let mut forms = Vec::new();
    for &(opcode, is_write, is_vector, scale, extension) in LOADS {
        let mut add = |opcode, fields| {
            forms.push(Form { opcode, fields, is_write, is_vector, scale, extension });
        };
        let unscaled = opcode - 0x0100_0000;
        add(opcode, Fields::Scaled);
        add(unscaled, Fields::Unscaled(Indexing::Offset));
        add(unscaled | 0x400, Fields::Unscaled(Indexing::Post));
        add(unscaled | 0xc00, Fields::Unscaled(Indexing::Pre));
        for (code, extend) in
            [(2, Extend::UnsignedWord), (3, Extend::None), (6, Extend::SignedWord), (7, Extend::Signed)]
        {
            add(unscaled | 0x20_0800 | code << 13, Fields::Indexed(extend, false));
            add(unscaled | 0x20_1800 | code << 13, Fields::Indexed(extend, true));
        }
        if !is_vector {
            // ldtr, sttr; ldapur, stlur.
            add(unscaled | 0x800, Fields::Unscaled(Indexing::Offset));
            add(opcode - 0x2000_0000, Fields::Unscaled(Indexing::Offset));
        }
    }
    for &(opcode, is_write, is_vector, scale, extension) in PAIRS {
        let mut add = |opcode, indexing| {
            forms.push(Form {
                opcode,
                fields: Fields::Pair(indexing),
                is_write,
                is_vector,
                scale,
                extension,
            });
        };
        add(opcode, Indexing::Offset);
        add(opcode - 0x0080_0000, Indexing::Post);
        add(opcode + 0x0080_0000, Indexing::Pre);
        if extension == Extension::Zero {
            // ldnp, stnp.
            add(opcode - 0x0100_0000, Indexing::Offset);
        }
    }
    for scale in 0..4 {
        let mut add = |opcode, fields, is_write| {
            let (opcode, extension) = (opcode | scale << 30, Extension::Zero);
            forms.push(Form { opcode, fields, is_write, is_vector: false, scale, extension });
        };
        // stllrb, stlrb, ldlarb, ldarb, ldaprb and their wider forms.
        add(0x0880_0000, Fields::Ordered, true);
        add(0x0880_8000, Fields::Ordered, true);
        add(0x08c0_0000, Fields::Ordered, false);
        add(0x08c0_8000, Fields::Ordered, false);
        add(0x38bf_c000, Fields::Alone, false);
    }
    forms
}

fn bits(word: u32, at: u32, width: u32) -> u32 {
    word >> at & ((1 << width) - 1)
}

fn signed(value: u32, width: u32) -> i64 {
    let value = i64::from(value);
    if value >> (width - 1) == 1 { value - (1 << width) } else { value }
}

fn number(value: u32) -> u8 {
    u8::try_from(value).unwrap()
}

impl Form {
    /// The bits that are this form's opcode.
    fn mask(&self) -> u32 {
        !0x3ff
            & !match self.fields {
                Fields::Scaled => 0xfff << 10,
                Fields::Unscaled(_) => 0x1ff << 12,
                Fields::Indexed(..) => 0x1f << 16,
                Fields::Pair(_) => 0xfff << 10,
                Fields::Ordered => 0x1f << 16 | 0x1f << 10,
                Fields::Alone => 0,
            }
    }

    /// `word` is of this form.
    pub(crate) fn holds(&self, word: u32) -> bool {
        word & self.mask() == self.opcode
    }

    /// An instruction of this form: transferred, base, second and offset registers, an immediate's bits.
    pub(crate) fn encode(&self, [register, base, second, index]: [u32; 4], immediate: u32) -> u32 {
        self.opcode
            | register
            | base << 5
            | match self.fields {
                Fields::Scaled => bits(immediate, 0, 12) << 10,
                Fields::Unscaled(_) => bits(immediate, 0, 9) << 12,
                Fields::Indexed(..) => index << 16,
                Fields::Pair(_) => second << 10 | bits(immediate, 0, 7) << 15,
                Fields::Ordered => second << 10 | index << 16,
                Fields::Alone => 0,
            }
    }

    /// What `word` of this form is.
    pub(crate) fn expected(&self, word: u32) -> Instruction {
        let offset = match self.fields {
            Fields::Scaled => Offset::Immediate(i64::from(bits(word, 10, 12)) << self.scale),
            Fields::Unscaled(_) => Offset::Immediate(signed(bits(word, 12, 9), 9)),
            Fields::Indexed(extend, shifted) => Offset::Register {
                register: number(bits(word, 16, 5)),
                extend,
                shift: if shifted { number(self.scale) } else { 0 },
            },
            Fields::Pair(_) => Offset::Immediate(signed(bits(word, 15, 7), 7) << self.scale),
            Fields::Ordered | Fields::Alone => Offset::Immediate(0),
        };
        let transfers = self.registers(word).into_iter().fold(Transfers::NONE, |transfers, register| {
            transfers.and(register, 1 << self.scale, self.extension)
        });
        Instruction {
            is_write: self.is_write,
            transfers,
            base: number(bits(word, 5, 5)),
            offset,
            indexing: self.indexing(),
        }
    }

    fn indexing(&self) -> Indexing {
        match self.fields {
            Fields::Unscaled(indexing) | Fields::Pair(indexing) => indexing,
            _ => Indexing::Offset,
        }
    }

    fn registers(&self, word: u32) -> Vec<Register> {
        let register = |at| {
            if self.is_vector {
                Register::Vector(number(bits(word, at, 5)))
            } else {
                Register::General(number(bits(word, at, 5)))
            }
        };
        match self.fields {
            Fields::Pair(_) => vec![register(0), register(10)],
            _ => vec![register(0)],
        }
    }

    /// The architecture leaves open what `word` of this form does.
    pub(crate) fn is_unpredictable(&self, word: u32) -> bool {
        let (registers, base) = (self.registers(word), number(bits(word, 5, 5)));
        let writes_base = self.indexing() != Indexing::Offset && base != 31;
        writes_base && registers.contains(&Register::General(base))
            || !self.is_write && registers.len() == 2 && registers[0] == registers[1]
    }
}
