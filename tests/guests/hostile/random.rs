//! Numbers that look random, the same for each seed (xorshift64*).

pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            random.next();
        }
        random
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 16) % end
    }

    pub fn is_one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    pub fn one_of(&mut self, values: &[u64]) -> u64 {
        values[self.below(values.len() as u64) as usize]
    }

    /// A value as those that programs get wrong: small, large, near a power of two, or any.
    pub fn odd(&mut self) -> u64 {
        match self.below(6) {
            0 => self.below(4),
            1 => u64::MAX - self.below(4),
            2 => (1_u64 << self.below(64)).wrapping_sub(self.below(3)),
            3 => self.below(1 << 16),
            4 => self.next() & 0xffff_ffff,
            _ => self.next(),
        }
    }

    /// 1, 2, 4 or 8 bytes.
    pub fn width(&mut self) -> u64 {
        1 << self.below(4)
    }
}
