//! Raw image files: what is read, written, locked and refused.

use std::{fs, io::Write, sync::Mutex};

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::*;
use crate::memory::Segment;

const MIB: usize = 1 << 20;
const MIB_U64: u64 = 1 << 20;

fn image(folder: &tempfile::TempDir, bytes: &[u8]) -> std::path::PathBuf {
    let path = folder.path().join("disk.img");
    File::create(&path).unwrap().write_all(bytes).unwrap();
    path
}

fn refusal(path: &Path, read_only: bool) -> String {
    let line = format!("{:#}", FileDisk::open(path, read_only, PortableHost).unwrap_err());
    assert!(!line.contains('\n') && line.contains(&path.display().to_string()), "{line}");
    line
}

#[test]
fn a_bad_path_is_refused_in_one_line_that_says_why() {
    let folder = tempfile::tempdir().unwrap();
    assert!(refusal(&folder.path().join("none"), false).contains("does not exist"));
    assert!(refusal(folder.path(), false).contains("is a directory"));
    assert!(refusal(Path::new("/dev/null"), false).contains("neither a file nor a block device"));
    assert!(refusal(&image(&folder, b""), false).contains("is empty"));
    assert!(refusal(&image(&folder, &[1; 513]), false).contains("513 bytes"));
    assert_eq!(fs::read(folder.path().join("disk.img")).unwrap(), [1; 513], "nothing changed on disk");
}

#[test]
fn missing_permission_is_told_with_its_cure() {
    let refused = io::Error::from(io::ErrorKind::PermissionDenied);
    let line = |read_only| not_opened(Path::new("a.img"), read_only, &refused).to_string();
    assert!(line(false).contains("may not be written") && line(false).contains("`,readonly`"));
    assert!(line(true).contains("may not be read") && !line(true).contains("readonly"));
}

#[test]
fn one_writer_or_many_readers() {
    let folder = tempfile::tempdir().unwrap();
    let path = image(&folder, &[0; 512]);
    let writer = FileDisk::open(&path, false, PortableHost).unwrap();
    assert!(refusal(&path, false).contains("already open by another hv"));
    assert!(refusal(&path, true).contains("already open for writing by another hv"));
    drop(writer);
    let readers = [(); 2].map(|()| FileDisk::open(&path, true, PortableHost).unwrap());
    assert!(refusal(&path, false).contains("already open by another hv"));
    drop(readers);
    FileDisk::open(&path, false, PortableHost).unwrap();
}

#[test]
fn zeroes_are_written_to_the_range_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = image(&folder, &vec![0xaa; 4 * MIB]);
    let disk = FileDisk::open(&path, false, PortableHost).unwrap();
    assert_eq!(disk.capacity(), 4 * MIB_U64);
    disk.write_zeroes(512..2 * MIB_U64 + 512, true).unwrap();
    disk.flush().unwrap();
    let bytes = fs::read(&path).unwrap();
    assert!(bytes[..512].iter().all(|byte| *byte == 0xaa));
    assert!(bytes[512..2 * MIB + 512].iter().all(|byte| *byte == 0));
    assert!(bytes[2 * MIB + 512..].iter().all(|byte| *byte == 0xaa));
    disk.discard(3 * MIB_U64..4 * MIB_U64).unwrap();
    assert_eq!(fs::read(&path).unwrap(), bytes, "a host that cannot discard leaves the bytes alone");
}

#[test]
fn the_host_is_asked_first_and_its_errors_are_kept() {
    #[derive(Default)]
    struct Host(std::sync::Arc<Mutex<Vec<&'static str>>>);
    impl FileHost for Host {
        fn punch_hole(&self, _: &File, _: Range<u64>) -> io::Result<()> {
            self.0.lock().unwrap().push("punch");
            Ok(())
        }
        fn zero_range(&self, _: &File, _: Range<u64>) -> io::Result<()> {
            self.0.lock().unwrap().push("zero");
            Err(io::ErrorKind::StorageFull.into())
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let host = Host::default();
    let asked = std::sync::Arc::clone(&host.0);
    let disk = FileDisk::open(&image(&folder, &[7; 1024]), false, host).unwrap();
    disk.discard(0..512).unwrap();
    disk.write_zeroes(0..512, true).unwrap();
    let error = disk.write_zeroes(0..512, false).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(*asked.lock().unwrap(), ["punch", "punch", "zero"]);
}

/// A guest may ask so; hosts answer it with EINVAL.
#[test]
fn an_empty_range_is_nothing_to_do() {
    struct Host;
    impl FileHost for Host {
        fn punch_hole(&self, _: &File, range: Range<u64>) -> io::Result<()> {
            panic!("asked for {range:?}")
        }

        fn zero_range(&self, _: &File, range: Range<u64>) -> io::Result<()> {
            panic!("asked for {range:?}")
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = FileDisk::open(&image(&folder, &[1; 4096]), false, Host).unwrap();
    disk.discard(512..512).unwrap();
    disk.write_zeroes(4096..4096, true).unwrap();
    disk.write_zeroes(0..0, false).unwrap();
}

#[test]
fn guest_ram_and_file_exchange_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = image(&folder, &[0; 4096]);
    let disk = FileDisk::open(&path, false, PortableHost).unwrap();
    let ram = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap();
    ram.write_slice(b"hello", GuestAddress(0x10)).unwrap();
    let segments = [Segment { address: GuestAddress(0x10), len: 5 }];
    disk.write_at(512, GuestBuffer { ram: &ram, segments: &segments }).unwrap();
    assert_eq!(&fs::read(&path).unwrap()[510..519], b"\0\0hello\0\0");
}
