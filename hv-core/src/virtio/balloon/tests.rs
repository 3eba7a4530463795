//! Whole balloons through a driver, on each transport; what went back is read from the host's side.

use std::{ops::Range, thread};

use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::{
    testing::{DEADLINE, Rig, TransportKind, driver::Buffer},
    virtio::negotiation::Status,
};

const MIB: u64 = 1 << 20;
/// Memory of which the driver has no other use.
const FREE: u64 = 32 * MIB;
/// The granule of a rig's host, in pages.
const PAGES: u32 = 4;

const INFLATION: u16 = 0;
const DEFLATION: u16 = 1;
const STATISTICS: u16 = 2;

fn on_each(test: impl Fn(&mut Rig, &BalloonHandle)) {
    for kind in TransportKind::ALL {
        eprintln!("on {kind:?}:");
        let (balloon, handle) = Balloon::new("balloon0");
        let mut rig = Rig::new(kind, Box::new(balloon));
        rig.driver.start_with(!0);
        test(&mut rig, &handle);
    }
}

/// Page number `index` of the free memory.
fn page(index: u32) -> u32 {
    u32::try_from(FREE / PAGE).unwrap() + index
}

fn addresses(pages: Range<u32>) -> Range<u64> {
    u64::from(page(pages.start)) * PAGE..u64::from(page(pages.end)) * PAGE
}

fn send(rig: &mut Rig, queue: u16, pages: &[u32]) {
    let bytes: Vec<u8> = pages.iter().flat_map(|page| page.to_le_bytes()).collect();
    let buffer = rig.driver.readable(&bytes);
    assert_eq!(rig.driver.request(queue, &[buffer]), 0);
}

fn report(rig: &mut Rig, queue: u16, ranges: &[Range<u64>]) {
    let buffers: Vec<_> = ranges
        .iter()
        .map(|range| Buffer {
            address: range.start,
            len: u32::try_from(range.end - range.start).unwrap(),
            writable: true,
        })
        .collect();
    assert_eq!(rig.driver.request(queue, &buffers), 0);
}

fn config(rig: &Rig, offset: usize) -> u32 {
    let mut value = [0; 4];
    rig.driver.registers().read_config(offset, &mut value);
    u32::from_le_bytes(value)
}

#[test]
fn a_driver_finds_a_balloon() {
    on_each(|rig, _| {
        assert_eq!(rig.driver.registers().device_type(), 5);
        assert_eq!(rig.driver.registers().device_features() & 0xff_ffff, 0b11_0110);
        // Linux reports up to 32 ranges at once, and wants room for them.
        assert!((0..5).all(|queue| rig.driver.registers().queue_max_size(queue) == 128));
        assert_eq!(rig.driver.registers().queue_max_size(5), 0);
        let mut config = [0xff; 20];
        rig.driver.registers().read_config(0, &mut config);
        assert_eq!(config, [0; 20]);
    });
}

#[test]
fn the_guest_hears_of_a_target_and_says_what_it_gave() {
    on_each(|rig, handle| {
        for (bytes, pages) in [(10 * MIB, 2560), (MIB + 1, 256), (u64::MAX, u32::MAX), (0, 0)] {
            handle.set_target(bytes);
            assert!(rig.driver.registers().wait_config_interrupt());
            assert_eq!((config(rig, 0), handle.target()), (pages, u64::from(pages) * PAGE));
        }
        rig.driver.registers().write_config(4, &77_u32.to_le_bytes());
        assert_eq!((config(rig, 4), handle.actual()), (77, 77 * PAGE));
        // The target is the host's, and there is nothing behind the end.
        rig.driver.registers().write_config(0, &1_u32.to_le_bytes());
        rig.driver.registers().write_config(8, &1_u32.to_le_bytes());
        rig.driver.registers().write_config(16, &1_u32.to_le_bytes());
        assert_eq!([0, 4, 8, 12, 16].map(|offset| config(rig, offset)), [0, 77, 0, 0, 0]);
    });
}

#[test]
fn a_wish_from_before_the_driver_and_over_a_reset_is_told() {
    for kind in TransportKind::ALL {
        let (balloon, handle) = Balloon::new("balloon0");
        let mut rig = Rig::new(kind, Box::new(balloon));
        handle.set_target(MIB);
        rig.driver.start_with(!0);
        assert!(rig.driver.registers().wait_config_interrupt());
        rig.driver.registers().write_config(4, &256_u32.to_le_bytes());
        assert_eq!(handle.actual(), MIB);
        rig.device.reset();
        rig.device.resume();
        assert_eq!(handle.actual(), 0, "the guest has its pages again");
        rig.reconnect();
        rig.driver.start_with(!0);
        assert!(rig.driver.registers().wait_config_interrupt());
        assert_eq!(config(&rig, 0), 256);
    }
}

