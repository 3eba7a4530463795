//! `Bank`: the state of interrupts, and the registers that distributor and redistributors have in common (IHI 0069, 12.9, 12.11).

/// Priority bits that there are: five, so that there are 32 levels.
pub(super) const PRIORITY_MASK: u8 = 0xf8;

/// Interrupts in words of 32.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bank {
    pub(super) group: Vec<u32>,
    pub(super) enabled: Vec<u32>,
    /// Pending by an edge, a message or software.
    pub(super) latched: Vec<u32>,
    /// What the devices' lines are.
    pub(super) line: Vec<u32>,
    pub(super) active: Vec<u32>,
    /// Edge-triggered; the others are level-sensitive.
    pub(super) edge: Vec<u32>,
    pub(super) priorities: Vec<u8>,
    /// Edge-triggered whatever the guest says: SGIs.
    fixed_edge: u32,
}

fn place(number: u32) -> (usize, u32) {
    (number as usize / 32, 1 << (number % 32))
}

impl Bank {
    /// SGIs and PPIs.
    pub(super) fn private() -> Self {
        Self::new(1, 0xffff)
    }

    /// SPIs.
    pub(super) fn shared() -> Self {
        Self::new(31, 0)
    }

    fn new(words: usize, fixed_edge: u32) -> Self {
        let zeros = vec![0; words];
        let mut edge = zeros.clone();
        edge[0] = fixed_edge;
        Self {
            group: zeros.clone(),
            enabled: zeros.clone(),
            latched: zeros.clone(),
            line: zeros.clone(),
            active: zeros,
            edge,
            priorities: vec![0; words * 32],
            fixed_edge,
        }
    }

    pub(super) fn line(&self, number: u32) -> bool {
        let (word, bit) = place(number);
        self.line[word] & bit != 0
    }

    /// Drives a line. To an edge-triggered interrupt each call with a level of one is an edge, and zero is nothing.
    pub(super) fn set_line(&mut self, number: u32, level: bool) {
        let (word, bit) = place(number);
        if level {
            self.line[word] |= bit;
            self.latched[word] |= bit & self.edge[word];
        } else {
            self.line[word] &= !bit;
        }
    }

    pub(super) fn latch(&mut self, number: u32) {
        let (word, bit) = place(number);
        self.latched[word] |= bit;
    }

    pub(super) fn priority(&self, number: u32) -> u8 {
        self.priorities[number as usize]
    }

    pub(super) fn group(&self, number: u32) -> u8 {
        let (word, bit) = place(number);
        u8::from(self.group[word] & bit != 0)
    }

    pub(super) fn acknowledge(&mut self, number: u32) {
        let (word, bit) = place(number);
        self.active[word] |= bit;
        self.latched[word] &= !bit;
    }

    pub(super) fn deactivate(&mut self, number: u32) {
        let (word, bit) = place(number);
        self.active[word] &= !bit;
    }

    fn pending(&self, word: usize) -> u32 {
        self.latched[word] | (self.line[word] & !self.edge[word])
    }

    /// Numbers of interrupts that are pending, enabled, not active, and of an enabled group.
    pub(super) fn candidates(&self, groups: [bool; 2]) -> impl Iterator<Item = u32> {
        (0_u32..).zip(0..self.group.len()).flat_map(move |(first, word)| {
            let of_group = |enabled: bool, bits: u32| if enabled { bits } else { 0 };
            let groups = of_group(groups[0], !self.group[word]) | of_group(groups[1], self.group[word]);
            let mut bits = self.pending(word) & self.enabled[word] & !self.active[word] & groups;
            std::iter::from_fn(move || {
                let bit = bits.trailing_zeros();
                bits &= bits.wrapping_sub(1);
                (bit < 32).then_some(first * 32 + bit)
            })
        })
    }

