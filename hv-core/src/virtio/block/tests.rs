//! Whole block devices through a driver, on each transport; what they did is read from the disk's own side.

mod faults;
mod limits;

use std::{fs, io};

use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT,
    VIRTIO_BLK_T_WRITE_ZEROES,
};

use super::*;
use crate::{
    block::{
        file::{FileDisk, PortableHost},
        memory::{MemoryDisk, Operation},
    },
    testing::{
        Rig, TransportKind,
        driver::{Buffer, Style},
    },
    virtio::negotiation::Status as DeviceStatus,
};

const KIB: u64 = 1 << 10;

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251).to_le_bytes()[0] | 1).collect()
}

fn memory_disk(len: usize) -> Arc<MemoryDisk> {
    Arc::new(MemoryDisk::new(pattern(len)))
}

/// A rig whose driver took all features.
fn started(kind: TransportKind, disk: Arc<dyn BlockBackend>) -> Rig {
    let mut rig = Rig::new(kind, Box::new(Block::new("disk0", "serial-7", disk, 2)));
    rig.driver.start_with(!0);
    rig
}

fn header(rig: &mut Rig, kind: u32, sector: u64) -> Buffer {
    let bytes = [kind.to_le_bytes(), [0; 4]].concat();
    rig.driver.readable(&[bytes, sector.to_le_bytes().to_vec()].concat())
}

/// A request's buffers: header, data, status.
fn request(rig: &mut Rig, kind: u32, sector: u64, data: &[Buffer]) -> Vec<Buffer> {
    let mut buffers = vec![header(rig, kind, sector)];
    buffers.extend_from_slice(data);
    buffers.push(rig.driver.writable(1));
    rig.ram_set(buffers[buffers.len() - 1], 0xff);
    buffers
}

impl Rig {
    fn ram_set(&self, buffer: Buffer, byte: u8) {
        use vm_memory::{Bytes, GuestAddress};
        self.ram.write_obj(byte, GuestAddress(buffer.address)).unwrap();
    }

    fn status_of(&self, request: &[Buffer]) -> u8 {
        self.driver.bytes(*request.last().unwrap())[0]
    }
}

/// Does one request on queue 0 and says its status.
fn ask(rig: &mut Rig, kind: u32, sector: u64, data: &[Buffer]) -> u8 {
    let request = request(rig, kind, sector, data);
    rig.driver.request(0, &request);
    rig.status_of(&request)
}

fn write(rig: &mut Rig, sector: u64, data: &[u8]) -> u8 {
    let data = rig.driver.readable(data);
    ask(rig, VIRTIO_BLK_T_OUT, sector, &[data])
}

fn read(rig: &mut Rig, sector: u64, len: u32) -> (u8, Vec<u8>) {
    let data = rig.driver.writable(len);
    let status = ask(rig, VIRTIO_BLK_T_IN, sector, &[data]);
    (status, rig.driver.bytes(data))
}

/// A discard's or write-zeroes' ranges: first sector, sectors, flags.
fn ranges(rig: &mut Rig, ranges: &[(u64, u32, u32)]) -> Buffer {
    let bytes = ranges.iter().flat_map(|(sector, sectors, flags)| {
        [&sector.to_le_bytes()[..], &sectors.to_le_bytes(), &flags.to_le_bytes()].concat()
    });
    let bytes: Vec<u8> = bytes.collect();
    rig.driver.readable(&bytes)
}

fn on_each(disk: impl Fn() -> Arc<MemoryDisk>, test: impl Fn(&mut Rig, &MemoryDisk)) {
    for kind in TransportKind::ALL {
        eprintln!("on {kind:?}:");
        let disk = disk();
        test(&mut started(kind, disk.clone()), &disk);
    }
}

#[test]
fn what_is_written_is_in_the_file_and_reads_back() {
    for kind in TransportKind::ALL {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.img");
        fs::write(&path, vec![0; 1 << 20]).unwrap();
        let disk = Arc::new(FileDisk::open(&path, false, PortableHost).unwrap());
        let mut rig = started(kind, disk);
        rig.driver.queue(0).style = Style::Indirect;
        let written = pattern(128 << 10);
        let halves = [rig.driver.readable(&written[..1000]), rig.driver.readable(&written[1000..])];
        assert_eq!(ask(&mut rig, VIRTIO_BLK_T_OUT, 8, &halves), 0);
        assert_eq!(ask(&mut rig, VIRTIO_BLK_T_FLUSH, 0, &[]), 0);
        let on_disk = fs::read(&path).unwrap();
        assert!(on_disk[4096..4096 + written.len()] == written);
        assert!(on_disk[..4096].iter().chain(&on_disk[4096 + written.len()..]).all(|byte| *byte == 0));
        let (status, back) = read(&mut rig, 8, 128 << 10);
        assert!(status == 0 && back == written);
    }
}

