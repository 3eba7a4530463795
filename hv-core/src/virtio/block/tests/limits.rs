//! Disks that are kept to so many bytes and operations, by a clock that the test turns.

use std::{
    num::NonZeroU64,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    time::Duration,
};

use super::*;
use crate::io::{Rate, RateLimits};

/// A disk whose limits go by a clock that the test turns: milliseconds.
struct Limited {
    rig: Rig,
    disk: Arc<MemoryDisk>,
    clock: Arc<AtomicU64>,
    next: u64,
}

impl Limited {
    fn on_each(limits: RateLimits, test: impl Fn(&mut Self)) {
        for kind in TransportKind::ALL {
            eprintln!("on {kind:?}:");
            let (disk, clock) = (memory_disk(64 << 10), Arc::new(AtomicU64::new(0)));
            let time = clock.clone();
            let limiter =
                RateLimiter::with_clock(limits, Box::new(move || Duration::from_millis(time.load(SeqCst))));
            let block = Block::new("disk0", "", disk.clone(), 2).limited(Arc::new(limiter));
            let mut rig = Rig::new(kind, Box::new(block));
            rig.driver.start_with(!0);
            test(&mut Self { rig, disk, clock, next: 0 });
        }
    }

    /// Makes a write of `sectors` available on `queue`.
    fn write(&mut self, queue: u16, sectors: u64) {
        let data = self.rig.driver.readable(&vec![7; usize::try_from(sectors * 512).unwrap()]);
        let request = request(&mut self.rig, VIRTIO_BLK_T_OUT, self.next, &[data]);
        self.rig.driver.add(queue, &request);
        self.rig.driver.kick(queue);
        self.next += sectors;
    }

    /// Turns the clock. A wait is as long as the clock says, which here is for ever: the doorbell has the worker look.
    fn turn_to(&mut self, time: u64) {
        self.clock.store(time, SeqCst);
        (0..2).for_each(|queue| self.rig.driver.registers().notify(queue));
    }

    /// Bytes written so far, once the workers have nothing to do.
    fn written(&mut self) -> u64 {
        // A pause is over when the workers have finished what they may do, and a start has them look.
        self.rig.device.pause();
        self.rig.device.resume();
        self.rig.device.pause();
        self.rig.device.resume();
        let bytes = self.disk.operations().into_iter().map(|operation| match operation {
            Operation::Write(range) => range.end - range.start,
            _ => 0,
        });
        bytes.sum()
    }
}

fn limits(bytes: Option<(u64, u64)>, operations: Option<(u64, u64)>) -> RateLimits {
    let rate = |(per_second, burst)| Rate { per_second: NonZeroU64::new(per_second).unwrap(), burst };
    RateLimits { bytes: bytes.map(rate), operations: operations.map(rate) }
}

#[test]
fn a_limited_disk_does_what_its_tokens_allow_and_no_more() {
    Limited::on_each(limits(Some((1024, 2048)), None), |limited| {
        for _ in 0..10 {
            limited.write(0, 1);
        }
        assert_eq!(limited.written(), 2048, "the burst");
        for (time, expected) in [(499, 2048), (500, 2560), (1999, 3584), (2000, 4096), (9000, 5120)] {
            limited.turn_to(time);
            assert_eq!(limited.written(), expected, "at {time} ms");
        }
        for _ in 0..10 {
            limited.rig.driver.wait_used(0);
        }
        // A request that is larger than the burst passes when all of it is paid for.
        limited.write(0, 8);
        assert_eq!(limited.written(), 5120);
        limited.turn_to(11_499);
        assert_eq!(limited.written(), 5120);
        limited.turn_to(11_500);
        assert_eq!(limited.written(), 9216);
    });
}

#[test]
fn the_queues_of_a_disk_share_its_limit_in_the_order_of_their_requests() {
    Limited::on_each(limits(None, Some((10, 1))), |limited| {
        limited.write(0, 1);
        limited.rig.driver.wait_used(0);
        limited.write(0, 8);
        assert_eq!(limited.written(), 512);
        limited.write(1, 1);
        assert_eq!(limited.written(), 512);
        limited.turn_to(100);
        limited.rig.driver.wait_used(0);
        assert_eq!(limited.written(), 512 + 4096);
        limited.turn_to(200);
        limited.rig.driver.wait_used(1);
    });
}

#[test]
fn a_flush_is_free_and_keeps_its_turn() {
    Limited::on_each(limits(None, Some((1, 1))), |limited| {
        limited.write(0, 1);
        limited.rig.driver.wait_used(0);
        for _ in 0..5 {
            assert_eq!(ask(&mut limited.rig, VIRTIO_BLK_T_FLUSH, 0, &[]), 0);
        }
        limited.write(0, 1);
        let flush = request(&mut limited.rig, VIRTIO_BLK_T_FLUSH, 0, &[]);
        limited.rig.driver.add(0, &flush);
        limited.rig.driver.kick(0);
        assert_eq!(limited.written(), 512);
        let flushes = |disk: &MemoryDisk| {
            disk.operations().iter().filter(|operation| **operation == Operation::Flush).count()
        };
        assert_eq!(flushes(&limited.disk), 5, "what it is to make durable is not written yet");
        limited.turn_to(1000);
        limited.rig.driver.wait_used(0);
        limited.rig.driver.wait_used(0);
        assert_eq!((limited.written(), flushes(&limited.disk)), (1024, 6));
    });
}

#[test]
fn a_pause_keeps_what_waits_and_a_reset_forgets_it() {
    Limited::on_each(limits(Some((512, 512)), None), |limited| {
        limited.write(0, 1);
        limited.write(0, 100);
        limited.rig.driver.wait_used(0);
        assert_eq!(limited.written(), 512);
        limited.rig.device.pause();
        limited.clock.store(99_999, SeqCst);
        limited.rig.device.resume();
        assert_eq!(limited.written(), 512);
        limited.turn_to(100_000);
        limited.rig.driver.wait_used(0);
        assert_eq!(limited.written(), 512 + 51_200);
        limited.write(0, 20);
        assert_eq!(limited.written(), 512 + 51_200);
        // It waits for twenty seconds, of which the next driver knows nothing: its first write waits for one.
        limited.rig.driver.start_with(!0);
        limited.write(0, 1);
        limited.turn_to(101_000);
        limited.rig.driver.wait_used(0);
    });
}
