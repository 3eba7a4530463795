//! The order of negotiation, and what a driver gets by breaking it.

use super::*;
use crate::testing::ram;

const OFFERED: u64 = 1 << 9;
const VERSION_1: u64 = 1 << 32;

fn negotiation() -> Negotiation {
    Negotiation::new(OFFERED, &[256, 8])
}

fn accept(negotiation: &mut Negotiation, features: u64) {
    for select in 0..2 {
        negotiation.driver_feature_select = select;
        negotiation.accept_features(half(features, select));
    }
}

/// Stores each status and says where that ends.
fn statuses(negotiation: &mut Negotiation, values: &[u8]) -> u8 {
    for value in values {
        negotiation.set_status(*value);
    }
    negotiation.status().bits()
}

#[test]
fn a_driver_that_follows_the_order_gets_through() {
    let mut it = negotiation();
    assert_eq!(statuses(&mut it, &[1, 3]), 3);
    accept(&mut it, OFFERED | VERSION_1);
    assert_eq!(statuses(&mut it, &[11]), 11);
    assert_eq!(it.set_status(15), Transition::Activate);
    assert_eq!(it.set_status(15), Transition::None, "a device is started once");
    assert_eq!(it.features(), OFFERED | VERSION_1);
    assert_eq!(it.set_status(0), Transition::Reset);
    it.reset();
    assert_eq!((it.status(), it.features()), (Status::empty(), 0));
}

#[test]
fn status_bits_out_of_turn_stay_clear() {
    for (values, end) in [
        (&[2][..], 0),
        (&[4], 0),
        (&[8], 0),
        (&[1, 5], 1),
        (&[1, 9], 1),
        (&[1, 3, 7], 3),
        (&[1, 3, 1], 3),
        (&[1, 3, 3 | 128, 15], 3 | 8 | 128),
        (&[0x30], 0),
        (&[64], 0),
        (&[128], 128),
    ] {
        let mut it = negotiation();
        accept(&mut it, VERSION_1);
        assert_eq!(statuses(&mut it, values), end, "{values:?}");
    }
}

#[test]
fn features_are_acceptable_if_offered_and_modern() {
    for (features, acceptable) in [
        (VERSION_1, true),
        (VERSION_1 | OFFERED | TRANSPORT_FEATURES, true),
        (0, false),
        (OFFERED, false),
        (VERSION_1 | 1, false),
        (VERSION_1 | 1 << 34, false),
        (!0, false),
    ] {
        let mut it = negotiation();
        it.set_status(3);
        accept(&mut it, features);
        assert_eq!(statuses(&mut it, &[11]), if acceptable { 11 } else { 3 }, "{features:#x}");
        assert_eq!(it.set_status(15) == Transition::Activate, acceptable);
    }
}

#[test]
fn features_are_shown_in_halves_and_fixed_once_agreed() {
    let mut it = negotiation();
    let halves = [0, 1, 2, u32::MAX].map(|select| {
        it.device_feature_select = select;
        it.device_features()
    });
    assert_eq!(halves, [1 << 9 | 1 << 28 | 1 << 29, 1, 0, 0]);
    accept(&mut it, VERSION_1);
    it.driver_feature_select = 7;
    it.accept_features(!0);
    statuses(&mut it, &[11]);
    accept(&mut it, OFFERED);
    assert_eq!(it.features(), VERSION_1);
}

fn place(it: &mut Negotiation, queue: u16) {
    it.queue_select = queue;
    it.set_queue_size(8);
    for (part, address) in [(Part::Descriptors, 0x1000), (Part::Available, 0x2000), (Part::Used, 0x3000)] {
        it.set_queue_address(part, false, address);
        it.set_queue_address(part, true, 0);
    }
}

#[test]
fn a_queue_is_fixed_once_enabled() {
    let ram = ram(&[(0, 0x1_0000)]);
    let mut it = negotiation();
    place(&mut it, 1);
    it.enable_queue(&ram).unwrap();
    it.set_queue_size(4);
    it.set_queue_address(Part::Used, true, 1);
    let queue = it.queue().unwrap();
    assert_eq!((queue.enabled(), queue.size(), queue.address(Part::Used)), (true, 8, 0x3000));
    let enabled: Vec<_> = it.layouts().map(|layout| layout.map(|layout| layout.index)).collect();
    assert_eq!(enabled, [None, Some(1)]);
    it.disable_queue();
    it.set_queue_size(4);
    assert_eq!(it.queue().unwrap().size(), 4);
}

#[test]
fn a_ready_device_takes_no_queue_changes() {
    let ram = ram(&[(0, 0x1_0000)]);
    let mut it = negotiation();
    accept(&mut it, VERSION_1);
    place(&mut it, 0);
    it.enable_queue(&ram).unwrap();
    place(&mut it, 1);
    statuses(&mut it, &[11, 15]);
    it.enable_queue(&ram).unwrap();
    assert!(!it.queue().unwrap().enabled());
    it.queue_select = 0;
    it.disable_queue();
    assert!(it.queue().unwrap().enabled());
}

#[test]
fn a_queue_that_is_not_valid_stays_disabled() {
    let ram = ram(&[(0, 0x1_0000)]);
    for (size, used) in [(7, 0x3000), (512, 0x3000), (0, 0x3000), (8, 0x3001), (8, 0x1_0000), (8, 0xffc0)] {
        let mut it = negotiation();
        place(&mut it, 0);
        it.set_queue_size(size);
        it.set_queue_address(Part::Used, false, used);
        assert!(it.enable_queue(&ram).is_err(), "{size} {used:#x}");
        assert!(!it.queue().unwrap().enabled());
    }
}

#[test]
fn queues_that_are_not_there_are_ignored() {
    let ram = ram(&[(0, 0x1_0000)]);
    let mut it = negotiation();
    for queue in [2, u16::MAX] {
        place(&mut it, queue);
        it.enable_queue(&ram).unwrap();
        it.disable_queue();
        assert_eq!(it.queue(), None);
    }
}
