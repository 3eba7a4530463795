//! Guests' names: what may be one, and new ones.

/// The most characters of a name.
const LIMIT: usize = 63;

const KINDS: [&str; 32] = [
    "amber", "brave", "brisk", "calm", "clear", "clever", "cosy", "crisp", "eager", "early", "fair", "fond",
    "gentle", "glad", "golden", "happy", "keen", "kind", "light", "lucid", "merry", "neat", "noble",
    "polite", "proud", "quick", "quiet", "silver", "sunny", "swift", "warm", "wise",
];
const THINGS: [&str; 32] = [
    "acorn", "alder", "badger", "beech", "birch", "brook", "cedar", "cliff", "cloud", "comet", "crane",
    "dune", "falcon", "fern", "finch", "harbour", "hazel", "heron", "island", "lark", "maple", "meadow",
    "otter", "pebble", "pine", "raven", "reef", "river", "sparrow", "spruce", "willow", "wren",
];

/// A guest's name: a letter or digit, then letters, digits, `_`, `.` and `-`, at most 63 characters.
///
/// # Errors
/// It may not be one; what to write.
pub(crate) fn check(name: &str) -> Result<String, String> {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if begins && name.len() <= LIMIT && name.bytes().all(is_inner) {
        return Ok(name.to_owned());
    }
    Err(format!("write a letter or digit, then letters, digits, `_`, `.` or `-`, at most {LIMIT} in all"))
}

/// A name out of a random number.
pub(super) fn friendly(random: u64) -> String {
    let pick = |words: &[&'static str; 32], from: u64| words[usize::from(from.to_le_bytes()[0] & 31)];
    format!("{}-{}", pick(&KINDS, random), pick(&THINGS, random >> 8))
}

/// The names that `asked` may have been meant for, the likeliest first, at most three: those that come of changing at
/// most half of its letters.
pub(super) fn nearest<'n>(asked: &str, names: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    let most = asked.chars().count() / 2;
    let mut near: Vec<(usize, &str)> = names
        .map(|name| (strsim::osa_distance(asked, name), name))
        .filter(|(distance, _)| *distance <= most)
        .collect();
    near.sort_unstable();
    near.into_iter().take(3).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_be_files_and_words() {
        for right in ["a", "7", "web-1", "A_b.c", &"x".repeat(LIMIT)] {
            assert_eq!(check(right).unwrap(), right);
        }
        for wrong in ["", ".", "..", "-a", "_a", "a/b", "a b", "ä", "a\n", &"x".repeat(LIMIT + 1)] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn friendly_names_are_names() {
        for random in 0..10_000 {
            check(&friendly(random * 7919)).unwrap();
        }
        assert_ne!(friendly(0), friendly(1));
        assert_ne!(friendly(0), friendly(1 << 8));
    }

    #[test]
    fn slips_of_the_finger_are_understood() {
        let names = ["web", "database", "worker"];
        assert_eq!(nearest("databse", names.into_iter()), ["database"]);
        assert_eq!(nearest("wbe", names.into_iter()).first(), Some(&"web"));
        assert!(nearest("zzz", names.into_iter()).is_empty());
    }
}
