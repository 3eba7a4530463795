//! The empty ext4 under the eyes of e2fsprogs and, where a test may mount, of Linux.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    process::{Command, Output},
};

use tempfile::NamedTempFile;

use super::*;

const UUID: [u8; 16] = *b"0123456789abcdef";

fn disk(size: u64) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    format_empty(file.as_file(), size, "scratch", UUID).unwrap();
    file
}

/// Runs a program of e2fsprogs on the disk; nothing if it is not installed.
fn tool(name: &str, arguments: &[&str], disk: &NamedTempFile) -> Option<Output> {
    let output = Command::new(name)
        .args(arguments)
        .arg(disk.path())
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output();
    output.inspect_err(|error| eprintln!("SKIP {name} (package e2fsprogs): {error}")).ok()
}

fn is_clean(disk: &NamedTempFile) {
    let Some(output) = tool("e2fsck", &["-f", "-n"], disk) else { return };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.lines().all(|line| line.starts_with("Pass") || line.contains("files (")), "{said}");
}

#[test]
fn disks_of_many_sizes_are_clean() {
    let mib = 1 << 20;
    // Around a group's end, with a last group too small to use, with a size that is no multiple of a block.
    let odd =
        [64 * mib + 511, 128 * mib - 4096, 128 * mib, 129 * mib, 130 * mib + 4096, 131 * mib, 512 * mib];
    for size in odd.into_iter().chain([1 << 30, 2 << 30, 10_000_000_000, 16 << 30, 1 << 40]) {
        is_clean(&disk(size));
    }
}

#[test]
fn a_large_disk_costs_little() {
    for (size, most) in [(16 << 30, 2 << 20), (1 << 40, 8 << 20)] {
        let file = disk(size);
        let metadata = file.as_file().metadata().unwrap();
        assert_eq!(metadata.len(), size);
        assert!(metadata.blocks() * 512 < most, "{} bytes for {size}", metadata.blocks() * 512);
    }
}

#[test]
fn its_description_is_that_of_an_ordinary_ext4() {
    let Some(output) = tool("dumpe2fs", &["-h"], &disk(16 << 30)) else { return };
    let said = String::from_utf8(output.stdout).unwrap();
    let field = |name: &str| {
        let line = said.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
    };
    assert_eq!(field("Filesystem volume name").as_deref(), Some("scratch"));
    assert_eq!(field("Filesystem UUID").as_deref(), Some("30313233-3435-3637-3839-616263646566"));
    assert_eq!(field("Filesystem state").as_deref(), Some("clean"));
    assert_eq!(field("Block count").as_deref(), Some("4194304"));
    assert_eq!(field("Inode count").as_deref(), Some("1048576"));
    assert_eq!(field("Reserved block count").as_deref(), Some("0"));
    assert_eq!(
        field("Filesystem features").as_deref(),
        Some(
            "has_journal ext_attr dir_index filetype extent sparse_super large_file huge_file dir_nlink \
             extra_isize metadata_csum"
        )
    );
    assert_eq!(field("Total journal size").or_else(|| field("Journal size")).as_deref(), Some("64M"));
}

#[test]
fn files_can_be_written_and_read_back() {
    let file = disk(200 << 20);
    let (content, commands) = (NamedTempFile::new().unwrap(), NamedTempFile::new().unwrap());
    let bytes: Vec<u8> = (0..5_000_000_u32).flat_map(|number| number.to_le_bytes()).collect();
    fs::write(content.path(), &bytes).unwrap();
    let content = content.path().display();
    let mut text = format!("mkdir dir\ncd dir\nwrite {content} file\nsymlink link file\nmknod pipe p\n");
    for number in 0..200 {
        text.push_str(&format!("mkdir some_directory_{number}\n"));
    }
    fs::write(commands.path(), text).unwrap();
    let commands = commands.path().display().to_string();
    let Some(output) = tool("debugfs", &["-w", "-f", &commands], &file) else { return };
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.lines().count() <= 1, "{complaints}");
    is_clean(&file);
    let output = tool("debugfs", &["-R", "cat /dir/file"], &file).unwrap();
    assert!(output.stdout == bytes, "the file has other bytes");
    let output = tool("debugfs", &["-R", "stat /dir/link"], &file).unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("Type: symlink"));
}

#[test]
fn linux_mounts_it_and_it_stays_clean() {
    let (file, folder) = (disk(3 << 30), tempfile::tempdir().unwrap());
    let mut mount = Command::new("mount");
    let mounted = mount.args(["-t", "ext4", "-o", "loop"]).arg(file.path()).arg(folder.path()).output();
    if !mounted.as_ref().is_ok_and(|output| output.status.success()) {
        eprintln!("SKIP mounting ext4: {mounted:?}");
        return;
    }
    let result = fill(folder.path());
    let unmounted = Command::new("umount").arg(folder.path()).status().unwrap();
    assert!(unmounted.success());
    result.unwrap();
    is_clean(&file);
}

fn fill(folder: &std::path::Path) -> std::io::Result<()> {
    assert_eq!(fs::metadata(folder)?.mode(), 0o040_755);
    let names: Vec<_> = fs::read_dir(folder)?.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["lost+found"]);
    for number in 0..300 {
        fs::create_dir(folder.join(format!("directory {number}")))?;
        fs::write(folder.join(format!("directory {number}/file")), vec![7; 100_000])?;
    }
    File::open(folder)?.sync_all()
}

#[test]
fn the_same_arguments_make_the_same_bytes_whatever_was_there() {
    let (one, two) = (disk(64 << 20), NamedTempFile::new().unwrap());
    fs::write(two.path(), vec![0xff; 9 << 20]).unwrap();
    format_empty(two.as_file(), 64 << 20, "scratch", UUID).unwrap();
    assert!(fs::read(one.path()).unwrap() == fs::read(two.path()).unwrap());
}

#[test]
fn sizes_and_labels_out_of_range_are_refused() {
    let file = NamedTempFile::new().unwrap();
    let refusal = |size, label| format_empty(file.as_file(), size, label, UUID).unwrap_err().to_string();
    assert!(refusal(LEAST_SIZE - 1, "").contains("67108863"));
    assert!(refusal(MOST_SIZE + 1, "").contains("1024 GiB"));
    assert!(refusal(LEAST_SIZE, "more than sixteen").contains("label"));
    assert_eq!(file.as_file().metadata().unwrap().len(), 0);
}