#[test]
fn pages_go_to_the_host_when_its_granule_is_whole() {
    on_each(|rig, handle| {
        rig.ram.write_slice(&[0x55; 1 << 16], GuestAddress(FREE)).unwrap();
        send(rig, INFLATION, &[page(2), page(0), page(7), page(1)]);
        assert_eq!(rig.reclaimer.take(), []);
        send(rig, INFLATION, &[page(3)]);
        assert_eq!(rig.reclaimer.take(), [addresses(0..PAGES)]);
        assert_eq!(handle.reclaimed(), 16 << 10);
        // Neighbours in one call.
        send(rig, INFLATION, &[page(6), page(5), page(11), page(4), page(10), page(9), page(8)]);
        assert_eq!(rig.reclaimer.take(), [addresses(4..12)]);
        let bytes = |offset: u64| rig.ram.read_obj::<u8>(GuestAddress(FREE + offset)).unwrap();
        assert_eq!((bytes(0), bytes(12 * PAGE - 1), bytes(12 * PAGE)), (0, 0, 0x55));
        // A page that went out and comes in again brings its granule.
        send(rig, DEFLATION, &[page(1), page(2)]);
        send(rig, INFLATION, &[page(1)]);
        assert_eq!(rig.reclaimer.take(), []);
        send(rig, INFLATION, &[page(2)]);
        assert_eq!(rig.reclaimer.take(), [addresses(0..PAGES)]);
    });
}

#[test]
fn pages_that_are_none_are_left_alone() {
    on_each(|rig, _| {
        // Behind RAM, in the hole, at the end of what can be said; and half a number.
        let end = u32::try_from(64 * MIB / PAGE).unwrap();
        send(rig, INFLATION, &[end, end + 1, end + 2, end + 3, u32::MAX, page(0), page(1), page(2), page(3)]);
        assert_eq!(rig.reclaimer.take(), [addresses(0..PAGES)]);
        send(rig, DEFLATION, &[end, u32::MAX]);
        for bytes in [&[][..], &[1], &[1, 2, 3, 4, 5]] {
            let buffers = [rig.driver.readable(bytes), rig.driver.writable(7)];
            assert_eq!(rig.driver.request(INFLATION, &buffers), 0);
        }
        // What is beyond the most that a request may have is not looked at, nor does it hurt.
        let many: Vec<u32> = (0..5000).map(page).collect();
        send(rig, INFLATION, &many);
        assert_eq!(rig.reclaimer.take(), [addresses(0..4096)]);
        assert!(!rig.driver.status().contains(Status::NEEDS_RESET));
    });
}

#[test]
fn free_pages_go_to_the_host_whichever_queue_the_driver_takes_for_reports() {
    on_each(|rig, handle| {
        for queue in [4, 3] {
            let before = handle.reclaimed();
            rig.ram.write_slice(&[0x55; 1 << 16], GuestAddress(FREE)).unwrap();
            // Out of order, touching, in part of a granule only; and one in the other region.
            let ranges = [
                FREE + 8 * PAGE..FREE + 10 * PAGE,
                FREE + 100..FREE + 2 * PAGE,
                FREE + 2 * PAGE..FREE + 8 * PAGE,
                4096 * MIB..4097 * MIB,
            ];
            report(rig, queue, &ranges);
            assert_eq!(rig.reclaimer.take(), [addresses(4..8), 4096 * MIB..4097 * MIB]);
            assert_eq!(handle.reclaimed() - before, MIB + (16 << 10));
            let bytes = |offset: u64| rig.ram.read_obj::<u8>(GuestAddress(FREE + offset)).unwrap();
            assert_eq!([4 * PAGE - 1, 4 * PAGE, 8 * PAGE - 1, 8 * PAGE].map(bytes), [0x55, 0, 0, 0x55]);
        }
    });
}

#[test]
fn a_driver_without_statistics_may_report_on_their_queue() {
    for kind in TransportKind::ALL {
        let mut rig = Rig::new(kind, Box::new(Balloon::new("balloon0").0));
        rig.driver.negotiate(1 << F_REPORTING);
        (0..3).for_each(|queue| rig.driver.set_up_queue(queue, 128));
        rig.driver.start();
        report(&mut rig, 2, std::slice::from_ref(&(FREE..FREE + MIB)));
        assert_eq!(rig.reclaimer.take(), std::slice::from_ref(&(FREE..FREE + MIB)));
    }
}