#[test]
fn the_configuration_says_what_the_disk_is() {
    on_each(
        || memory_disk(64 << 10),
        |rig, _| {
            let mut config = [0xff; 64];
            rig.driver.registers().read_config(0, &mut config);
            let word = |at: usize| u32::from_le_bytes(config[at..at + 4].try_into().unwrap());
            assert_eq!((word(0), word(4)), (128, 0), "capacity in sectors");
            assert_eq!((word(12), word(20)), (254, 512), "seg_max, blk_size");
            assert_eq!(word(32) >> 16, 2, "num_queues");
            assert_eq!(config[56], 1, "write_zeroes_may_unmap");
            assert_eq!(config[60..], [0; 4]);
            assert_eq!(rig.driver.registers().queue_max_size(1), 256);
            assert_eq!(rig.driver.registers().queue_max_size(2), 0);
        },
    );
}

#[test]
fn the_serial_number_is_padded_to_twenty_bytes() {
    on_each(
        || memory_disk(512),
        |rig, _| {
            for (len, written) in [(20, 21), (32, 20), (8, 9)] {
                let data = rig.driver.writable(len);
                let request = request(rig, VIRTIO_BLK_T_GET_ID, 0, &[data]);
                assert_eq!(rig.driver.request(0, &request), written);
                assert_eq!(rig.status_of(&request), 0);
                let mut expected = b"serial-7".to_vec();
                expected.resize(len as usize, 0);
                assert_eq!(rig.driver.bytes(data), expected);
            }
        },
    );
}

#[test]
fn a_flush_comes_after_the_writes_before_it() {
    on_each(
        || memory_disk(64 << 10),
        |rig, disk| {
            let data = rig.driver.readable(&[7; 512]);
            let write = request(rig, VIRTIO_BLK_T_OUT, 4, &[data]);
            let flush = request(rig, VIRTIO_BLK_T_FLUSH, 0, &[]);
            let write_again = request(rig, VIRTIO_BLK_T_OUT, 5, &[data]);
            for request in [&write, &flush, &write_again] {
                rig.driver.add(0, request);
            }
            rig.driver.kick(0);
            for _ in 0..3 {
                rig.driver.wait_used(0);
            }
            let done = disk.operations();
            assert_eq!(done, [Operation::Write(2048..2560), Operation::Flush, Operation::Write(2560..3072)]);
        },
    );
}

#[test]
fn a_failed_flush_is_told() {
    on_each(
        || memory_disk(512),
        |rig, disk| {
            disk.break_flush(Some(io::ErrorKind::Other));
            assert_eq!(ask(rig, VIRTIO_BLK_T_FLUSH, 0, &[]), 1);
            disk.break_flush(None);
            assert_eq!(ask(rig, VIRTIO_BLK_T_FLUSH, 0, &[]), 0);
        },
    );
}

#[test]
fn a_driver_that_cannot_flush_gets_durable_writes() {
    let disk = memory_disk(4096);
    let mut rig = Rig::new(TransportKind::Mmio, Box::new(Block::new("disk0", "", disk.clone(), 1)));
    rig.driver.start_with(!(1 << VIRTIO_BLK_F_FLUSH));
    assert_eq!(write(&mut rig, 0, &[7; 512]), 0);
    assert_eq!(disk.operations(), [Operation::Write(0..512), Operation::Flush]);
}

#[test]
fn discards_and_zeroes_reach_the_disk_and_spare_the_neighbours() {
    on_each(
        || memory_disk(64 << 10),
        |rig, disk| {
            let discard = ranges(rig, &[(8, 8, 0), (32, 1, 0)]);
            assert_eq!(ask(rig, VIRTIO_BLK_T_DISCARD, 0, &[discard]), 0);
            let zeroes = ranges(rig, &[(64, 2, 1)]);
            assert_eq!(ask(rig, VIRTIO_BLK_T_WRITE_ZEROES, 0, &[zeroes]), 0);
            let expected = [
                Operation::Discard(4096..8192),
                Operation::Discard(16384..16896),
                Operation::WriteZeroes(32768..33792, true),
            ];
            assert_eq!(disk.operations(), expected);
            let mut bytes = pattern(64 << 10);
            for range in [4096..8192, 16384..16896, 32768..33792] {
                bytes[range].fill(0);
            }
            assert!(disk.bytes() == bytes);
            let bad = ranges(rig, &[(0, 1, 1)]);
            assert_eq!(ask(rig, VIRTIO_BLK_T_DISCARD, 0, &[bad]), 2);
        },
    );
}

