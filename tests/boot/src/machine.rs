//! The machine as guests saw it, written down (`tests/boot/hv-1`): what every host must show, fact by fact.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

/// Checks what a guest saw against what is written down for `architecture`. With `HV_BLESS` set it is written down instead.
///
/// # Errors
/// They differ; shows the first facts that do.
pub fn check(architecture: &str, seen: &str) -> Result<()> {
    let path = written(architecture);
    if env::var_os("HV_BLESS").is_some() {
        return Ok(fs::write(path, format!("{}\n", seen.trim()))?);
    }
    let expected = fs::read_to_string(&path).with_context(|| format!("no {}", path.display()))?;
    let (expected, seen): (Vec<_>, Vec<_>) =
        (expected.trim().lines().collect(), seen.trim().lines().collect());
    let missing: Vec<_> = expected.iter().filter(|fact| !seen.contains(fact)).take(5).collect();
    let strange: Vec<_> = seen.iter().filter(|fact| !expected.contains(fact)).take(5).collect();
    ensure!(
        expected == seen,
        "the guest saw another machine than {}: it lacks {missing:#?} and has {strange:#?} ({} facts for {})",
        path.display(),
        seen.len(),
        expected.len()
    );
    Ok(())
}

fn written(architecture: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("hv-1").join(architecture)
}

/// Offsets in configuration space of what is the architecture's own: where BARs lie, and the interrupt line, which is
/// the PC firmware's word to its operating system (PCI Local Bus 3.0, 6.2.4).
const ADDRESSES: std::ops::Range<usize> = 0x10..0x28;
const INTERRUPT_LINE: usize = 0x3c;

/// The PCI functions and virtio devices of a machine, without addresses and interrupt lines: what is equal on every
/// architecture.
///
/// # Errors
/// A fact is not of the form that the guest's init writes.
pub fn common(text: &str) -> Result<BTreeMap<String, String>> {
    let mut facts = BTreeMap::new();
    for fact in text.lines() {
        let words: Vec<_> = fact.split_whitespace().collect();
        let (key, value) = match words.as_slice() {
            ["pci", function, "config", hex] => (format!("{function} config"), without_addresses(hex)?),
            ["pci", function, "range", size, flags] => {
                (format!("{function} range {}", facts.len()), format!("{size} {flags}"))
            }
            ["pci", function, "msi-x", count] => (format!("{function} msi-x"), (*count).to_owned()),
            ["virtio" | "disk", name, rest @ ..] => (format!("{} {name}", words[0]), rest.join(" ")),
            _ => continue,
        };
        facts.insert(key, value);
    }
    ensure!(!facts.is_empty(), "no facts of PCI or virtio");
    Ok(facts)
}

fn without_addresses(hex: &str) -> Result<String> {
    let mut bytes = Vec::new();
    for at in (0..hex.len()).step_by(2) {
        let pair = hex.get(at..at + 2).with_context(|| format!("odd digits in {hex}"))?;
        let offset = at / 2;
        // The lowest four bits of a BAR say what it is.
        let kind = ADDRESSES.contains(&offset) && offset % 4 == 0;
        bytes.push(match offset {
            _ if kind => format!("-{}", pair.get(1..).unwrap_or_default()),
            INTERRUPT_LINE => "--".to_owned(),
            _ if ADDRESSES.contains(&offset) => "--".to_owned(),
            _ => pair.to_owned(),
        });
    }
    Ok(bytes.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pci_and_virtio_are_the_same_on_both_architectures() {
        let read = |architecture| common(&fs::read_to_string(written(architecture)).unwrap()).unwrap();
        let (x86_64, aarch64) = (read("x86_64"), read("aarch64"));
        for (key, value) in &x86_64 {
            assert_eq!(aarch64.get(key), Some(value), "{key}");
        }
        assert_eq!(x86_64.len(), aarch64.len());
    }

    #[test]
    fn addresses_and_interrupt_lines_are_left_out_and_nothing_else() {
        let config: String = (0..64).map(|byte| format!("{byte:02x}")).collect();
        let shown = without_addresses(&config).unwrap();
        assert_eq!(shown.len(), config.len());
        assert!(shown.starts_with("000102030405060708090a0b0c0d0e0f-0------"), "{shown}");
        assert!(shown.contains("-4------28292a") && shown.ends_with("3b--3d3e3f"), "{shown}");
        assert!(common("").is_err());
    }
}
