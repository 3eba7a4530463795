//! `Access`: a load or store to devices under way, from the abort to the registers that it changes.

use crate::{
    instruction::{Extension, Instruction, Offset, Refusal, Register, Transfers},
    syndrome::SyndromeTransfer,
};

/// A core's registers, as its owner reads and writes them.
pub trait Registers {
    /// The owner could not.
    type Error;

    /// X`number`, 0 to 30.
    ///
    /// # Errors
    /// The host refuses.
    fn general(&self, number: u8) -> Result<u64, Self::Error>;

    /// Writes X`number`, 0 to 30.
    ///
    /// # Errors
    /// The host refuses.
    fn set_general(&mut self, number: u8, value: u64) -> Result<(), Self::Error>;

    /// V`number`, 0 to 31.
    ///
    /// # Errors
    /// The host refuses.
    fn vector(&self, number: u8) -> Result<u128, Self::Error>;

    /// Writes V`number`, 0 to 31.
    ///
    /// # Errors
    /// The host refuses.
    fn set_vector(&mut self, number: u8, value: u128) -> Result<(), Self::Error>;

    /// The stack pointer in use: `SP_EL0` or `SP_EL1`, by PSTATE.
    ///
    /// # Errors
    /// The host refuses.
    fn stack_pointer(&self) -> Result<u64, Self::Error>;

    /// Writes the stack pointer in use.
    ///
    /// # Errors
    /// The host refuses.
    fn set_stack_pointer(&mut self, value: u64) -> Result<(), Self::Error>;

    /// Moves PC past an instruction.
    ///
    /// # Errors
    /// The host refuses.
    fn advance(&mut self) -> Result<(), Self::Error>;
}

/// Why an access cannot begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unable<E> {
    /// The guest's instruction is not carried out on a device.
    Refused(Refusal),
    /// The host did not tell a register.
    Host(E),
}

impl<E> From<E> for Unable<E> {
    fn from(error: E) -> Self {
        Self::Host(error)
    }
}

/// What the machine has to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Guest-physical address.
    pub address: u64,
    /// Bytes: 1, 2, 4 or 8.
    pub size: u8,
    /// What is stored, in the low bytes; `None` for a load.
    pub store: Option<u64>,
}

/// A load or store under way. One [`Step`] after the other is carried out and [answered](Self::answer); then the access is
/// [completed](Self::complete).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    address: u64,
    is_write: bool,
    transfers: Transfers,
    /// Stored or loaded, one for each transfer.
    values: [u64; 4],
    done: usize,
    /// The base register (31 is the stack pointer) and its new value.
    writeback: Option<(u8, u64)>,
}

/// The smallest page: beyond its end the next address may be anywhere.
const PAGE: u64 = 4096;

impl Access {
    /// The access that a syndrome describes, at guest-physical `address`.
    ///
    /// # Errors
    /// The registers cannot be read.
    pub fn of_syndrome<R: Registers>(
        transfer: &SyndromeTransfer,
        is_write: bool,
        address: u64,
        registers: &R,
    ) -> Result<Self, R::Error> {
        let extension = match (transfer.is_sign_extended, transfer.is_64_bit) {
            (false, _) => Extension::Zero,
            (true, false) => Extension::Sign32,
            (true, true) => Extension::Sign64,
        };
        let transfers = Transfers::one(Register::General(transfer.register), transfer.size, extension);
        Self::begin(transfers, is_write, address, None, registers)
    }

    /// The access of `instruction`, whose abort is at guest-physical `address`.
    ///
    /// # Errors
    /// It cannot be carried out, or the registers cannot be read.
    pub fn of_instruction<R: Registers>(
        instruction: &Instruction,
        address: u64,
        registers: &R,
    ) -> Result<Self, Unable<R::Error>> {
        let base = match instruction.base {
            31 => registers.stack_pointer()?,
            number => registers.general(number)?,
        };
        let offset = match instruction.offset {
            Offset::Register { register, .. } => general(registers, register)?,
            Offset::Immediate(_) => 0,
        };
        let (virtual_address, new_base) = instruction.address(base, offset);
        let size: u64 = instruction.transfers.iter().map(|transfer| u64::from(transfer.size)).sum();
        // The abort is of another byte than the first, or the last is on another page.
        if !(virtual_address ^ address).is_multiple_of(PAGE) || address % PAGE + size > PAGE {
            return Err(Unable::Refused(Refusal::Split));
        }
        let writeback = new_base.map(|value| (instruction.base, value));
        Ok(Self::begin(instruction.transfers, instruction.is_write, address, writeback, registers)?)
    }