#[test]
fn a_full_disk_is_an_error_for_the_guest_and_for_nobody_else() {
    on_each(
        || memory_disk(64 << 10),
        |rig, disk| {
            disk.break_range(4096..4608, io::ErrorKind::StorageFull);
            assert_eq!(write(rig, 8, &[1; 512]), 1);
            assert_eq!(write(rig, 9, &[2; 512]), 0);
            assert_eq!(read(rig, 7, 1024).0, 1);
            assert!(disk.bytes()[4096..4608] == pattern(64 << 10)[4096..4608]);
            assert_eq!(disk.bytes()[4608..5120], [2; 512]);
        },
    );
}

#[test]
fn neighbours_in_a_batch_are_one_transfer_and_fail_alone() {
    on_each(
        || memory_disk(64 << 10),
        |rig, disk| {
            let run = |rig: &mut Rig| -> Vec<u8> {
                let data: Vec<_> = (1..=4).map(|byte| rig.driver.readable(&[byte; 1024])).collect();
                let requests: Vec<_> = (0..4)
                    .map(|at| request(rig, VIRTIO_BLK_T_OUT, 2 * at, &[data[usize::try_from(at).unwrap()]]))
                    .collect();
                // The worker finds all of them when it comes back.
                rig.device.pause();
                for request in &requests {
                    rig.driver.add(0, request);
                }
                rig.device.resume();
                for _ in &requests {
                    rig.driver.wait_used(0);
                }
                requests.iter().map(|request| rig.status_of(request)).collect()
            };
            assert_eq!(run(rig), [0; 4]);
            assert_eq!(disk.operations(), [Operation::Write(0..4 * KIB)]);
            disk.break_range(2 * KIB..2 * KIB + 1, io::ErrorKind::StorageFull);
            assert_eq!(run(rig), [0, 0, 1, 0]);
        },
    );
}

#[test]
fn a_read_only_disk_says_so_and_stays_as_it_is() {
    on_each(
        || Arc::new(MemoryDisk::read_only(pattern(4096))),
        |rig, disk| {
            let features = rig.driver.registers().device_features();
            assert_eq!(features >> VIRTIO_BLK_F_RO & 1, 1);
            assert_eq!(features >> VIRTIO_BLK_F_DISCARD & 0b11, 0);
            assert_eq!(write(rig, 0, &[9; 512]), 1);
            let (status, bytes) = read(rig, 0, 4096);
            assert!(status == 0 && bytes == pattern(4096));
            assert_eq!(disk.operations(), [Operation::Read(0..4096)]);
        },
    );
}

#[test]
fn each_queue_serves_its_own_requests() {
    on_each(
        || memory_disk(64 << 10),
        |rig, disk| {
            for round in 0..50 {
                let mut heads = Vec::new();
                for queue in 0..2_u8 {
                    let data = rig.driver.readable(&[round * 2 + queue; 512]);
                    let request = request(rig, VIRTIO_BLK_T_OUT, u64::from(queue), &[data]);
                    heads.push(rig.driver.add(queue.into(), &request));
                    rig.driver.kick(queue.into());
                }
                for queue in [1, 0] {
                    assert_eq!(rig.driver.wait_used(queue).head, heads[usize::from(queue)]);
                }
            }
            assert_eq!(disk.bytes()[..512], [98; 512]);
            assert_eq!(disk.bytes()[512..1024], [99; 512]);
        },
    );
}

#[test]
fn a_request_without_room_for_its_status_breaks_the_device_until_it_is_reset() {
    on_each(
        || memory_disk(4096),
        |rig, disk| {
            let header = header(rig, VIRTIO_BLK_T_FLUSH, 0);
            rig.driver.add(0, &[header]);
            rig.driver.kick(0);
            assert!(rig.driver.registers().wait_config_interrupt());
            assert!(rig.driver.status().contains(DeviceStatus::NEEDS_RESET));
            rig.driver.start_with(!0);
            assert_eq!(write(rig, 0, &[3; 512]), 0);
            assert_eq!(disk.operations(), [Operation::Write(0..512)]);
        },
    );
}

#[test]
fn requests_of_a_pause_are_done_after_it() {
    on_each(
        || memory_disk(4096),
        |rig, disk| {
            rig.device.pause();
            let data = rig.driver.readable(&[5; 512]);
            let request = request(rig, VIRTIO_BLK_T_OUT, 1, &[data]);
            rig.driver.add(0, &request);
            rig.driver.kick(0);
            assert_eq!(disk.operations(), []);
            rig.device.resume();
            rig.driver.wait_used(0);
            assert_eq!(disk.bytes()[512..1024], [5; 512]);
        },
    );
}
