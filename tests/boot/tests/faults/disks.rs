//! Disks that fail under a guest that goes on: full ones, and ones that are shorter than they were.

use std::{fs::File, os::unix::fs::FileExt, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use hv_boot_tests::images::{Home, said};

use super::{count, end, sleeper, told};

const MIB: u64 = 1 << 20;

/// Finds the disk of this serial number, and does as the script says with it as `$disk`.
fn with_disk(home: &Home, script: &str) -> Result<hv_boot_tests::images::Said> {
    let find = "for serial in /sys/block/*/serial; do [ \"$(cat $serial)\" != faulty ] || disk=${serial%/serial}; done; \
                disk=/dev/${disk##*/}";
    home.say(&mut home.exec_in("faulty", &[], &["sh", "-c", &format!("{find}; {script}")]))
}

fn start(home: &Home, disk: &Path) -> Result<u32> {
    sleeper(home, "faulty", &["--rm", "--disk", &format!("{},serial=faulty", disk.display())])
}

/// A small file system, until it is dropped.
struct Small(tempfile::TempDir);

impl Small {
    fn new(size: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let options = format!("size={size},mode=700");
        said(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "none"]).arg(folder.path()), b"")?
            .code(0)?;
        Ok(Self(folder))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = said(Command::new("umount").arg(self.0.path()), b"");
    }
}

pub(super) fn a_full_disk_is_borne_until_there_is_room(home: &Home) -> Result<()> {
    let small = Small::new("24M")?;
    let (disk, other) = (small.0.path().join("disk"), small.0.path().join("other"));
    File::create(&disk)?.set_len(16 << 20)?;
    let rounds = count("HV_SOAK_DISKS", 2)?;
    let pid = start(home, &disk)?;
    for round in 0..rounds {
        // Room for 8 of the 16 MiB, whatever the guest has written by now.
        File::options().write(true).open(&disk)?.set_len(0)?;
        File::options().write(true).open(&disk)?.set_len(16 << 20)?;
        std::fs::write(&other, vec![1; 16 << 20])?;
        let write = "dd if=/dev/urandom of=$disk bs=64k count=256 oflag=direct conv=fsync 2>&1; echo dd $?";
        let full = with_disk(home, write)?.code(0)?.text();
        ensure!(
            full.ends_with("dd 1") && full.contains("error"),
            "round {round}: on a full disk dd said {full}"
        );
        ensure!(home.process("faulty")? == pid, "the guest's process is another one");
        std::fs::remove_file(&other)?;
        let write = "dd if=/dev/urandom of=/dev/shm/file bs=64k count=256 2>/dev/null; \
                     dd if=/dev/shm/file of=$disk bs=64k oflag=direct conv=fsync 2>&1 && sha256sum </dev/shm/file";
        let written = with_disk(home, write)?.code(0);
        let hash = written.with_context(|| format!("round {round}: with room again"))?.text();
        let found = super::sha256(&disk)?;
        ensure!(hash.contains(&found), "the file has {found}, and the guest wrote {hash}");
    }
    end(home, "faulty")?;
    told(&format!(
        "{rounds} times a full disk: an I/O error in the guest, which writes again when there is room"
    ));
    Ok(())
}

/// A tool of an administrator's, whose folders not everybody has on their path.
fn administrator(tool: &str) -> Command {
    let mut command = Command::new(tool);
    command.env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin");
    command
}

/// Why this host has no block device that fails.
pub(super) fn why_no_errors() -> Option<String> {
    let probe = || -> Result<()> {
        let folder = tempfile::tempdir()?;
        let file = File::create(folder.path().join("file"))?;
        file.set_len(8 * MIB)?;
        let device = Loop::new(&folder.path().join("file"))?;
        file.set_len(4 * MIB)?;
        let words = ["bs=1M", "skip=6", "count=1", "iflag=direct", "of=/dev/null"];
        let read = said(Command::new("dd").args(words).arg(format!("if={}", device.0)), b"")?;
        ensure!(
            read.stderr.contains("Input/output error"),
            "a loop device reads beyond its file: {:?}",
            read.stderr
        );
        Ok(())
    };
    probe()
        .err()
        .map(|error| format!("there is no block device here that fails: {error:#}").replace('\n', " "))
}

/// A block device of the host's that fails where its file has no bytes; until it is dropped.
struct Loop(String);

impl Loop {
    fn new(file: &Path) -> Result<Self> {
        let made =
            said(administrator("losetup").args(["--find", "--show", "--direct-io=on"]).arg(file), b"")?;
        Ok(Self(made.code(0)?.text()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = said(administrator("losetup").args(["--detach", &self.0]), b"");
    }
}

/// Reads beyond the end of a file are short.
pub(super) fn a_file_that_shrinks_is_borne_until_it_is_whole(home: &Home) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("file");
    File::create(&path)?.set_len(8 * MIB)?;
    let rounds = shrinks(home, &path, &path)?;
    told(&format!(
        "{rounds} times a file without its second half: short reads are I/O errors in the guest, which reads again when it is whole"
    ));
    Ok(())
}

/// Reads of a device fail with EIO.
pub(super) fn a_device_that_fails_is_borne_until_it_is_whole(home: &Home) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("file");
    File::create(&path)?.set_len(8 * MIB)?;
    let device = Loop::new(&path)?;
    let rounds = shrinks(home, &path, Path::new(&device.0))?;
    told(&format!(
        "{rounds} times a block device with EIO in its second half: I/O errors in the guest, which reads again when it is whole"
    ));
    Ok(())
}

/// Takes the second half of `path` away and gives it back, below a guest with the disk `disk`; how often.
fn shrinks(home: &Home, path: &Path, disk: &Path) -> Result<u32> {
    let rounds = count("HV_SOAK_DISKS", 2)?;
    let file = File::options().write(true).open(path)?;
    let pid = start(home, disk)?;
    let read = |mebibyte: u64| {
        let script = format!("dd if=$disk bs=1M skip={mebibyte} count=1 iflag=direct | sha256sum");
        // What the host has of the device in memory hides what there is.
        if path != disk {
            said(administrator("blockdev").arg("--flushbufs").arg(disk), b"")?.code(0)?;
        }
        with_disk(home, &script)?.code(0)
    };
    for round in 0..rounds {
        let content = vec![u8::try_from(round % 250)? + 1; 1 << 20];
        let hash = said(&mut Command::new("sha256sum"), &content)?.code(0)?.text();
        file.set_len(4 * MIB)?;
        file.write_all_at(&content, 0)?;
        file.sync_all()?;
        let beyond = read(6)?;
        ensure!(beyond.stderr.contains("error"), "round {round}: beyond the end dd said {:?}", beyond.stderr);
        let before = read(0)?;
        ensure!(before.text() == hash, "round {round}: before the end dd said {before:?}");
        file.set_len(8 * MIB)?;
        file.write_all_at(&content, 6 * MIB)?;
        file.sync_all()?;
        let again = read(6)?;
        ensure!(again.text() == hash, "round {round}: when it was whole again dd said {again:?}");
    }
    ensure!(home.process("faulty")? == pid, "the guest's process is another one");
    end(home, "faulty")?;
    Ok(rounds)
}
