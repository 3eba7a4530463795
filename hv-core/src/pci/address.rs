//! `Address`: which function a configuration access means, and how the two access mechanisms say it.

use std::fmt;

/// Device and function on bus 0, the only one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address {
    /// 0 to 31.
    pub device: u8,
    /// 0 to 7.
    pub function: u8,
}

impl Address {
    /// The function and the register at `offset` into an ECAM window of bus 0 (PCI Express Base 3.0, 7.2.2).
    pub(super) fn from_ecam(offset: u64) -> Option<(Self, u16)> {
        let address = Self { device: (offset >> 15 & 0x1f) as u8, function: (offset >> 12 & 7) as u8 };
        (offset >> 20 == 0).then_some((address, (offset & 0xfff) as u16))
    }

    /// The function and the doubleword of registers that `CONFIG_ADDRESS` selects (PCI Local Bus 3.0, 3.2.2.3.2).
    pub(super) fn from_config_address(latch: u32) -> Option<(Self, u16)> {
        let address = Self { device: (latch >> 11 & 0x1f) as u8, function: (latch >> 8 & 7) as u8 };
        let (enabled, bus) = (latch >> 31 == 1, latch >> 16 & 0xff);
        (enabled && bus == 0).then_some((address, (latch & 0xfc) as u16))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00:{:02x}.{}", self.device, self.function)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: Address = Address { device: 31, function: 5 };

    #[test]
    fn both_mechanisms_name_the_same_function() {
        assert_eq!(Address::from_ecam(31 << 15 | 5 << 12 | 0x104), Some((ADDRESS, 0x104)));
        assert_eq!(Address::from_config_address(1 << 31 | 31 << 11 | 5 << 8 | 0x40), Some((ADDRESS, 0x40)));
        assert_eq!(ADDRESS.to_string(), "00:1f.5");
    }

    #[test]
    fn other_buses_do_not_exist() {
        assert_eq!(Address::from_ecam(1 << 20), None);
        assert_eq!(Address::from_config_address(1 << 31 | 1 << 16), None);
        assert_eq!(Address::from_config_address(0x40), None, "not enabled");
    }
}
