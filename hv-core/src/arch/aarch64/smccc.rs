//! The SMC Calling Convention (Arm DEN0028, version 1.1): function identifiers, arguments, and the calls that describe it.

/// `SMCCC_VERSION` (DEN0028, 7.2).
pub const VERSION: u32 = 0x8000_0000;
/// `SMCCC_ARCH_FEATURES` (DEN0028, 7.3).
pub const ARCH_FEATURES: u32 = 0x8000_0001;

/// What [`VERSION`] answers: 1.1.
pub const VERSION_1_1: u64 = 0x1_0001;

/// `NOT_SUPPORTED`, which is also the answer to an unknown function (DEN0028, 5.2), as X0 holds it.
pub const NOT_SUPPORTED: u64 = u64::MAX;

/// A call by HVC or SMC, as X0 to X3 hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// The function identifier, W0.
    pub function: u32,
    /// The first three arguments, as wide as the convention of the call has them.
    pub arguments: [u64; 3],
}

impl Call {
    /// The call in `x`, which are X0 to X3. Of a 32-bit call (bit 30 of the identifier is clear) the upper halves of the
    /// arguments are dropped (DEN0028, 2.6).
    pub fn new(x: [u64; 4]) -> Self {
        let [function, arguments @ ..] = x;
        let function = low_half(function);
        let is_64 = function & 1 << 30 != 0;
        let arguments = arguments.map(|value| if is_64 { value } else { low_half(value).into() });
        Self { function, arguments }
    }
}

/// W of an X register.
fn low_half(x: u64) -> u32 {
    let [a, b, c, d, ..] = x.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// What [`ARCH_FEATURES`] answers when asked for `function`: 0 for a function of this interface, [`NOT_SUPPORTED`] for
/// any other, which of the workarounds for processor errata means "not needed or not known".
pub fn arch_features(function: u64) -> u64 {
    match low_half(function) {
        VERSION | ARCH_FEATURES => 0,
        _ => NOT_SUPPORTED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_32_bit_call_has_32_bit_arguments() {
        let call = Call::new([0xdead_0000_8400_0003, 0x1_0000_0001, u64::MAX, 7]);
        assert_eq!(call, Call { function: 0x8400_0003, arguments: [1, 0xffff_ffff, 7] });
        let call = Call::new([0xc400_0003, 0x1_0000_0001, u64::MAX, 7]);
        assert_eq!(call, Call { function: 0xc400_0003, arguments: [0x1_0000_0001, u64::MAX, 7] });
    }

    #[test]
    fn only_the_interface_itself_is_a_feature() {
        assert_eq!((arch_features(VERSION.into()), arch_features(ARCH_FEATURES.into())), (0, 0));
        for workaround in [0x8000_8000, 0x8000_7fff, 0x8000_3fff, 0x8000_0002, 0x8400_0000] {
            assert_eq!(arch_features(workaround), NOT_SUPPORTED);
        }
    }
}
