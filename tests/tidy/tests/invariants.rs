//! What ARCHITECTURE.md says is always so.

use std::{collections::BTreeSet, fs};

use hv_tidy::{Source, root, sources};

/// The layers of hv-core: a module uses its own layer and those before it.
const LAYERS: &[&[&str]] = &[
    &["hypervisor", "arch", "memory", "bus", "irq", "io"],
    &["block", "chardev", "device", "net"],
    &["devices", "pci", "virtio"],
    &["tables", "boot"],
    &["machine"],
    &["testing"],
];

fn everything() -> Vec<Source> {
    ["hv-core", "backend-kvm", "backend-hvf", "frontend-cli", "tests"].into_iter().flat_map(sources).collect()
}

fn has_word(line: &str, word: &str) -> bool {
    line.split(|letter: char| !letter.is_alphanumeric() && letter != '_').any(|part| part == word)
}

#[test]
fn unsafe_is_only_in_the_files_that_architecture_md_lists() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let list = text.split("<!-- unsafe -->").nth(1).expect("ARCHITECTURE.md has a list between two marks");
    let listed: BTreeSet<_> =
        list.split('`').filter(|part| part.ends_with(".rs")).map(str::to_owned).collect();
    let found: BTreeSet<_> = everything()
        .into_iter()
        .filter(|source| !source.path.starts_with("tests/tidy/"))
        .filter(|source| source.code().any(|(_, line)| has_word(line, "unsafe")))
        .map(|source| source.path)
        // Guest programs are bare metal: there is no other way to write one.
        .filter(|path| !path.starts_with("tests/guests/"))
        .collect();
    assert_eq!(found, listed);
}

#[test]
fn hv_core_knows_no_host() {
    for source in sources("hv-core") {
        for (number, line) in source.code() {
            assert!(!line.contains("cfg(target_"), "{}:{number}: {line}", source.path);
            assert!(!line.contains("kvm_"), "{}:{number} names a hypervisor: {line}", source.path);
        }
    }
}

#[test]
fn modules_of_hv_core_use_only_their_own_layer_and_those_below() {
    let layer = |module: &str| LAYERS.iter().position(|layer| layer.contains(&module));
    for source in sources("hv-core/src").iter().filter(|source| !source.path.contains("/tests")) {
        let inside = source.path.trim_start_matches("hv-core/src/").trim_end_matches(".rs");
        let module = inside.split('/').next().unwrap_or_default();
        if module == "lib" {
            continue;
        }
        let own = layer(module).unwrap_or_else(|| panic!("{module} is in no layer"));
        let code = source.text.split("#[cfg(test)]").next().unwrap_or_default();
        for used in code.split("crate::").skip(1).flat_map(first_names) {
            if let Some(other) = layer(used) {
                assert!(other <= own, "{} ({module}) uses {used}, which stands above it", source.path);
            }
        }
    }
}

/// The modules named after `crate::`: one, or those of a braced list.
fn first_names(after: &str) -> Vec<&str> {
    let end = |text: &str| {
        text.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(text.len())
    };
    let Some(list) = after.strip_prefix('{') else { return vec![&after[..end(after)]] };
    let (mut names, mut depth, mut start) = (Vec::new(), 0, true);
    for (at, letter) in list.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => start = true,
            letter if start && letter.is_alphabetic() => {
                names.push(&list[at..at + end(&list[at..])]);
                start = false;
            }
            _ => {}
        }
    }
    names
}

#[test]
fn every_file_says_what_it_is_in_its_first_line() {
    for source in everything() {
        assert!(source.text.starts_with("//! "), "{} does not start with `//! `", source.path);
        assert!(!source.path.ends_with("/mod.rs"), "{}: use `foo.rs` beside `foo/`", source.path);
    }
}

#[test]
fn names_are_whole_words_of_the_field() {
    for source in everything().iter().filter(|source| !source.path.starts_with("tests/tidy/")) {
        for (number, line) in source.code() {
            assert!(!line.contains("fn get_"), "{}:{number}: no `get_`: {line}", source.path);
        }
        for word in ["utils", "helpers", "manager"] {
            assert!(!source.path.contains(word), "{}: no `{word}`", source.path);
        }
    }
}

#[test]
fn every_crate_takes_the_lints_and_the_licence_of_the_workspace() {
    for folder in [
        "hv-core",
        "backend-hvf",
        "backend-kvm",
        "frontend-cli",
        "frontend-cli/kernels",
        "frontend-cli/control",
        "frontend-cli/manifest",
        "frontend-cli/agent",
        "frontend-cli/agent-protocol",
        "frontend-cli/images",
        "tests/bench",
        "tests/bench/client",
        "tests/boot",
        "tests/conformance",
        "tests/fuzz",
        "tests/tidy",
    ] {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{folder} has lints of its own");
        assert!(manifest.contains("license.workspace = true"), "{folder} has a licence of its own");
    }
}
