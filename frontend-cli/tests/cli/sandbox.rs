//! The sandbox of a running guest's process, seen from outside.

use std::{collections::BTreeMap, fs, os::fd::AsRawFd, os::unix::net::UnixStream, path::Path};

use crate::{
    guest::{ECHO, GREET, POWER_OFF, with_kvm},
    guests::Home,
    harness::{Case, Outcome},
};

pub(crate) const CASES: &[Case] = &[
    ("every_thread_of_a_guest_s_process_is_filtered", || on_linux(filtered)),
    ("a_guest_s_process_inherits_no_descriptors", || on_linux(inherited)),
    ("a_sandbox_can_be_off_or_log", || on_linux(modes)),
];

fn on_linux(case: fn(&Path)) -> Outcome {
    if cfg!(target_os = "linux") { with_kvm(case) } else { Outcome::Skipped("/proc is Linux's".to_owned()) }
}

/// A field of each thread's `/proc/PID/task/TID/status`, by the thread's name.
fn field(pid: u32, field: &str) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
        let Ok(status) = fs::read_to_string(entry.path().join("status")) else { continue };
        let value = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
            line.unwrap_or_default().trim().to_owned()
        };
        values.insert(value("Name"), value(field));
    }
    values
}

/// Runs a guest with `words` until it was looked at.
fn look(folder: &Path, words: &[&str], look: impl FnOnce(&Home, u32)) {
    let home = Home::new(folder);
    let mut child = home.start(&[GREET, ECHO, POWER_OFF], &[&["--name", "jailed"], words].concat());
    look(&home, child.id());
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"q").unwrap();
    assert!(child.wait().unwrap().success());
    let record = home.json(&["inspect", "jailed"]);
    assert_eq!(record["ended"]["code"], 0, "its end is recorded: {record}");
    assert_eq!(home.leftovers(), Vec::<String>::new(), "its folder is gone");
}

fn filtered(folder: &Path) {
    look(folder, &["--cpus", "2"], |home, pid| {
        let (modes, privileges) = (field(pid, "Seccomp"), field(pid, "NoNewPrivs"));
        for name in ["hv", "vcpu0", "vcpu1", "threads", "control", "signals", "keyboard", "console output"] {
            assert_eq!(modes.get(name).map(String::as_str), Some("2"), "{name} of {modes:?}");
        }
        assert!(modes.values().all(|mode| mode == "2"), "{modes:?}");
        assert!(privileges.values().all(|none| none == "1"), "{privileges:?}");
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
        let record = home.json(&["inspect", "jailed"]);
        assert_eq!(record["sandbox"]["mode"], "on", "{record}");
        assert!(record["sandbox"]["parts"][0].as_str().unwrap().starts_with("seccomp: "), "{record}");
    });
}

fn inherited(folder: &Path) {
    let home = Home::new(folder);
    let (left_open, _other) = UnixStream::pair().unwrap();
    let left_open = rustix::io::fcntl_dupfd_cloexec(&left_open, 200).unwrap();
    rustix::io::fcntl_setfd(&left_open, rustix::io::FdFlags::empty()).unwrap();
    let is_open = |words: &[&str]| {
        let mut child = home.start(&[GREET, ECHO, POWER_OFF], words);
        let open = fs::symlink_metadata(format!("/proc/{}/fd/{}", child.id(), left_open.as_raw_fd())).is_ok();
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"q").unwrap();
        assert!(child.wait().unwrap().success());
        open
    };
    assert!(is_open(&["--sandbox", "off"]), "it is there to be inherited");
    assert!(!is_open(&[]));
}

fn modes(folder: &Path) {
    for (mode, expected) in [("off", "0"), ("log", "2")] {
        let folder = folder.join(mode);
        fs::create_dir(&folder).unwrap();
        look(&folder, &["--sandbox", mode], |home, pid| {
            let modes = field(pid, "Seccomp");
            // Of whoever runs this test there may be a filter already.
            if fs::read_to_string("/proc/self/status").unwrap().contains("Seccomp:\t0") {
                assert!(modes.values().all(|mode| mode == expected), "{mode}: {modes:?}");
            }
            assert_eq!(home.json(&["inspect", "jailed"])["sandbox"]["mode"], mode);
        });
    }
    let doctor = crate::child::hv(&["doctor"]).output().unwrap();
    let report = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(report.contains(" seccomp: ") && report.contains(" Landlock: "), "{report}");
}
