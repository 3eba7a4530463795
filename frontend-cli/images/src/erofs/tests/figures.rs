//! Figures: what an image costs beside `tar -x` of the same archive, and what a million files cost.
//!
//! `cargo test --release -p hv-images figures -- --ignored --nocapture --test-threads 1` prints them, of an archive that
//! is made for it, or of the one that `HV_FIGURES_TAR` names (ustar; its long names and links are left out).

use std::{
    env, fs,
    io::{BufReader, Read},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use tempfile::{NamedTempFile, tempdir};

use super::{Maker, bytes, owned};
use crate::{
    ext4::format_empty,
    tree::{Attributes, Kind, components},
};

/// A hundred megabytes of files as a distribution has them: most small, most bytes in few.
fn archive(folder: &Path) -> PathBuf {
    if let Some(path) = env::var_os("HV_FIGURES_TAR") {
        return path.into();
    }
    let (files, archive) = (folder.join("files"), folder.join("files.tar"));
    for number in 0..6000_u32 {
        let size = match number % 20 {
            0 => 200_000,
            1..4 => 30_000,
            4..10 => 5000,
            _ => u64::from(number) % 4000,
        };
        let directory = files.join(format!("{}", number / 20));
        fs::create_dir_all(&directory).unwrap();
        let mut content = bytes(number, size);
        content.iter_mut().for_each(|byte| *byte |= 1);
        fs::write(directory.join(format!("{number}")), content).unwrap();
    }
    let made = Command::new("tar")
        .args(["--format=ustar", "-cf"])
        .arg(&archive)
        .arg("-C")
        .arg(&files)
        .arg(".")
        .status();
    assert!(made.unwrap().success());
    archive
}

/// Just as much of tar as the figure needs.
fn unpack(archive: &Path, maker: &mut Maker) {
    let mut reader = BufReader::with_capacity(1 << 20, fs::File::open(archive).unwrap());
    let mut header = [0; 512];
    while reader.read_exact(&mut header).is_ok() && header[0] != 0 {
        let text = |range: std::ops::Range<usize>| {
            let field = &header[range];
            field.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
        };
        let number = |range| u64::from_str_radix(String::from_utf8(text(range)).unwrap().trim(), 8).unwrap();
        let (size, kind) = (number(124..136), header[156]);
        let prefix = text(345..500);
        let path =
            if prefix.is_empty() { text(0..100) } else { [prefix, b"/".to_vec(), text(0..100)].concat() };
        let mtime = number(136..148).try_into().unwrap();
        let attributes = Attributes { mode: 0o755, mtime, ..Attributes::default() };
        let kind = match kind {
            b'0' => Kind::File(maker.writer.store(size, &mut reader).unwrap()),
            b'5' => Kind::Directory,
            _ => Kind::Symlink(b"elsewhere".to_vec()),
        };
        if matches!(kind, Kind::File(_)) {
            reader.seek_relative((512 - (size % 512).cast_signed()) % 512).unwrap();
        }
        maker.tree.insert(&components(&path).unwrap(), attributes, kind).unwrap();
    }
}

fn best(mut run: impl FnMut() -> Duration) -> Duration {
    (0..7).map(|_| run()).min().unwrap()
}

#[test]
#[ignore = "figures"]
fn figures_of_unpacking() {
    let folder = tempdir().unwrap();
    let archive = archive(folder.path());
    let tar = best(|| {
        let (out, start) = (tempdir().unwrap(), Instant::now());
        assert!(
            Command::new("tar")
                .arg("-xf")
                .arg(&archive)
                .arg("-C")
                .arg(out.path())
                .status()
                .unwrap()
                .success()
        );
        start.elapsed()
    });
    let mut size = 0;
    let image = best(|| {
        let (mut maker, start) = (Maker::new(), Instant::now());
        unpack(&archive, &mut maker);
        let (image, _) = maker.finish();
        size = image.as_file().metadata().unwrap().len();
        start.elapsed()
    });
    let archive = fs::metadata(&archive).unwrap().len();
    println!("archive of {archive} bytes: tar -x {tar:?}, image of {size} bytes {image:?}");
    println!("speed of tar -x, taken for 1: {:.2}", tar.as_secs_f64() / image.as_secs_f64());
}

/// Resident memory, bytes.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    status.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or_default() * 4096
}

#[test]
#[ignore = "figures"]
fn figures_of_a_million_files() {
    let (mut maker, before, start) = (Maker::new(), resident(), Instant::now());
    for number in 0..999_000 {
        maker.file(&format!("{}/file {number}", number / 1000), owned(1), 30);
    }
    println!(
        "{} bytes of memory for each of {} files, in {:?}",
        (resident() - before) / 999_000,
        maker.tree.len(),
        start.elapsed()
    );
    let start = Instant::now();
    let (image, _) = maker.finish();
    println!("image of {} bytes in {:?}", image.as_file().metadata().unwrap().len(), start.elapsed());
}

#[test]
#[ignore = "figures"]
fn figures_of_empty_disks() {
    for size in [1 << 30, 16 << 30, 1 << 40] {
        let file = NamedTempFile::new().unwrap();
        let time = best(|| {
            let start = Instant::now();
            format_empty(file.as_file(), size, "figures", [1; 16]).unwrap();
            start.elapsed()
        });
        file.as_file().write_all_at(&[0], 0).unwrap();
        println!(
            "{size} bytes: {time:?}, {} bytes on disk",
            file.as_file().metadata().unwrap().blocks() * 512
        );
    }
}
