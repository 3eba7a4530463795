//! `Instruction`: an A64 load or store as the transfers it makes, for data aborts whose syndrome does not say (ISV = 0).

mod decode;

use std::ops::Deref;

pub use decode::decode;

/// A load or store of general or SIMD&FP registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// A store.
    pub is_write: bool,
    /// What it transfers, in the order of addresses.
    pub transfers: Transfers,
    /// The general register of the base address; 31 is the stack pointer.
    pub base: u8,
    /// What is added to the base.
    pub offset: Offset,
    /// When it is added.
    pub indexing: Indexing,
}

/// At most four transfers: a pair of Q registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfers {
    transfers: [Transfer; 4],
    count: usize,
}

/// One access of a part of a register, of at most 8 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// The register, or its part.
    pub register: Register,
    /// Bytes: 1, 2, 4 or 8.
    pub size: u8,
    /// How a load of a general register fills it.
    pub extension: Extension,
    /// Bytes from the address of the access.
    pub offset: u8,
}

/// A register that is loaded or stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Register {
    /// A general register; 31 is XZR.
    General(u8),
    /// The low 8 bytes of a SIMD&FP register; loading them clears the rest.
    Vector(u8),
    /// The high 8 bytes of a SIMD&FP register.
    VectorHigh(u8),
}

/// How a loaded value becomes 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extension {
    /// By zeroes.
    Zero,
    /// By its sign to 32 bits, then by zeroes.
    Sign32,
    /// By its sign.
    Sign64,
}

/// What is added to the base register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offset {
    /// This many bytes.
    Immediate(i64),
    /// A general register, extended and shifted left.
    Register {
        /// The register; 31 is XZR.
        register: u8,
        /// How it is extended.
        extend: Extend,
        /// By how much it is shifted.
        shift: u8,
    },
}

/// How a register becomes an offset (Arm ARM, `ExtendReg`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extend {
    /// UXTW.
    UnsignedWord,
    /// LSL.
    None,
    /// SXTW.
    SignedWord,
    /// SXTX.
    Signed,
}

/// When the offset is added to the base register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Indexing {
    /// For the address alone.
    Offset,
    /// To the register, before the access.
    Pre,
    /// To the register, after the access.
    Post,
}

/// What a data abort is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoded {
    /// A load or store.
    Access(Instruction),
    /// Cache maintenance by address, which does nothing to a device: to be skipped.
    CacheMaintenance,
}

/// Why an instruction is not carried out on a device; the guest gets an external abort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Load-exclusive, store-exclusive.
    #[error("exclusive access to a device")]
    Exclusive,
    /// Compare and swap, LSE atomics.
    #[error("atomic access to a device")]
    Atomic,
    /// CONSTRAINED UNPREDICTABLE by its registers.
    #[error("unpredictable load or store to a device")]
    Unpredictable,
    /// Its bytes are not one run of a page.
    #[error("access to a device across a page's end")]
    Split,
    /// Anything else.
    #[error("unsupported access to a device")]
    Unsupported,
}

impl Instruction {
    /// The address of the access and, if the base register changes, its new value, from the values of the base register
    /// and of the offset's register, if there is one.
    pub fn address(&self, base: u64, offset: u64) -> (u64, Option<u64>) {
        let offset = match self.offset {
            Offset::Immediate(offset) => offset.cast_unsigned(),
            Offset::Register { extend, shift, .. } => extend.apply(offset) << (shift & 7),
        };
        let sum = base.wrapping_add(offset);
        match self.indexing {
            Indexing::Offset => (sum, None),
            Indexing::Pre => (sum, Some(sum)),
            Indexing::Post => (base, Some(sum)),
        }
    }
}

impl Extend {
    fn apply(self, value: u64) -> u64 {
        let low = value & 0xffff_ffff;
        match self {
            Self::UnsignedWord => low,
            Self::None | Self::Signed => value,
            Self::SignedWord => (low ^ 1 << 31).wrapping_sub(1 << 31),
        }
    }
}

impl Transfers {
    /// One transfer, at the address of the access.
    pub(crate) fn one(register: Register, size: u8, extension: Extension) -> Self {
        Self::NONE.and(register, size, extension)
    }

    /// No transfer.
    const NONE: Self = Self {
        transfers: [Transfer {
            register: Register::General(31),
            size: 1,
            extension: Extension::Zero,
            offset: 0,
        }; 4],
        count: 0,
    };

    /// These and `register`'s `size` bytes after them, two at a time if they are 16; beyond four it is dropped.
    fn and(mut self, register: Register, size: u8, extension: Extension) -> Self {
        let offset = self.iter().map(|transfer| transfer.size).sum();
        match (register, size) {
            (Register::Vector(number), 16) => {
                return self.and(register, 8, extension).and(Register::VectorHigh(number), 8, extension);
            }
            _ => {
                if let Some(free) = self.transfers.get_mut(self.count) {
                    *free = Transfer { register, size, extension, offset };
                    self.count += 1;
                }
            }
        }
        self
    }
}

impl Deref for Transfers {
    type Target = [Transfer];

    fn deref(&self) -> &[Transfer] {
        self.transfers.get(..self.count).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
