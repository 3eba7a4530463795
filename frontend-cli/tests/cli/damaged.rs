//! Files of `hv` itself after a bad disk or somebody else wrote to them: each command works, or says why not in one line.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use crate::{
    child::{FAILED, USAGE, hv},
    harness::{Case, Outcome},
};

pub(crate) const CASES: &[Case] = &[
    ("a_damaged_record_of_a_guest_hurts_nobody", guest),
    ("a_damaged_record_of_a_kernel_hurts_nobody", kernel),
    ("a_damaged_cache_of_images_hurts_nobody", image),
    ("a_damaged_manifest_is_told_in_one_line", manifest),
];

/// The code of a program that panicked.
const PANICKED: i32 = 101;
/// Changes of each file, besides those of its numbers.
const CHANGES: u64 = 40;

/// A guest that ran and is kept.
const GUEST: &str = r#"{
  "name": "web", "image": "debian", "kernel": "/k", "command": ["sh", "-c", "true"], "cpus": 2, "memory": 67108864,
  "accelerator": "kvm", "created": 1760000000, "pid": 4321, "kept": true, "logged": true,
  "ports": ["127.0.0.1:8080:80/tcp"], "ended": {"time": 1760000100, "code": 3}
}"#;

const KERNEL: &str = r#"{"format": 1, "architecture": "x86_64", "release": "6.1.0-7-amd64", "size": 123456,
  "modules": ["virtio", "ext4"], "features": {"virtio-pci": {"modules": ["virtio"]}, "block": {"modules": []},
  "ext4": {"modules": ["ext4"]}, "vsock": {"modules": []}, "erofs": {"modules": []}, "overlay": {"modules": []}}}"#;

/// Of a guest whose kernel is not there.
const MANIFEST: &str = "kernel = \"nowhere/kernel\"\nappend = \"quiet\"\ncpus = 2\nmemory = \"256M\"\n\
    disk = [\"disk.img,readonly\"]\nnet = \"user,host\"\npublish = [\"8080:80\"]\ntimeout = \"5s\"\n[arch.aarch64]\ncpus = 3\n";

/// Folders of a person, and what is done with them.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        for name in ["run", "data"] {
            fs::create_dir(home.path(name)).unwrap();
        }
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs `hv`, which succeeds or says in one line why not.
    fn run(&self, words: &[&str], what: &str) {
        let mut command = hv(words);
        command.env("XDG_RUNTIME_DIR", self.path("run")).env("XDG_DATA_HOME", self.path("data"));
        let Output { status, stdout, stderr } = command.current_dir(self.0.path()).output().unwrap();
        let stderr = String::from_utf8_lossy(&stderr);
        let what = format!("{words:?} of {what:?} ended with {status}: {stderr}");
        // The code of a guest that has ended is that of who waits for it.
        let is_guests = words[0] == "wait" && status.code().is_some_and(|code| code != PANICKED);
        assert!(is_guests || [Some(0), Some(USAGE), Some(FAILED)].contains(&status.code()), "{what}");
        assert!(!stderr.contains("panicked"), "{what}");
        let lines = stderr.lines().count();
        assert!(lines <= 1 && (lines == 1 || is_guests || status.success()) && stderr.len() < 4000, "{what}");
        assert!(stdout.len() < 64 << 10, "{what}");
    }
}

/// The text with a few bits flipped, each of its numbers made extreme, or cut.
fn changed(text: &str) -> Vec<Vec<u8>> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = move |end: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % end as u64).unwrap()
    };
    let mut texts = vec![Vec::new(), b"\0".repeat(100), b"[".repeat(50_000)];
    for round in 0..CHANGES {
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..=round % 3 {
            let at = below(bytes.len());
            bytes[at] ^= 1 << below(8);
        }
        if round % 8 == 0 {
            bytes.truncate(below(bytes.len()));
        }
        texts.push(bytes);
    }
    let mut rest = 0;
    while let Some(at) = text[rest..].find(|letter: char| letter.is_ascii_digit()) {
        let start = rest + at;
        let len = text[start..].find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len() - start);
        for number in ["0", "18446744073709551615", "9223372036854775807", "4294967295", "-1", "1e400"] {
            texts.push([&text[..start], number, &text[start + len..]].concat().into());
        }
        rest = start + len;
    }
    texts
}

/// Tries commands on each changed form of a file.
fn each(home: &Home, file: &Path, text: &str, commands: &[&[&str]]) {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    for bytes in changed(text) {
        fs::write(file, &bytes).unwrap();
        for words in commands {
            home.run(words, &String::from_utf8_lossy(&bytes[..bytes.len().min(600)]));
        }
    }
}

fn guest() -> Outcome {
    let home = Home::new();
    let file = home.path("data/hv/guests/web/guest.json");
    each(
        &home,
        &file,
        GUEST,
        &[
            &["ps", "-a"],
            &["ps", "-a", "--json"],
            &["inspect", "web"],
            &["logs", "web"],
            &["wait", "web"],
            &["stop", "web"],
        ],
    );
    fs::write(file, "{").unwrap();
    home.run(&["rm", "web"], "{");
    Outcome::Passed
}

fn kernel() -> Outcome {
    let home = Home::new();
    let file = home.path("data/hv/kernels/6.1/kernel.json");
    each(
        &home,
        &file,
        KERNEL,
        &[&["kernel", "ls"], &["kernel", "ls", "--json"], &["kernel", "default", "6.1"]],
    );
    home.run(&["kernel", "rm", "6.1"], "the last one");
    assert!(!file.exists(), "a damaged one can be removed");
    Outcome::Passed
}

fn image() -> Outcome {
    let home = Home::new();
    fs::create_dir(home.path("root")).unwrap();
    fs::write(home.path("root/file"), "text").unwrap();
    home.run(&["image", "import", "root", "image"], "a folder");
    let names = fs::read_dir(home.path("data/hv/images/references")).unwrap();
    let file = names.map(|entry| entry.unwrap().path()).next().unwrap();
    let text = fs::read_to_string(&file).unwrap();
    each(&home, &file, &text, &[&["image", "ls"], &["image", "ls", "--json"]]);
    // What is damaged is made anew.
    home.run(&["image", "import", "root", "image"], "a folder");
    assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), text.lines().count());
    home.run(&["image", "rm", "image"], "a folder");
    Outcome::Passed
}

fn manifest() -> Outcome {
    let home = Home::new();
    each(&home, &home.path("hv.toml"), MANIFEST, &[&["run"]]);
    Outcome::Passed
}
