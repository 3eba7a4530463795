//! The entropy device as its driver sees it.

use std::io::Read;

use super::*;
use crate::{
    testing::Rig,
    virtio::negotiation::{Status, TRANSPORT_FEATURES},
};

/// Bytes 1, 2, 3, …: what a test expects to find in RAM.
struct Counter(u8);

impl Read for Counter {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        buffer.fill_with(|| {
            self.0 = self.0.wrapping_add(1);
            self.0
        });
        Ok(buffer.len())
    }
}

fn entropy() -> Entropy {
    Entropy::new("entropy0", Box::new(Counter(0)))
}

#[test]
fn bytes_of_the_source_arrive_in_order() {
    Rig::on_each(entropy, |mut rig| {
        assert_eq!(rig.driver.registers().device_type(), 4);
        rig.driver.start_with(0);
        let (one, two) = (rig.driver.writable(3), rig.driver.writable(2));
        assert_eq!(rig.driver.request(0, &[one, two]), 5);
        assert_eq!(rig.driver.bytes(one), [1, 2, 3]);
        assert_eq!(rig.driver.bytes(two), [4, 5]);
        let three = rig.driver.writable(1);
        assert_eq!(rig.driver.request(0, &[three]), 1);
        assert_eq!(rig.driver.bytes(three), [6]);
    });
}

#[test]
fn a_large_request_is_filled_in_part() {
    Rig::on_each(entropy, |mut rig| {
        rig.driver.start_with(0);
        let buffer = rig.driver.writable(1 << 20);
        assert_eq!(rig.driver.request(0, &[buffer]), 4096);
        let bytes = rig.driver.bytes(buffer);
        assert_eq!(bytes[..4], [1, 2, 3, 4]);
        assert!(bytes[4096..].iter().all(|byte| *byte == 0));
    });
}

#[test]
fn ten_thousand_requests_pass_every_wrap_around() {
    Rig::on_each(entropy, |mut rig| {
        for features in [0, TRANSPORT_FEATURES] {
            rig.driver.negotiate_exactly(features | 1 << 32);
            rig.driver.set_up_queue(0, 8);
            rig.driver.start();
            let buffer = rig.driver.writable(1);
            for _ in 0..10_000 {
                for _ in 0..3 {
                    rig.driver.add(0, &[buffer]);
                }
                rig.driver.kick(0);
                for _ in 0..3 {
                    assert_eq!(rig.driver.wait_used(0).written, 1);
                }
            }
        }
    });
}

#[test]
fn a_request_without_room_breaks_the_device_until_it_is_reset() {
    Rig::on_each(entropy, |mut rig| {
        rig.driver.start_with(0);
        let buffer = rig.driver.readable(b"no room");
        rig.driver.add(0, &[buffer]);
        rig.driver.kick(0);
        assert!(rig.driver.registers().wait_config_interrupt());
        assert!(rig.driver.status().contains(Status::NEEDS_RESET | Status::DRIVER_OK));
        rig.driver.start_with(0);
        let buffer = rig.driver.writable(2);
        assert_eq!(rig.driver.request(0, &[buffer]), 2);
    });
}

#[test]
fn a_source_that_fails_breaks_the_device() {
    Rig::on_each(
        || Entropy::new("entropy0", Box::new(io::empty())),
        |mut rig| {
            rig.driver.start_with(0);
            let buffer = rig.driver.writable(2);
            rig.driver.add(0, &[buffer]);
            rig.driver.kick(0);
            assert!(rig.driver.registers().wait_config_interrupt());
            assert!(rig.driver.status().contains(Status::NEEDS_RESET));
        },
    );
}
