//! The order of releases: numbers by value, everything else by letters.

use std::cmp::Ordering;

/// Which of two releases is older: `6.1.0-9-amd64` is, beside `6.1.0-50-amd64`.
pub(crate) fn compare(one: &str, two: &str) -> Ordering {
    runs(one).cmp(runs(two))
}

/// A release's runs of digits and of other characters: whether it is a number, its digits or characters.
fn runs(mut text: &str) -> impl Iterator<Item = (bool, usize, &str)> {
    std::iter::from_fn(move || {
        let digits = text.starts_with(|letter: char| letter.is_ascii_digit());
        let end = text.find(|letter: char| letter.is_ascii_digit() != digits).unwrap_or(text.len());
        let (run, rest) = text.split_at(end);
        text = rest;
        let significant = if digits { run.trim_start_matches('0') } else { run };
        // The length of a number goes before its digits; of letters it says nothing.
        (!run.is_empty()).then_some((digits, if digits { significant.len() } else { 0 }, significant))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_by_value() {
        let ordered =
            ["0-rescue-ab", "6.1.0-9-amd64", "6.1.0-50-amd64", "6.1.10-1-amd64", "6.12.0", "10.0.0"];
        for pair in ordered.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
        assert_eq!(compare("6.1", "6.1"), Ordering::Equal);
    }
}
