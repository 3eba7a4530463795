//! What all `PrimeCell` peripherals share: 32-bit registers at multiples of four, and identification at the window's end.

/// Size of the window of each peripheral in bytes.
pub(super) const WINDOW: u64 = 0x1000;

/// `PCellID0` to `PCellID3`.
const PRIME_CELL_ID: [u8; 4] = [0x0d, 0xf0, 0x05, 0xb1];

/// Answers a load of any width: the low bytes of one register. Zero is what lies beyond it, and what a load elsewhere
/// than at a register's start finds, which does nothing else.
pub(super) fn read(offset: u64, data: &mut [u8], register: impl FnOnce(u64) -> u32) {
    data.fill(0);
    if offset.is_multiple_of(4) {
        for (byte, value) in data.iter_mut().zip(register(offset).to_le_bytes()) {
            *byte = value;
        }
    }
}

/// What a store of any width brings to the register at `offset`, widened with zeros; nothing elsewhere than at a
/// register's start.
pub(super) fn stored(offset: u64, data: &[u8]) -> Option<u32> {
    let mut value = [0; 4];
    for (byte, stored) in value.iter_mut().zip(data) {
        *byte = *stored;
    }
    offset.is_multiple_of(4).then_some(u32::from_le_bytes(value))
}

/// The identification register at `offset` (0xfe0 to 0xffc) of a peripheral with this `PeriphID0` to `PeriphID3`; zero
/// elsewhere.
pub(super) fn identification(offset: u64, peripheral: [u8; 4]) -> u32 {
    let bytes = match offset {
        0xfe0..=0xfec => peripheral,
        0xff0..=0xffc => PRIME_CELL_ID,
        _ => return 0,
    };
    let [a, b, c, d] = bytes;
    u32::from(match offset & 0xc {
        0x0 => a,
        0x4 => b,
        0x8 => c,
        _ => d,
    })
}
