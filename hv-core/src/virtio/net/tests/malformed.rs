//! Drivers that break the protocol.

use super::*;
use crate::net::MAX_FRAME;

/// The driver does what it must not: the device needs a reset, and works after it.
fn breaks(card: &mut Card) {
    assert!(card.rig.driver.registers().wait_config_interrupt());
    assert!(card.needs_reset());
    card.start(!0);
    card.check();
    assert!(!card.needs_reset());
}

#[test]
fn a_frame_without_a_header_breaks_the_device_until_it_is_reset() {
    Card::on_each_started(1, |card| {
        for len in [1, 11] {
            let short = card.rig.driver.readable(&pattern(len));
            card.send_in(TRANSMIT, &[short]);
            breaks(card);
            let writable = card.rig.driver.writable(200);
            card.send_in(TRANSMIT, &[short, writable]);
            breaks(card);
        }
        let writable = card.rig.driver.writable(200);
        card.send_in(TRANSMIT, &[writable]);
        breaks(card);
    });
}

#[test]
fn a_buffer_without_room_for_a_header_breaks_the_device_until_it_is_reset() {
    Card::on_each_started(1, |card| {
        for buffers in [[1, 10], [0, 11], [0, 0]] {
            card.give(RECEIVE, 1, &buffers);
            card.network().offer(FrameHeader::default(), &pattern(60));
            assert!(card.rig.driver.registers().wait_config_interrupt());
            card.network().script().incoming.clear();
            assert!(card.needs_reset());
            card.start(!0);
            card.check();
        }
        let readable = card.rig.driver.readable(&pattern(2000));
        card.rig.driver.add(RECEIVE, &[readable]);
        card.network().offer(FrameHeader::default(), &pattern(60));
        assert!(card.rig.driver.registers().wait_config_interrupt());
        assert!(card.needs_reset());
    });
}

#[test]
fn a_loop_breaks_the_device_until_it_is_reset() {
    Card::on_each_started(1, |card| {
        card.rig.driver.queue(TRANSMIT).write_descriptor(0, 0x1000, 20, 1, 0);
        card.rig.driver.queue(TRANSMIT).publish(0);
        card.rig.driver.kick(TRANSMIT);
        breaks(card);
    });
}

#[test]
fn the_same_buffers_over_and_over_break_the_device() {
    Card::on_each(1, |card| {
        card.rig.driver.negotiate(!0);
        (0..3).for_each(|queue| card.rig.driver.set_up_queue(queue, 4));
        card.rig.driver.start();
        card.network().offer(to_be_cut(), &pattern(60_000));
        card.rig.driver.queue(RECEIVE).write_descriptor(0, 0x1000, 20, 2, 0);
        for _ in 0..100 {
            if card.needs_reset() {
                break;
            }
            card.rig.driver.queue(RECEIVE).publish(0);
            card.rig.driver.kick(RECEIVE);
            card.rig.device.pause();
            card.rig.device.resume();
        }
        assert!(card.needs_reset() || card.handle.counts().dropped_frames > 0);
    });
}

#[test]
fn what_is_no_frame_is_lost() {
    Card::on_each_started(1, |card| {
        for len in [0, 1, 13, MAX_FRAME + 1, 200_000] {
            let header = card.rig.driver.readable(&FrameHeader::default().to_bytes(0));
            let frame = card.rig.driver.readable(&pattern(len));
            card.send_in(TRANSMIT, &[header, frame]);
            card.rig.driver.wait_used(TRANSMIT);
        }
        // What the device could write is no part of the frame.
        let whole = card.rig.driver.readable(&[&to_be_cut().to_bytes(9)[..], &pattern(20)].concat());
        let writable = card.rig.driver.writable(100);
        card.send_in(TRANSMIT, &[whole, writable]);
        assert_eq!(card.rig.driver.wait_used(TRANSMIT).written, 0);
        assert_eq!(card.network().wait_sent(1), [(to_be_cut(), pattern(20))]);
        assert_eq!(card.handle.counts().dropped_frames, 5);
        assert!(!card.needs_reset());
    });
}
