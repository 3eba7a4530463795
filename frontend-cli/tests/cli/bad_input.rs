//! Files and hosts that are wrong: one line each, a code, and nothing changed on disk.

use std::fs::OpenOptions;

use rustix::process::geteuid;

use crate::{
    child::{FAILED, Folder, refusal},
    harness::{Case, Outcome},
};

pub(crate) const CASES: &[Case] = &[
    ("wrong_files_are_refused_and_left_alone", wrong_files_are_refused_and_left_alone),
    ("files_without_permission_are_refused", files_without_permission_are_refused),
    ("a_disk_that_another_hv_writes_is_refused", a_disk_that_another_hv_writes_is_refused),
    ("memory_that_the_host_does_not_have_is_refused", memory_that_the_host_does_not_have_is_refused),
    ("a_host_without_permission_for_kvm_is_refused", a_host_without_permission_for_kvm_is_refused),
    ("a_host_without_kvm_is_refused", a_host_without_kvm_is_refused),
    ("a_hypervisor_that_is_not_here_is_refused", a_hypervisor_that_is_not_here_is_refused),
];

/// Checks that each of the runs is refused with a line that holds the words, in an otherwise sound command line.
fn all_refused(folder: &Folder, runs: &[(&[&str], &[&str])]) {
    let before = folder.fingerprints();
    for (words, expected) in runs {
        let line = refusal(&mut folder.run(words), FAILED);
        assert!(expected.iter().all(|word| line.contains(word)), "{words:?}: {line}");
    }
    assert!(folder.fingerprints() == before, "something changed on disk");
}

fn wrong_files_are_refused_and_left_alone() -> Outcome {
    let folder = Folder::new();
    let many: Vec<&str> =
        ["--kernel", "kernel"].into_iter().chain(["--disk", "disk,readonly"].repeat(17)).collect();
    let many = many.as_slice();
    all_refused(
        &folder,
        &[
            (&["--kernel", "none"], &["kernel none", "does not exist", "check"]),
            (&["--kernel", "folder"], &["kernel folder", "directory"]),
            (&["--kernel", "empty"], &["kernel empty", "is empty"]),
            (&["--kernel", "/dev/zero"], &["/dev/zero", "regular file"]),
            (&["--kernel", "kernel", "--initrd", "none"], &["initrd none", "does not exist"]),
            (&["--kernel", "kernel", "--initrd", "folder"], &["initrd folder", "directory"]),
            (&["--kernel", "kernel", "--initrd", "empty"], &["initrd empty", "is empty"]),
            (&["--kernel", "kernel", "--disk", "none"], &["disk none", "does not exist"]),
            (&["--kernel", "kernel", "--disk", "folder"], &["disk folder", "directory"]),
            (&["--kernel", "kernel", "--disk", "empty,readonly"], &["disk empty", "is empty"]),
            (&["--kernel", "kernel", "--disk", "odd,readonly"], &["disk odd", "1000", "512"]),
            (&["--kernel", "kernel", "--disk", "/dev/null"], &["/dev/null", "neither"]),
            (many, &["17 disks", "16"]),
        ],
    );
    Outcome::Passed
}

fn files_without_permission_are_refused() -> Outcome {
    all_refused(
        &Folder::new(),
        &[
            (&["--kernel", "secret"], &["kernel secret", "may not be read", "permissions"]),
            (&["--kernel", "kernel", "--initrd", "secret"], &["initrd secret", "may not be read"]),
            (&["--kernel", "kernel", "--disk", "secret,readonly"], &["disk secret", "may not be read"]),
            (&["--kernel", "kernel", "--disk", "secret"], &["disk secret", "may not be written", "readonly"]),
        ],
    );
    Outcome::Passed
}

fn a_disk_that_another_hv_writes_is_refused() -> Outcome {
    let folder = Folder::new();
    let other = folder.open("disk");
    other.lock().unwrap();
    all_refused(
        &folder,
        &[(&["--kernel", "kernel", "--disk", "disk,readonly"], &["disk disk", "already open", "another hv"])],
    );
    Outcome::Passed
}

fn memory_that_the_host_does_not_have_is_refused() -> Outcome {
    all_refused(
        &Folder::new(),
        &[(&["--kernel", "kernel", "--memory", "4000T"], &["--memory 4194304000M", "host"])],
    );
    Outcome::Passed
}

fn a_host_without_permission_for_kvm_is_refused() -> Outcome {
    // The child of root runs as nobody.
    if !geteuid().is_root() && OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok() {
        return Outcome::Skipped("this user may open /dev/kvm, and only root can become another".to_owned());
    }
    let line = refusal(&mut Folder::new().run(&["--kernel", "kernel"]), FAILED);
    assert!(line.contains("/dev/kvm"), "{line}");
    Outcome::Passed
}

fn a_host_without_kvm_is_refused() -> Outcome {
    // In a mount namespace of its own, an empty folder hides all devices.
    let hidden = |words: &str| {
        let mut command = std::process::Command::new("unshare");
        command.args(["--mount", "sh", "-c", "mount -t tmpfs none /dev && exec \"$0\" \"$@\""]);
        command.arg(env!("CARGO_BIN_EXE_hv")).args(words.split_whitespace());
        command
    };
    if !hidden("--version").output().is_ok_and(|output| output.status.success()) {
        return Outcome::Skipped("this user cannot hide /dev in a mount namespace".to_owned());
    }
    let folder = Folder::new();
    let kernel = folder.path("kernel");
    let line = refusal(&mut hidden(&format!("run --kernel {}", kernel.display())), FAILED);
    assert!(line.contains("/dev/kvm: there is none"), "{line}");
    let doctor = hidden("doctor").output().unwrap();
    assert_eq!(doctor.status.code(), Some(FAILED));
    Outcome::Passed
}

fn a_hypervisor_that_is_not_here_is_refused() -> Outcome {
    let here: &[(&[&str], &[&str])] = if cfg!(target_os = "macos") {
        &[(&["--kernel", "kernel", "--accel", "kvm"], &["KVM", "Linux", "--accel auto"])]
    } else {
        &[(&["--kernel", "kernel", "--accel", "hvf"], &["Hypervisor.framework", "macOS", "--accel auto"])]
    };
    all_refused(&Folder::new(), here);
    if !cfg!(feature = "emulator") {
        let emulated: &[&str] = &["--kernel", "kernel", "--accel", "emulated"];
        all_refused(&Folder::new(), &[(emulated, &["no emulator", "--features emulator"])]);
    }
    Outcome::Passed
}
