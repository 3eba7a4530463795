//! The A64 encodings of loads and stores (Arm ARM, C4.1.94).

use super::{Decoded, Extend, Extension, Indexing, Instruction, Offset, Refusal, Register, Transfers};

/// Decodes the instruction at PC that a data abort is of.
///
/// # Errors
/// It is not one that can be carried out on a device.
pub fn decode(word: u32) -> Result<Decoded, Refusal> {
    if is_cache_maintenance(word) {
        return Ok(Decoded::CacheMaintenance);
    }
    let is_vector = bit(word, 26);
    let instruction = match (field(word, 27, 3), field(word, 24, 2)) {
        (0b001, 0b00) if !is_vector => ordered(word)?,
        (0b011, 0b01) if !is_vector => ordered_unscaled(word)?,
        (0b101, 0b00 | 0b01) => pair(word)?,
        (0b111, 0b01) => {
            let (is_write, transfers) = single(word)?;
            let scaled = i64::from(field(word, 10, 12)) << scale(&transfers);
            access(word, is_write, transfers, Offset::Immediate(scaled), Indexing::Offset)
        }
        (0b111, 0b00) if bit(word, 21) => by_register(word)?,
        (0b111, 0b00) => {
            let indexing = match field(word, 10, 2) {
                0b00 => Indexing::Offset,
                0b01 => Indexing::Post,
                // The unprivileged forms (LDTR, STTR) are of general registers only.
                0b10 if is_vector => return Err(Refusal::Unsupported),
                0b10 => Indexing::Offset,
                _ => Indexing::Pre,
            };
            let (is_write, transfers) = single(word)?;
            let offset = Offset::Immediate(signed(field(word, 12, 9), 9));
            access(word, is_write, transfers, offset, indexing)
        }
        _ => return Err(Refusal::Unsupported),
    };
    if is_unpredictable(&instruction) {
        Err(Refusal::Unpredictable)
    } else {
        Ok(Decoded::Access(instruction))
    }
}

/// DC by virtual address, but DC ZVA and those of tags: IVAC, CVAC, CVAU, CVAP, CVADP, CIVAC.
fn is_cache_maintenance(word: u32) -> bool {
    // SYS: op1 in bits 16-18, CRn 12-15, CRm 8-11, op2 5-7.
    let is_sys = word >> 19 == 0b1_1010_1010_0001;
    let (op1, crn, crm, op2) = (field(word, 16, 3), field(word, 12, 4), field(word, 8, 4), field(word, 5, 3));
    is_sys && matches!((op1, crn, crm, op2), (0, 7, 6, 1) | (3, 7, 10..=14, 1))
}

/// Load and store exclusive, ordered, compare and swap.
fn ordered(word: u32) -> Result<Instruction, Refusal> {
    match (bit(word, 23), bit(word, 21)) {
        (true, false) => {}
        (true, true) => return Err(Refusal::Atomic),
        // CASP has the sizes that exclusive pairs lack.
        (false, true) if !bit(word, 31) => return Err(Refusal::Atomic),
        (false, _) => return Err(Refusal::Exclusive),
    }
    // STLR, LDAR, STLLR, LDLAR; bits 10-14 and 16-20 should be ones, and others do the same.
    let transfers = Transfers::one(general(word, 0), 1 << field(word, 30, 2), Extension::Zero);
    Ok(access(word, !bit(word, 22), transfers, Offset::Immediate(0), Indexing::Offset))
}

/// STLUR, LDAPUR and their sign-extending forms.
fn ordered_unscaled(word: u32) -> Result<Instruction, Refusal> {
    if bit(word, 21) || field(word, 10, 2) != 0 {
        return Err(Refusal::Unsupported);
    }
    let (is_write, transfers) = single(word)?;
    let offset = Offset::Immediate(signed(field(word, 12, 9), 9));
    Ok(access(word, is_write, transfers, offset, Indexing::Offset))
}

/// LDP, STP, LDPSW, LDNP, STNP.
fn pair(word: u32) -> Result<Instruction, Refusal> {
    let (size_code, indexing_code, is_load) = (field(word, 30, 2), field(word, 23, 2), bit(word, 22));
    let indexing = match indexing_code {
        0b00 | 0b10 => Indexing::Offset,
        0b01 => Indexing::Post,
        _ => Indexing::Pre,
    };
    let (shift, extension) = match (bit(word, 26), size_code) {
        (true, 0..=2) => (2 + size_code, Extension::Zero),
        (false, 0) => (2, Extension::Zero),
        // Not LDNP, whose code this is not, and not STGP.
        (false, 1) if is_load && indexing_code != 0 => (2, Extension::Sign64),
        (false, 2) => (3, Extension::Zero),
        _ => return Err(Refusal::Unsupported),
    };
    let register = if bit(word, 26) { vector } else { general };
    let transfers = Transfers::NONE.and(register(word, 0), 1 << shift, extension).and(
        register(word, 10),
        1 << shift,
        extension,
    );
    let offset = Offset::Immediate(signed(field(word, 15, 7), 7) << shift);
    Ok(access(word, !is_load, transfers, offset, indexing))
}

