use std::{fs, io::Write, os::unix::fs::PermissionsExt, sync::Mutex};

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::*;
use crate::block::Segment;

const MIB: u64 = 1 << 20;

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
fn a_file_without_permission_is_refused_with_the_cure() {
    let folder = tempfile::tempdir().unwrap();
    let path = image(&folder, &[0; 512]);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    if OpenOptions::new().write(true).open(&path).is_ok() {
        eprintln!("skipped: this user may write read-only files");
        return;
    }
    assert!(refusal(&path, false).contains("`,readonly`"));
    FileDisk::open(&path, true, PortableHost).unwrap();
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
    let path = image(&folder, &vec![0xaa; 4 * MIB as usize]);
    let disk = FileDisk::open(&path, false, PortableHost).unwrap();
    assert_eq!(disk.capacity(), 4 * MIB);
    disk.write_zeroes(512..2 * MIB + 512, true).unwrap();
    disk.flush().unwrap();
    let bytes = fs::read(&path).unwrap();
    assert!(bytes[..512].iter().all(|byte| *byte == 0xaa));
    assert!(bytes[512..2 * MIB as usize + 512].iter().all(|byte| *byte == 0));
    assert!(bytes[2 * MIB as usize + 512..].iter().all(|byte| *byte == 0xaa));
    disk.discard(3 * MIB..4 * MIB).unwrap();
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
