//! Replays each target's corpus, then plays generated inputs, the same each time.

#[path = "smoke/generate.rs"]
mod generate;

use std::{
    env, fs, panic,
    path::{Path, PathBuf},
};

use generate::Generator;

/// Generated inputs of each target, unless `HV_FUZZ_ROUNDS` says otherwise.
const ROUNDS: u64 = 2000;

fn smoke(name: &str, target: fn(&[u8])) {
    let corpus = corpus(name);
    for (path, bytes) in &corpus {
        play(name, target, bytes, &path.display().to_string());
    }
    let rounds = env::var("HV_FUZZ_ROUNDS")
        .map_or(ROUNDS, |rounds| rounds.parse().expect("HV_FUZZ_ROUNDS is a number"));
    let seeds = corpus.into_iter().map(|(_, bytes)| bytes).collect();
    let mut generator = Generator::new(seeds);
    for round in 0..rounds {
        play(name, target, &generator.input(), &format!("round {round}"));
    }
}

/// What is committed for target `name`, in the order of file names.
fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let files = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<_> = files.map(|file| file.expect("a file of the corpus").path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).expect("a file of the corpus"))).collect()
}

/// Plays one input; keeps it where it can be played again if it fails.
fn play(name: &str, target: fn(&[u8]), input: &[u8], which: &str) {
    if let Err(failure) = panic::catch_unwind(|| target(input)) {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let path = directory.join("failure");
        let kept = fs::create_dir_all(&directory).and_then(|()| fs::write(&path, input));
        eprintln!("{name}: {which} failed; input kept at {}: {kept:?}", path.display());
        panic::resume_unwind(failure);
    }
}

/// One test for each target.
macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            smoke(stringify!($name), hv_fuzz::$name);
        })*

        #[test]
        fn every_target_has_a_corpus_and_a_wrapper() {
            let fuzz = Path::new(env!("CARGO_MANIFEST_DIR"));
            let mut names = [$(stringify!($name)),*].map(String::from);
            names.sort();
            let list = |directory: &str| {
                let entries = fs::read_dir(fuzz.join(directory)).expect("a directory of the targets");
                let stem = |path: PathBuf| path.file_stem().expect("a name").to_string_lossy().into_owned();
                let mut names: Vec<_> = entries.map(|entry| stem(entry.expect("an entry").path())).collect();
                names.sort();
                names
            };
            assert_eq!(list("corpus"), names);
            assert_eq!(list("fuzz/fuzz_targets"), names);
        }
    };
}

targets! {
    acpi_power agent_messages arm64_image auth_file balloon block_request boot_config bzimage
    challenge cmos console_control console_detection console_merge content_range control
    debian_package dhcp_answer elf fdt gic_v2m host_messages i8042 image_archive image_documents
    image_layer image_reference image_store image_tree instruction kernel_image kernel_lists
    kernel_store manifest module_info net_capture net_dns net_segment net_services net_stream
    net_user pci pl011 pl031 pl061 psci pvh registry_answers rpm_package syndrome trapped_registers
    uart user_database virtio_mmio virtio_net virtio_pci virtqueue vsock
}