/// Register offset; LDAPR, which shares its encoding space with the atomics.
fn by_register(word: u32) -> Result<Instruction, Refusal> {
    match field(word, 10, 2) {
        0b10 => {}
        0b00 if !bit(word, 26) => {
            // A set, R clear, Rs all ones, o3 set, opc 100.
            return if field(word, 12, 12) == 0b1011_1111_1100 {
                let transfers = Transfers::one(general(word, 0), 1 << field(word, 30, 2), Extension::Zero);
                Ok(access(word, false, transfers, Offset::Immediate(0), Indexing::Offset))
            } else {
                Err(Refusal::Atomic)
            };
        }
        _ => return Err(Refusal::Unsupported),
    }
    let extend = match field(word, 13, 3) {
        0b010 => Extend::UnsignedWord,
        0b011 => Extend::None,
        0b110 => Extend::SignedWord,
        0b111 => Extend::Signed,
        _ => return Err(Refusal::Unsupported),
    };
    let (is_write, transfers) = single(word)?;
    let shift = if bit(word, 12) { scale(&transfers) } else { 0 };
    let offset = Offset::Register { register: number(word, 16), extend, shift };
    Ok(access(word, is_write, transfers, offset, Indexing::Offset))
}

/// The direction and transfers of a single register, by `size`, V and `opc`.
fn single(word: u32) -> Result<(bool, Transfers), Refusal> {
    let (size, opc) = (field(word, 30, 2), field(word, 22, 2));
    let bytes = 1 << size;
    if bit(word, 26) {
        let bytes = match (size, opc) {
            (_, 0b00 | 0b01) => bytes,
            (0, _) => 16,
            _ => return Err(Refusal::Unsupported),
        };
        return Ok((opc & 1 == 0, Transfers::one(vector(word, 0), bytes, Extension::Zero)));
    }
    let extension = match (opc, size) {
        (0b00 | 0b01, _) => Extension::Zero,
        (0b10, 0..=2) => Extension::Sign64,
        (0b11, 0 | 1) => Extension::Sign32,
        // PRFM, which never aborts, and what is not allocated.
        _ => return Err(Refusal::Unsupported),
    };
    Ok((opc == 0, Transfers::one(general(word, 0), bytes, extension)))
}

fn access(
    word: u32,
    is_write: bool,
    transfers: Transfers,
    offset: Offset,
    indexing: Indexing,
) -> Instruction {
    Instruction { is_write, transfers, base: number(word, 5), offset, indexing }
}

/// Write-back to a register that is transferred too; a load of one register twice (Arm ARM, K1.2).
fn is_unpredictable(instruction: &Instruction) -> bool {
    let transfers = &instruction.transfers;
    let base_too = instruction.base != 31
        && transfers.iter().any(|transfer| transfer.register == Register::General(instruction.base));
    let twice = transfers
        .iter()
        .enumerate()
        .any(|(at, one)| transfers.iter().skip(at + 1).any(|other| other.register == one.register));
    instruction.indexing != Indexing::Offset && base_too || !instruction.is_write && twice
}

/// The logarithm of a single register's size in bytes.
fn scale(transfers: &Transfers) -> u8 {
    match transfers.iter().map(|transfer| transfer.size).sum::<u8>() {
        0 | 1 => 0,
        2 => 1,
        4 => 2,
        8 => 3,
        _ => 4,
    }
}

fn general(word: u32, at: u32) -> Register {
    Register::General(number(word, at))
}

fn vector(word: u32, at: u32) -> Register {
    Register::Vector(number(word, at))
}

/// The register number in 5 bits from bit `at`.
fn number(word: u32, at: u32) -> u8 {
    (word >> at & 31).to_le_bytes()[0]
}

fn bit(word: u32, at: u32) -> bool {
    word >> at & 1 == 1
}

fn field(word: u32, at: u32, width: u32) -> u32 {
    word >> at & ((1 << width) - 1)
}

/// `value`, of `width` bits, by its sign.
fn signed(value: u32, width: u32) -> i64 {
    let sign = 1_i64 << (width - 1);
    (i64::from(value) ^ sign) - sign
}
