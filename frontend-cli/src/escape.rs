//! The keys that speak to `hv` and not to the guest: Ctrl-A and one more.

/// What is shown for Ctrl-A ?.
pub(crate) const HELP: &str = "Ctrl-A x leaves, Ctrl-A Ctrl-A sends Ctrl-A, Ctrl-A ? shows this";

const CTRL_A: u8 = 0x01;

/// Finds the keys in what is typed.
#[derive(Debug, Default)]
pub(crate) struct Escape {
    /// Ctrl-A was the last key.
    begun: bool,
}

/// What a typed byte means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    /// A byte for the guest.
    Guest(u8),
    /// End the guest and `hv`.
    Leave,
    /// Show the keys.
    Help,
    /// The first half of a key, or no key at all.
    Nothing,
}

impl Escape {
    /// The meaning of the next byte.
    pub(crate) fn next(&mut self, byte: u8) -> Key {
        match (std::mem::take(&mut self.begun), byte) {
            (false, CTRL_A) => {
                self.begun = true;
                Key::Nothing
            }
            (false, byte) => Key::Guest(byte),
            (true, b'x' | b'X') => Key::Leave,
            (true, CTRL_A | b'a') => Key::Guest(CTRL_A),
            (true, b'?') => Key::Help,
            (true, _) => Key::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut escape = Escape::default();
        bytes.iter().map(|byte| escape.next(*byte)).filter(|key| *key != Key::Nothing).collect()
    }

    #[test]
    fn ctrl_a_and_one_more() {
        assert_eq!(keys(b"x\x01x"), [Key::Guest(b'x'), Key::Leave]);
        assert_eq!(keys(b"\x01\x01x\x01ax"), [1, b'x', 1, b'x'].map(Key::Guest));
        assert_eq!(keys(b"\x01??"), [Key::Help, Key::Guest(b'?')]);
        assert_eq!(keys(b"\x01zx"), [Key::Guest(b'x')], "an unknown key is nobody's");
    }
}
