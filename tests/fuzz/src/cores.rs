//! `Core`: the registers of an aarch64 core in memory.

use std::convert::Infallible;

use backend_hvf::access::Registers;

/// What loads and stores read and change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Core {
    pub(crate) x: [u64; 31],
    pub(crate) v: [u128; 32],
    pub(crate) sp: u64,
    pub(crate) pc: u64,
}

impl Core {
    /// Every register holds another value.
    pub(crate) fn new() -> Self {
        let numbered = |number: usize| 0x1234_0000_0000 + number as u64;
        let v = std::array::from_fn(|number| u128::from(numbered(number)) << 64 | 7);
        Self { x: std::array::from_fn(numbered), v, sp: 0x4000, pc: 0x8000 }
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