#[test]
fn reports_are_answered_though_nothing_can_be_given_back() {
    on_each(|rig, handle| {
        rig.reclaimer.refuse(true);
        report(rig, 4, &[FREE..FREE + MIB, 4096 * MIB..4097 * MIB]);
        rig.reclaimer.refuse(false);
        // Free pages that must keep what the guest filled them with.
        rig.driver.registers().write_config(12, &0xaaaa_aaaa_u32.to_le_bytes());
        report(rig, 4, std::slice::from_ref(&(FREE..FREE + MIB)));
        assert_eq!((rig.reclaimer.take(), handle.reclaimed()), (vec![], 0));
        rig.driver.registers().write_config(12, &[0; 4]);
        report(rig, 4, std::slice::from_ref(&(FREE..FREE + MIB)));
        assert_eq!(handle.reclaimed(), MIB);
    });
}

#[test]
fn many_reports_are_served_turn_by_turn() {
    on_each(|rig, handle| {
        let range = Buffer { address: FREE, len: 16 << 20, writable: true };
        for _ in 0..2 {
            let heads: Vec<_> = (0..100).map(|_| rig.driver.add(4, &[range])).collect();
            rig.driver.kick(4);
            for head in heads {
                assert_eq!(rig.driver.wait_used(4).head, head);
            }
        }
        assert_eq!(handle.reclaimed(), 200 * 16 * MIB);
    });
}

#[test]
fn a_paused_balloon_gives_nothing_back() {
    on_each(|rig, _| {
        rig.device.pause();
        let range = Buffer { address: FREE, len: 1 << 20, writable: true };
        rig.driver.add(4, &[range]);
        assert_eq!(rig.reclaimer.take(), []);
        rig.device.resume();
        rig.driver.wait_used(4);
        assert_eq!(rig.reclaimer.take(), std::slice::from_ref(&(FREE..FREE + MIB)));
    });
}

fn entry(tag: u16, value: u64) -> Vec<u8> {
    [&tag.to_le_bytes()[..], &value.to_le_bytes()].concat()
}

#[test]
fn statistics_come_when_they_are_asked_for() {
    on_each(|rig, handle| {
        assert_eq!(handle.statistics(Duration::ZERO), None, "the driver has said nothing");
        let first = rig.driver.readable(&[entry(4, 1000), entry(5, 5000), entry(77, 1)].concat());
        let head = rig.driver.add(STATISTICS, &[first]);
        rig.driver.kick(STATISTICS);
        // The question from above is answered at once.
        assert_eq!(rig.driver.wait_used(STATISTICS).head, head);
        let expected = Statistics { free: Some(1000), total: Some(5000), ..Statistics::default() };
        assert_eq!(handle.statistics(Duration::ZERO), Some(expected));
        let told = thread::scope(|scope| {
            let asks = scope.spawn(|| handle.statistics(DEADLINE));
            let second = rig.driver.readable(&[entry(6, 700), entry(9, 2), vec![4, 0, 1]].concat());
            rig.driver.add(STATISTICS, &[second]);
            rig.driver.kick(STATISTICS);
            while !asks.is_finished() {
                if rig.driver.queue(STATISTICS).take_used().is_some() {
                    rig.driver.add(STATISTICS, &[second]);
                    rig.driver.kick(STATISTICS);
                }
                thread::yield_now();
            }
            asks.join().unwrap()
        });
        let expected =
            Statistics { available: Some(700), huge_pages_missed: Some(2), ..Statistics::default() };
        assert_eq!(told, Some(expected));
        rig.driver.reset();
        assert_eq!(handle.statistics(DEADLINE), None, "nobody is there to be waited for");
    });
}

#[test]
fn a_second_buffer_for_statistics_gives_the_first_back() {
    on_each(|rig, handle| {
        let (one, two) = (rig.driver.readable(&entry(0, 1)), rig.driver.readable(&entry(0, 2)));
        let head = rig.driver.add(STATISTICS, &[one]);
        rig.driver.add(STATISTICS, &[two]);
        rig.driver.kick(STATISTICS);
        assert_eq!(rig.driver.wait_used(STATISTICS).head, head);
        assert_eq!(handle.statistics(Duration::ZERO).unwrap().swap_in, Some(2));
    });
}
