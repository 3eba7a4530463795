//! Any text as `hv.toml`.

use hv_manifest::{ARCHITECTURES, Manifest, Position, VALUES_LIMIT, Value, Word};

/// Reads the bytes as a manifest.
///
/// Errors are one line and stand in the text, and so do values; there are not too many of those.
///
/// # Panics
/// One of these is not so.
pub fn manifest(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let lines = text.split('\n').count();
    let check = |position: Position| {
        assert!((1..=lines).contains(&position.line) && position.column >= 1, "{position}");
    };
    match Manifest::parse(&text) {
        Err(error) => {
            check(error.position);
            assert!(!error.message.is_empty() && !error.message.contains('\n'), "{error}");
        }
        Ok(manifest) => {
            let mut values = 0;
            let mut count = |word: &Word| {
                values += 1;
                check(word.position);
                assert!(!word.text.contains('\0'));
            };
            for entry in manifest.all_entries() {
                check(entry.position);
                match &entry.value {
                    Value::Switch(_) => {}
                    Value::Word(word) => count(word),
                    Value::List(words) => words.iter().for_each(&mut count),
                    Value::Table(pairs) => pairs.iter().for_each(|(_, word)| count(word)),
                }
            }
            assert!(values <= VALUES_LIMIT);
            for architecture in ARCHITECTURES {
                let entries = manifest.entries(architecture);
                assert!(entries.is_sorted_by(|one, other| one.key < other.key), "each key once");
            }
        }
    }
}
