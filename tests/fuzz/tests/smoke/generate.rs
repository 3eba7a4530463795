//! Inputs by a fixed seed: bytes of several kinds, and changed inputs of the corpus.

/// Bytes of the longest generated input.
const LONGEST: u64 = 600;

/// Makes inputs, the same in each run.
pub(crate) struct Generator {
    state: u64,
    seeds: Vec<Vec<u8>>,
}

impl Generator {
    /// Changes `seeds` in every other round.
    pub(crate) fn new(seeds: Vec<Vec<u8>>) -> Self {
        Self { state: 0x6876_6675_7a7a_0001, seeds }
    }

    /// The next input.
    pub(crate) fn input(&mut self) -> Vec<u8> {
        if self.seeds.is_empty() || self.below(2) == 0 {
            return self.fresh();
        }
        let seed = self.below(self.seeds.len() as u64);
        let mut bytes = self.seeds[index(seed)].clone();
        for _ in 0..=self.below(6) {
            self.change(&mut bytes);
        }
        bytes.truncate(index(4 * LONGEST));
        bytes
    }

    /// Uniform bytes, or mostly small ones, which are choices more often than not.
    fn fresh(&mut self) -> Vec<u8> {
        let len = self.below(LONGEST);
        let small = self.below(3) == 0;
        (0..len).map(|_| if small && self.below(4) != 0 { self.byte() & 0xf } else { self.byte() }).collect()
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        let at = index(self.below(bytes.len() as u64 + 1));
        let (end, piece) = (bytes.len().min(at + index(self.below(16))), index(self.below(32)));
        match self.below(6) {
            0 => bytes.splice(at..end, (0..piece).map(|_| self.byte())).for_each(drop),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let copy = bytes[at..end].to_vec();
                let to = index(self.below(bytes.len() as u64 + 1));
                bytes.splice(to..to, copy).for_each(drop);
            }
            3 => bytes.extend(self.fresh()),
            _ => {
                let value = match self.below(4) {
                    0 => [0, 1, 0x7f, 0x80, 0xff][index(self.below(5))],
                    _ => self.byte(),
                };
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
        }
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[7]
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end.max(1)
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ self.state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}

fn index(value: u64) -> usize {
    usize::try_from(value).expect("a small number")
}
