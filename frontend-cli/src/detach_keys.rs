//! The keys that leave a command with a terminal to itself: Ctrl-P Ctrl-Q unless the command line says others.

use std::str::FromStr;

/// What the keys are where nobody says others.
pub(crate) const USUAL: &str = "ctrl-p,ctrl-q";

/// Keys in a row.
const MOST_KEYS: usize = 16;

/// Keys that are pressed one after another; none at all if they are switched off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DetachKeys(Vec<u8>);

impl DetachKeys {
    /// No keys at all.
    pub(crate) fn none() -> Self {
        Self(Vec::new())
    }
}

impl FromStr for DetachKeys {
    type Err = String;

    /// `ctrl-p,ctrl-q`, `ctrl-],x`: characters, and `ctrl-` with a letter or one of `@[\\]^_`. Empty for none.
    fn from_str(text: &str) -> Result<Self, String> {
        let keys: Option<Vec<u8>> = match text {
            "" => Some(Vec::new()),
            text => text.split(',').map(key).collect(),
        };
        let keys = keys.filter(|keys| keys.len() <= MOST_KEYS);
        keys.map(Self).ok_or_else(|| {
            format!("write at most {MOST_KEYS} keys, such as ctrl-p,ctrl-q or ctrl-],x; \"\" for none")
        })
    }
}

fn key(word: &str) -> Option<u8> {
    match (word.as_bytes(), word.get(..5)) {
        (&[byte @ b'!'..=b'~'], _) => Some(byte),
        (&[.., byte], Some(prefix)) if word.len() == 6 && prefix.eq_ignore_ascii_case("ctrl-") => {
            // A control character is its letter without the bit that letters have.
            let upper = byte.to_ascii_uppercase();
            matches!(upper, b'@'..=b'_').then_some(upper & 0x1f)
        }
        _ => None,
    }
}

/// Looks for the keys in what is typed.
#[derive(Debug)]
pub(crate) struct Watch {
    keys: Vec<u8>,
    /// Typed keys that may be the first of them: they are the command's if others follow.
    held: Vec<u8>,
}

impl Watch {
    /// Nothing where the keys are switched off.
    pub(crate) fn new(keys: &DetachKeys) -> Option<Self> {
        (!keys.0.is_empty()).then(|| Self { keys: keys.0.clone(), held: Vec::new() })
    }

    /// Adds to `passed` what of `typed` is the command's for sure, up to the keys. What follows them, if they were
    /// pressed.
    pub(crate) fn pass<'a>(&mut self, mut typed: &'a [u8], passed: &mut Vec<u8>) -> Option<&'a [u8]> {
        while let Some((byte, rest)) = typed.split_first() {
            typed = rest;
            self.held.push(*byte);
            while !self.keys.starts_with(&self.held) {
                passed.push(self.held.remove(0));
            }
            if self.held.len() == self.keys.len() {
                self.held.clear();
                return Some(typed);
            }
        }
        None
    }

    /// How many keys are held back.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    /// What was held back, when nothing can follow.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &str, pieces: &[&[u8]]) -> (Vec<u8>, bool, Vec<u8>) {
        let (mut watch, mut passed) = (Watch::new(&keys.parse().unwrap()).unwrap(), Vec::new());
        let pressed = pieces.iter().any(|piece| watch.pass(piece, &mut passed).is_some());
        (passed, pressed, watch.rest())
    }

    #[test]
    fn keys_as_they_are_written() {
        for (text, keys) in [
            (USUAL, &b"\x10\x11"[..]),
            ("ctrl-a", b"\x01"),
            ("Ctrl-],x", b"\x1dx"),
            ("ctrl-@,ctrl-_,~", b"\0\x1f~"),
            ("", b""),
        ] {
            assert_eq!(text.parse(), Ok(DetachKeys(keys.to_vec())), "{text}");
        }
        let long = ["a"; MOST_KEYS + 1].join(",");
        for wrong in
            [",", "ctrl-", "ctrl-pp", "ctrl-1", "alt-x", "ab", " ", "a,,b", "\u{e4}", "ctrl-\u{e4}", &long]
        {
            assert!(wrong.parse::<DetachKeys>().is_err(), "{wrong}");
        }
        assert!(Watch::new(&"".parse().unwrap()).is_none());
    }

    #[test]
    fn only_the_whole_row_is_taken_from_the_command() {
        assert_eq!(typed(USUAL, &[b"ab\x10\x11cd"]), (b"ab".to_vec(), true, Vec::new()));
        assert_eq!(typed(USUAL, &[b"a\x10", b"\x11"]), (b"a".to_vec(), true, Vec::new()));
        assert_eq!(typed(USUAL, &[b"\x10b\x11"]), (b"\x10b\x11".to_vec(), false, Vec::new()));
        assert_eq!(typed(USUAL, &[b"\x10\x10\x11"]), (b"\x10".to_vec(), true, Vec::new()));
        assert_eq!(
            typed(USUAL, &[b"a\x10"]),
            (b"a".to_vec(), false, b"\x10".to_vec()),
            "the end comes first"
        );
        assert_eq!(typed("a,a,b", &[b"aaab"]), (b"a".to_vec(), true, Vec::new()));
    }
}
