//! `Access`: a load or store to devices under way, from the abort to the registers that it changes.

use crate::{
    instruction::{Instruction, Refusal, Register, Transfer},
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
    transfers: [Option<Transfer>; 4],
    values: [u64; 4],
    done: usize,
    writeback: Option<(u8, u64)>,
}

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
        let _ = (transfer, is_write, address, registers);
        todo!()
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
        let _ = (instruction, address, registers);
        todo!()
    }

    /// What to do next; `None` when all is done.
    pub fn step(&self) -> Option<Step> {
        todo!()
    }

    /// The current step is done; a load has brought `value`, in the low bytes.
    pub fn answer(&mut self, value: u64) {
        let _ = value;
        todo!()
    }

    /// All is done: the loaded registers, the base register and PC take their new values.
    ///
    /// # Errors
    /// The registers cannot be written.
    pub fn complete<R: Registers>(self, registers: &mut R) -> Result<(), R::Error> {
        let _ = registers;
        todo!()
    }
}