    /// Reads a register by its offset in the frame, with interrupts of this bank from `first` on.
    pub(super) fn read(&self, offset: u64, size: u32, first: u32) -> Option<u64> {
        if (0x400..0x800).contains(&offset) {
            let bytes = (0..size.into()).rev().map(|byte| self.byte(offset - 0x400 + byte, first));
            return Some(bytes.fold(0, |value, byte| value << 8 | u64::from(byte)));
        }
        if size != 4 || !offset.is_multiple_of(4) {
            return None;
        }
        let word = self.word(offset, 0x80, first);
        Some(
            match offset {
                0x80..0x100 => word.map_or(0, |word| self.group[word]),
                0x100..0x200 => word.map_or(0, |word| self.enabled[word]),
                0x200..0x300 => word.map_or(0, |word| self.pending(word)),
                0x300..0x400 => word.map_or(0, |word| self.active[word]),
                0xc00..0xd00 => {
                    let half = ((offset - 0xc00) / 4 % 2) * 16;
                    let word = usize::try_from((offset - 0xc00) / 8).ok();
                    let word = word.and_then(|word| word.checked_sub(first as usize / 32));
                    let edge = word.and_then(|word| self.edge.get(word)).map_or(0, |edge| edge >> half);
                    (0..16).map(|number| (edge >> number & 1) << (2 * number + 1)).sum()
                }
                _ => return None,
            }
            .into(),
        )
    }

    /// Writes a register. Answers whether there is one.
    pub(super) fn write(&mut self, offset: u64, size: u32, value: u64, first: u32) -> bool {
        if (0x400..0x800).contains(&offset) {
            for (number, byte) in (0..size.into()).zip(value.to_le_bytes()) {
                let place = (offset - 0x400 + number).checked_sub(first.into());
                if let Some(priority) =
                    place.and_then(|place| self.priorities.get_mut(usize::try_from(place).ok()?))
                {
                    *priority = byte & PRIORITY_MASK;
                }
            }
            return true;
        }
        if size != 4 || !offset.is_multiple_of(4) {
            return false;
        }
        let low = (value & 0xffff_ffff) as u32;
        let word = self.word(offset, 0x80, first);
        let Some(word) = word else {
            return (0x80..0x400).contains(&offset) || self.configure(offset, low, first);
        };
        match offset {
            0x80..0x100 => self.group[word] = low,
            0x100..0x180 => self.enabled[word] |= low,
            0x180..0x200 => self.enabled[word] &= !low,
            0x200..0x280 => self.latched[word] |= low,
            0x280..0x300 => self.latched[word] &= !low,
            0x300..0x380 => self.active[word] |= low,
            0x380..0x400 => self.active[word] &= !low,
            _ => return self.configure(offset, low, first),
        }
        true
    }

    /// `ICFGR`.
    fn configure(&mut self, offset: u64, value: u32, first: u32) -> bool {
        if !(0xc00..0xd00).contains(&offset) {
            return false;
        }
        let half = ((offset - 0xc00) / 4 % 2) * 16;
        let word = usize::try_from((offset - 0xc00) / 8).ok();
        let word = word.and_then(|word| word.checked_sub(first as usize / 32));
        if let Some(word) = word.filter(|word| *word < self.edge.len()) {
            let edges: u32 = (0..16).map(|number| (value >> (2 * number + 1) & 1) << number).sum();
            let fixed = if first == 0 { self.fixed_edge } else { 0 };
            self.edge[word] = (self.edge[word] & !(0xffff << half)) | edges << half | fixed;
        }
        true
    }

    /// Which word a register of one bit an interrupt is for.
    fn word(&self, offset: u64, span: u64, first: u32) -> Option<usize> {
        if !(0x80..0x400).contains(&offset) {
            return None;
        }
        let word = usize::try_from(offset % span / 4).ok()?.checked_sub(first as usize / 32)?;
        (word < self.group.len()).then_some(word)
    }

    fn byte(&self, place: u64, first: u32) -> u8 {
        let place = place.checked_sub(first.into()).and_then(|place| usize::try_from(place).ok());
        place.and_then(|place| self.priorities.get(place)).copied().unwrap_or(0)
    }
}
