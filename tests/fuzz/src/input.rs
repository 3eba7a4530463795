//! `Input`: reads a fuzzer's bytes as numbers and choices; what is not there reads as zero.

/// The bytes that are left.
#[derive(Clone)]
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn u8(&mut self) -> u8 {
        let [value] = self.array();
        value
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.u8() & 1 == 1
    }

    /// A number below `end`, which is at most 65536.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        let value = if end <= 256 { u64::from(self.u8()) } else { u64::from(self.u16()) };
        value % end
    }

    /// One of `choices`.
    pub(crate) fn choose<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.u8()) % choices.len()]
    }

    /// The next bytes, at most `most`.
    pub(crate) fn bytes(&mut self, most: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    /// 1 to 8 bytes to store: a bus brings 1, 2, 4 and 8, and a device must live with any.
    pub(crate) fn store(&mut self) -> Vec<u8> {
        let width = self.width();
        let value = if self.flag() { self.number() } else { self.u64() };
        value.to_le_bytes()[..width].to_vec()
    }

    /// The width of an access in bytes.
    pub(crate) fn width(&mut self) -> usize {
        self.choose(&[1, 2, 4, 8, 4, 4, 2, 3])
    }

    /// A number as drivers and attackers choose them: small, a power of two, at an edge, or any.
    pub(crate) fn number(&mut self) -> u64 {
        match self.u8() {
            kind @ 0..=0x7f => u64::from(kind),
            kind @ 0x80..=0xbf => 1 << (kind & 0x3f),
            kind @ 0xc0..=0xdf => (1_u64 << (kind & 0x1f)).wrapping_sub(1),
            0xe0..=0xe7 => self.u16().into(),
            0xe8..=0xef => self.u32().into(),
            0xf0..=0xf7 => self.u64(),
            kind => u64::MAX - u64::from(kind & 7),
        }
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        for (to, from) in array.iter_mut().zip(self.bytes(N)) {
            *to = *from;
        }
        array
    }
}
