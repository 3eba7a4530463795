//! Figures: a layer into the cache beside `tar -x` of the same layer, and a million files.
//!
//! `TMPDIR=/dev/shm cargo test --release -p hv-images store::tests::figures -- --ignored --nocapture --test-threads 1`
//! prints them. In memory, because ext4 makes files many times slower for a while after many were deleted: there `tar -x`
//! is the slower the more often this runs, and the comparison worthless.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use super::*;
use crate::testing::{TarWriter, blob, gzip, zstd};

/// A hundred megabytes of files as a distribution has them: most small, most bytes in few, and packable to a half.
fn layer() -> Vec<u8> {
    let mut state = 1_u64;
    let mut tar = TarWriter::default();
    for number in 0..6000_usize {
        let size = match number % 20 {
            0 => 200_000,
            1..4 => 30_000,
            4..10 => 5000,
            _ => number % 4000,
        };
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            b'a' + state.to_le_bytes()[7] % 16
        };
        let content: Vec<u8> = (0..size).map(|_| next()).collect();
        tar.file(&format!("{}/{number}", number / 20), &content);
    }
    tar.finish()
}

/// The median of several runs.
fn median(mut run: impl FnMut() -> Duration) -> Duration {
    let mut times: Vec<_> = (0..7).map(|_| run()).collect();
    times.sort_unstable();
    times[times.len() / 2]
}

fn tar_takes(packed: &Path) -> Duration {
    median(|| {
        let out = tempfile::tempdir().unwrap();
        let start = Instant::now();
        let mut command = Command::new("tar");
        let status = command.arg("-xf").arg(packed).arg("-C").arg(out.path()).status().unwrap();
        assert!(status.success());
        start.elapsed()
    })
}

fn import_takes(layout: &Path) -> Duration {
    median(|| {
        let place = Place::new();
        let start = Instant::now();
        place.store.import(layout, None, ARCHITECTURE, &mut Quiet).unwrap();
        start.elapsed()
    })
}

#[test]
#[ignore = "figures"]
fn figures_of_a_layer() {
    let place = Place::new();
    let archive = layer();
    println!("a layer of {} bytes; times with the flush to the disk, which tar does not do", archive.len());
    for (name, packed) in [("tar", archive.clone()), ("tar.gz", gzip(&archive)), ("tar.zst", zstd(&archive))]
    {
        let layout = place.path(&format!("{name}.layout"));
        let mut image = TestImage::new("amd64", &[]);
        image.layers = vec![(packed.clone(), archive.clone())];
        index(&layout, &[image.write(&layout)]);
        let digest = blob(&layout, "", &packed).digest;
        let file = place.path(name);
        fs::copy(layout.join("blobs/sha256").join(digest.hex()), &file).unwrap();
        let (ours, plain, tar) = (import_takes(&layout), import_takes(&file), tar_takes(&file));
        let speed = |time: Duration| tar.as_secs_f64() / time.as_secs_f64();
        println!("{name} of {} bytes: tar -x {tar:?}", packed.len());
        println!("  as a layer of an image {ours:?}, {:.2} of its speed", speed(ours));
        println!("  as a root by itself {plain:?}, {:.2} of its speed", speed(plain));
    }
    let layout = place.path("tar.gz.layout");
    place.store.import(&layout, None, ARCHITECTURE, &mut Quiet).unwrap();
    let start = Instant::now();
    place.store.import(&layout, None, ARCHITECTURE, &mut Quiet).unwrap();
    println!("again, from the cache: {:?}", start.elapsed());
}

#[test]
#[ignore = "figures"]
fn figures_of_a_million_files() {
    let place = Place::new();
    let mut tar = TarWriter::default();
    for number in 0..1_000_000 {
        tar.file(&format!("{}/{number}", number / 1000), b"tiny");
    }
    fs::write(place.path("root.tar"), tar.finish()).unwrap();
    drop(tar);
    let start = Instant::now();
    let image = place.import("root.tar").unwrap();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    let size = image.root().metadata().unwrap().len();
    println!(
        "a million files: {:?}, a root of {size} bytes, {peak} with the archive in memory",
        start.elapsed()
    );
}
