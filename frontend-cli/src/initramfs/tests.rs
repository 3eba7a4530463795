//! The archive, as cpio(1) reads it.

use std::{
    fs,
    process::{Command, Stdio},
};

use hv_agent_protocol::{Disk, Root, Upper};

use super::*;

fn boot() -> BootConfig {
    BootConfig {
        modules: Vec::new(),
        host_name: "guest".into(),
        root: Root { lower: Disk { serial: "root".into(), filesystem: "erofs".into() }, upper: Upper::None },
        mounts: Vec::new(),
        networks: Vec::new(),
    }
}

/// Runs cpio on an archive; what it says, unless there is none on this machine.
fn cpio(archive: File, folder: &Path, arguments: &[&str]) -> Option<String> {
    let cpio = Command::new("cpio")
        .args(arguments)
        .current_dir(folder)
        .stdin(archive)
        .stderr(Stdio::piped())
        .output();
    match cpio {
        Err(error) => {
            eprintln!("skipped: cpio cannot be run: {error}");
            None
        }
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Some(String::from_utf8(output.stdout).unwrap())
        }
    }
}

#[test]
fn cpio_finds_everything_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let module = folder.path().join("some.ko");
    fs::write(&module, b"module").unwrap();
    let archive =
        || build(b"agent", boot(), &[("virtio".into(), module.clone()), ("erofs".into(), module.clone())]);
    let Some(list) = cpio(archive().unwrap(), folder.path(), &["-tv", "--quiet"]) else { return };
    let has =
        |start: &str, end: &str| list.lines().any(|line| line.starts_with(start) && line.ends_with(end));
    assert!(has("crw-------", " dev/console") && list.contains("5,   1"), "{list}");
    assert!(has("crw-------", " dev/null") && has("drwxr-xr-x", " hv/upper"), "{list}");

    cpio(archive().unwrap(), folder.path(), &["-i", "--quiet", "init", "hv", "hv/*"]).unwrap();
    let content = |path: &str| fs::read(folder.path().join(path)).unwrap();
    assert_eq!(content("init"), b"agent");
    assert_eq!(content("hv/modules/001-erofs.ko"), b"module");
    let boot = BootConfig::decode(&content("hv/boot")).unwrap();
    assert_eq!(boot.modules, ["/hv/modules/000-virtio.ko", "/hv/modules/001-erofs.ko"]);
}

#[test]
fn what_is_missing_is_named() {
    assert!(build(b"", boot(), &[]).unwrap_err().to_string().contains("no agent"));
    let error = build(b"agent", boot(), &[("a".into(), "/no/such.ko".into())]).unwrap_err();
    assert!(error.to_string().contains("/no/such.ko"));
}
