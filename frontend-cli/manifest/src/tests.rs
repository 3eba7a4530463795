//! Manifests that are right and wrong.

use proptest::prelude::*;

use super::*;

fn texts(manifest: &Manifest, architecture: &str) -> Vec<String> {
    let list = |words: &[Word]| words.iter().map(|word| word.text.clone()).collect::<Vec<_>>().join(",");
    let entries = manifest.entries(architecture);
    let value = |entry: &Entry| match &entry.value {
        Value::Switch(is_on) => is_on.to_string(),
        Value::Word(word) => word.text.clone(),
        Value::List(words) => format!("[{}]", list(words)),
        Value::Table(pairs) => {
            pairs.iter().map(|(name, word)| format!("{name}={}", word.text)).collect::<Vec<_>>().join(" ")
        }
    };
    entries.into_iter().map(|entry| format!("{} {}", entry.key, value(entry))).collect()
}

#[test]
fn values_become_words() {
    let manifest = Manifest::parse(
        "image = \"debian:bookworm\"\ncpus = 2\ndisk = ['a.img', \"b.img\"]\nrm = true\n\
         env = { A = \"1\", B = 0x10 }\n[arch.aarch64]\ncpus = 4\nkernel = 'Image'\n",
    )
    .unwrap();
    let common = ["disk [a.img,b.img]", "env A=1 B=16", "image debian:bookworm"];
    let mut expected = common.to_vec();
    expected.insert(0, "cpus 2");
    expected.push("rm true");
    assert_eq!(texts(&manifest, "x86_64"), expected);
    expected[0] = "cpus 4";
    expected.insert(4, "kernel Image");
    assert_eq!(texts(&manifest, "aarch64"), expected);
    assert_eq!(manifest.all_entries().count(), 7);
}

#[test]
fn values_know_where_they_stand() {
    let manifest = Manifest::parse("\ncpus =  2\n").unwrap();
    let [entry] = manifest.entries("x86_64")[..] else { panic!("one entry") };
    assert_eq!(entry.position.to_string(), "2:1");
    let Value::Word(word) = &entry.value else { panic!("one word") };
    assert_eq!(word.position.to_string(), "2:9");
}

#[test]
fn errors_have_a_place_and_say_what_to_do() {
    for (text, place, expected) in [
        ("cpus = ", "1:", ""),
        ("cpus = 1\ncpus = 2\n", "2:1", "duplicate"),
        ("\n  cpus = 1.5\n", "2:10", "whole number"),
        ("cpus = [[1]]", "1:9", "text in quotes"),
        ("a = 2020-01-01", "1:5", "text in quotes"),
        ("cpus = 99999999999999999999", "1:8", "smaller"),
        ("arch = 1", "1:8", "[arch.aarch64]"),
        ("[arch]\nx86_64 = 1", "2:10", "[arch.aarch64]"),
        ("[arch.arm64]\ncpus = 1", "1:7", "arm64"),
        ("kernel = \"a\\u0000b\"", "1:10", "NUL"),
        ("[env]\nA = true\n", "2:5", "text in quotes"),
    ] {
        let error = Manifest::parse(text).unwrap_err().to_string();
        assert!(error.starts_with(place) && error.contains(expected), "{text:?}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn what_is_too_large_is_refused() {
    let many = format!("disk = [{}]", "1,".repeat(VALUES_LIMIT + 1));
    assert!(Manifest::parse(&many).unwrap_err().message.contains("fewer"));
    let long = "#".repeat(SIZE_LIMIT + 1);
    assert!(Manifest::parse(&long).unwrap_err().message.contains("too many"));
    let deep = format!("a = {}", "[".repeat(100_000));
    assert!(Manifest::parse(&deep).is_err());
    let tables = format!("[{}a]", "a.".repeat(100_000));
    let _ = Manifest::parse(&tables);
}

proptest! {
    #[test]
    fn any_text_is_a_manifest_or_an_error_with_a_place(text in ".{0,200}") {
        check(&text);
    }

    #[test]
    fn so_is_any_text_of_the_format_s_own_letters(text in r#"[a-e=\[\]{}'"., \n#0-9_-]{0,80}"#) {
        check(&text);
    }
}

fn check(text: &str) {
    match Manifest::parse(text) {
        Ok(manifest) => drop(manifest.entries("x86_64")),
        Err(error) => {
            assert!(error.position.line <= text.lines().count() + 1 && error.position.column > 0);
            assert!(!error.message.is_empty() && !error.message.contains('\n'));
        }
    }
}