    fn begin<R: Registers>(
        transfers: Transfers,
        is_write: bool,
        address: u64,
        writeback: Option<(u8, u64)>,
        registers: &R,
    ) -> Result<Self, R::Error> {
        let mut values = [0; 4];
        if is_write {
            for (value, transfer) in values.iter_mut().zip(&*transfers) {
                *value = low_bytes(stored(registers, transfer.register)?, transfer.size);
            }
        }
        Ok(Self { address, is_write, transfers, values, done: 0, writeback })
    }

    /// What to do next; `None` when all is done.
    pub fn step(&self) -> Option<Step> {
        let (transfer, value) = self.transfers.iter().zip(&self.values).nth(self.done)?;
        Some(Step {
            address: self.address.wrapping_add(transfer.offset.into()),
            size: transfer.size,
            store: self.is_write.then_some(*value),
        })
    }

    /// The current step is done; a load has brought `value`, in the low bytes.
    pub fn answer(&mut self, value: u64) {
        if self.done == self.transfers.len() {
            return;
        }
        if !self.is_write
            && let Some((transfer, slot)) = self.transfers.iter().zip(&mut self.values).nth(self.done)
        {
            *slot = extend(low_bytes(value, transfer.size), transfer.size, transfer.extension);
        }
        self.done += 1;
    }

    /// All is done: the loaded registers, the base register and PC take their new values.
    ///
    /// # Errors
    /// The registers cannot be written.
    pub fn complete<R: Registers>(self, registers: &mut R) -> Result<(), R::Error> {
        let loads = if self.is_write { 0 } else { self.done };
        for (transfer, value) in self.transfers.iter().zip(self.values).take(loads) {
            match transfer.register {
                Register::General(31) => {}
                Register::General(number) => registers.set_general(number, value)?,
                Register::Vector(number) => registers.set_vector(number, value.into())?,
                Register::VectorHigh(number) => {
                    let low = low_half(registers.vector(number)?);
                    registers.set_vector(number, u128::from(value) << 64 | u128::from(low))?;
                }
            }
        }
        match self.writeback {
            Some((31, value)) => registers.set_stack_pointer(value)?,
            Some((number, value)) => registers.set_general(number, value)?,
            None => {}
        }
        registers.advance()
    }
}

/// X`number`, or zero for XZR.
fn general<R: Registers>(registers: &R, number: u8) -> Result<u64, R::Error> {
    if number == 31 { Ok(0) } else { registers.general(number) }
}

fn stored<R: Registers>(registers: &R, register: Register) -> Result<u64, R::Error> {
    Ok(match register {
        Register::General(number) => general(registers, number)?,
        Register::Vector(number) => low_half(registers.vector(number)?),
        Register::VectorHigh(number) => low_half(registers.vector(number)? >> 64),
    })
}

fn low_half(value: u128) -> u64 {
    u64::try_from(value & u128::from(u64::MAX)).unwrap_or_default()
}

/// The low `size` bytes of `value`.
fn low_bytes(value: u64, size: u8) -> u64 {
    match size {
        0..8 => value & ((1 << (8 * size)) - 1),
        _ => value,
    }
}

/// `value`, of `size` bytes, as it stands in a general register.
fn extend(value: u64, size: u8, extension: Extension) -> u64 {
    let sign = 1_u64 << (8 * size.clamp(1, 8) - 1);
    let signed = (value ^ sign).wrapping_sub(sign);
    match extension {
        Extension::Zero => value,
        Extension::Sign32 => signed & 0xffff_ffff,
        Extension::Sign64 => signed,
    }
}

#[cfg(test)]
mod tests;
