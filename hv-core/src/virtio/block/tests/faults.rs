//! Disks that fail: files that end early, errors of every kind, and disks that do not answer for a while.

use std::{
    os::unix::fs::FileExt,
    sync::{Condvar, Mutex, PoisonError},
    thread,
};

use super::*;
use crate::memory::GuestBuffer;

#[test]
fn a_file_that_shrank_fails_beyond_its_end_and_nowhere_else() {
    for kind in TransportKind::ALL {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.img");
        let bytes = pattern(64 << 10);
        fs::write(&path, &bytes).unwrap();
        let disk = Arc::new(FileDisk::open(&path, false, PortableHost).unwrap());
        let mut rig = started(kind, disk);
        let file = fs::File::options().write(true).open(&path).unwrap();
        // Its end is in the middle of a request, and not at a sector's.
        file.set_len(33_000).unwrap();
        assert_eq!(read(&mut rig, 64, 4096).0, 1, "the first bytes are there, the last are not");
        assert_eq!(read(&mut rig, 100, 4096).0, 1);
        let (status, read_back) = read(&mut rig, 0, 32 << 10);
        assert!(status == 0 && read_back == bytes[..32 << 10]);
        // What is written makes it long again, and what was never written reads as zeroes.
        assert_eq!(write(&mut rig, 127, &[7; 512]), 0);
        let (status, read_back) = read(&mut rig, 100, 14 << 10);
        assert!(
            status == 0
                && read_back[..27 * 512].iter().all(|byte| *byte == 0)
                && read_back[27 * 512..] == [7; 512]
        );
        file.write_all_at(&bytes, 0).unwrap();
        let (status, read_back) = read(&mut rig, 0, 64 << 10);
        assert!(status == 0 && read_back == bytes);
    }
}

#[test]
fn whatever_fails_is_an_error_for_that_request() {
    let kinds = [
        io::ErrorKind::UnexpectedEof,
        io::ErrorKind::WriteZero,
        io::ErrorKind::StorageFull,
        io::ErrorKind::Other,
        io::ErrorKind::TimedOut,
        io::ErrorKind::PermissionDenied,
    ];
    for error in kinds {
        on_each(
            || memory_disk(64 << 10),
            |rig, disk| {
                disk.break_range(8192..8704, error);
                assert_eq!(read(rig, 16, 512).0, 1, "{error:?}");
                assert_eq!(write(rig, 16, &[1; 512]), 1, "{error:?}");
                let zeroes = ranges(rig, &[(16, 1, 0)]);
                assert_eq!(ask(rig, VIRTIO_BLK_T_WRITE_ZEROES, 0, &[zeroes]), 1, "{error:?}");
                let discard = ranges(rig, &[(16, 1, 0)]);
                assert_eq!(ask(rig, VIRTIO_BLK_T_DISCARD, 0, &[discard]), 1, "{error:?}");
                assert_eq!(read(rig, 17, 512).0, 0);
                assert_eq!(write(rig, 15, &[1; 512]), 0);
                assert!(!rig.driver.status().contains(DeviceStatus::NEEDS_RESET));
            },
        );
    }
}

/// A disk whose first sector is read when it is let.
#[derive(Debug)]
struct Slow {
    disk: MemoryDisk,
    is_let: Mutex<bool>,
    changed: Condvar,
}

impl Slow {
    fn set(&self, is_let: bool) {
        *self.is_let.lock().unwrap_or_else(PoisonError::into_inner) = is_let;
        self.changed.notify_all();
    }
}

impl BlockBackend for Slow {
    fn capacity(&self) -> u64 {
        self.disk.capacity()
    }

    fn read_only(&self) -> bool {
        false
    }

    fn read_at(&self, offset: u64, buffer: GuestBuffer<'_>) -> io::Result<()> {
        if offset == 0 {
            let is_let = self.is_let.lock().unwrap_or_else(PoisonError::into_inner);
            drop(self.changed.wait_while(is_let, |is_let| !*is_let).unwrap_or_else(PoisonError::into_inner));
        }
        self.disk.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, buffer: GuestBuffer<'_>) -> io::Result<()> {
        self.disk.write_at(offset, buffer)
    }

    fn flush(&self) -> io::Result<()> {
        self.disk.flush()
    }

    fn discard(&self, range: std::ops::Range<u64>) -> io::Result<()> {
        self.disk.discard(range)
    }

    fn write_zeroes(&self, range: std::ops::Range<u64>, may_unmap: bool) -> io::Result<()> {
        self.disk.write_zeroes(range, may_unmap)
    }
}

#[test]
fn a_disk_that_does_not_answer_holds_up_its_request_alone() {
    for kind in TransportKind::ALL {
        let slow = Arc::new(Slow {
            disk: MemoryDisk::new(pattern(64 << 10)),
            is_let: Mutex::new(false),
            changed: Condvar::new(),
        });
        let mut rig = started(kind, slow.clone());
        let data = rig.driver.writable(512);
        let held = request(&mut rig, VIRTIO_BLK_T_IN, 0, &[data]);
        rig.driver.add(0, &held);
        rig.driver.kick(0);
        // The driver's registers answer, and so does its other queue.
        assert!(!rig.driver.status().contains(DeviceStatus::NEEDS_RESET));
        for sector in 1..20 {
            let data = rig.driver.writable(512);
            let other = request(&mut rig, VIRTIO_BLK_T_IN, sector, &[data]);
            rig.driver.request(1, &other);
            assert_eq!(rig.status_of(&other), 0);
        }
        assert_eq!(rig.status_of(&held), 0xff, "it was answered before it was done");
        slow.set(true);
        rig.driver.wait_used(0);
        assert!(rig.status_of(&held) == 0 && rig.driver.bytes(data) == pattern(512));
    }
}

#[test]
fn a_reset_waits_for_a_disk_that_does_not_answer() {
    for kind in TransportKind::ALL {
        let slow = Arc::new(Slow {
            disk: MemoryDisk::new(pattern(64 << 10)),
            is_let: Mutex::new(false),
            changed: Condvar::new(),
        });
        let mut rig = started(kind, slow.clone());
        let data = rig.driver.writable(512);
        let held = request(&mut rig, VIRTIO_BLK_T_IN, 0, &[data]);
        rig.driver.add(0, &held);
        rig.driver.kick(0);
        let later = thread::spawn({
            let slow = slow.clone();
            move || {
                thread::sleep(std::time::Duration::from_millis(100));
                slow.set(true);
            }
        });
        // Guest RAM is the driver's again when it has reset the device: nothing is written there any more.
        rig.driver.start_with(!0);
        later.join().unwrap();
        let before = rig.driver.bytes(data);
        assert_eq!(read(&mut rig, 1, 512).0, 0);
        assert!(rig.driver.bytes(data) == before);
    }
}
