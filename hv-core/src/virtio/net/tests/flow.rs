//! Who holds up whom: room at the backend, buffers of the driver, tokens, times.

use std::{
    num::NonZeroU64,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    time::{Duration, Instant},
};

use super::*;
use crate::io::{Rate, RateLimits};

fn sent(network: &SoftNetwork) -> usize {
    network.script().sent.len()
}

#[test]
fn a_backend_without_room_holds_up_the_guest_and_loses_nothing() {
    Card::on_each_started(1, |card| {
        card.network().script().room = 3;
        for len in 20..30 {
            card.send(TRANSMIT, FrameHeader::default(), &pattern(len));
        }
        card.wait_sent(3);
        card.settle();
        assert_eq!(sent(card.network()), 3);
        assert_eq!(card.rig.driver.queue(TRANSMIT).take_used(), None);
        // The frame was offered once, and a doorbell does not have it offered again.
        assert_eq!(card.network().script().offers, 4);
        card.rig.driver.registers().notify(TRANSMIT);
        card.settle();
        assert_eq!(card.network().script().offers, 4);
        card.network().change(|script| script.room = 1);
        card.rig.driver.wait_used(TRANSMIT);
        card.settle();
        assert_eq!(sent(card.network()), 4);
        card.network().change(|script| script.room = usize::MAX);
        card.wait_sent(6);
        let lens: Vec<_> = card.network().wait_sent(10).iter().map(|(_, frame)| frame.len()).collect();
        assert_eq!(lens, Vec::from_iter(20..30));
        assert_eq!(card.handle.counts().dropped_frames, 0);
        card.check();
    });
}

#[test]
fn frames_wait_for_buffers_at_the_backend() {
    Card::on_each_started(1, |card| {
        for len in 20..30 {
            card.network().offer(FrameHeader::default(), &pattern(len));
        }
        card.settle();
        assert_eq!(card.network().script().incoming.len(), 10);
        for len in 20..30 {
            card.give(RECEIVE, 1, &[PLAIN_ROOM]);
            assert_eq!(card.receive(RECEIVE).0.1, pattern(len));
        }
        // A frame over several chains waits for the last of them.
        card.give(RECEIVE, 199, &[PLAIN_ROOM]);
        for _ in 0..4 {
            card.network().offer(to_be_cut(), &pattern(61_028));
            assert_eq!(card.receive(RECEIVE).1, 40);
        }
        card.network().offer(to_be_cut(), &pattern(61_028));
        card.settle();
        assert_eq!(card.rig.driver.queue(RECEIVE).take_used(), None);
        card.give(RECEIVE, 1, &[PLAIN_ROOM]);
        assert_eq!(card.receive(RECEIVE), ((to_be_cut(), pattern(61_028)), 40));
        assert_eq!(card.handle.counts().dropped_frames, 0);
    });
}

#[test]
fn many_frames_pass_in_order_both_ways_at_once() {
    Card::on_each_started(1, |card| {
        let header = FrameHeader::default();
        for round in 0..20 {
            card.give(RECEIVE, 60, &[PLAIN_ROOM]);
            for number in 0..60 {
                card.network().script().incoming.push_back((header, pattern(100 + round + number)));
                card.send(TRANSMIT, header, &pattern(200 + round + number));
            }
            card.network().ring();
            for number in 0..60 {
                assert_eq!(card.receive(RECEIVE).0.1, pattern(100 + round + number));
                card.rig.driver.wait_used(TRANSMIT);
            }
            let sent = card.network().wait_sent(60);
            assert!(sent.iter().map(|(_, frame)| frame.len()).eq(200 + round..260 + round));
        }
    });
}

#[test]
fn a_backend_is_woken_at_its_time() {
    Card::on_each_started(1, |card| {
        card.network().wait(|script| script.starts == 1);
        card.network().change(|script| {
            script.deadline = Some(Instant::now() + Duration::from_millis(1));
        });
        card.network().wait(|script| script.alarms == 1 && script.deadline.is_none());
        card.settle();
        assert_eq!(card.network().script().alarms, 1);
    });
}

/// A card whose limits go by a clock that the test turns: milliseconds.
fn on_each_limited(bytes: u64, burst: u64, test: impl Fn(&mut Card, &dyn Fn(&mut Card, u64))) {
    for kind in TransportKind::ALL {
        eprintln!("on {kind:?}:");
        let clock = Arc::new(AtomicU64::new(0));
        let rate = Rate { per_second: NonZeroU64::new(bytes).unwrap(), burst };
        let network = SoftNetwork::new(Offloads::all(), Offloads::all());
        let mut card = Card::new(kind, vec![network], |net| {
            let time = Arc::clone(&clock);
            let limits = RateLimits { bytes: Some(rate), operations: None };
            let time = Box::new(move || Duration::from_millis(time.load(SeqCst)));
            net.with_limiter(RateLimiter::with_clock(limits, time))
        });
        card.start(!0);
        test(&mut card, &|card, time| {
            clock.store(time, SeqCst);
            card.settle();
        });
    }
}

#[test]
fn a_limited_card_passes_what_its_tokens_allow_and_no_more() {
    on_each_limited(1000, 2000, |card, turn_to| {
        for _ in 0..6 {
            card.send(TRANSMIT, FrameHeader::default(), &pattern(500));
        }
        turn_to(card, 0);
        assert_eq!(sent(card.network()), 4, "the burst");
        for (time, expected) in [(499, 4), (500, 5), (999, 5), (1000, 6)] {
            turn_to(card, time);
            assert_eq!(sent(card.network()), expected, "at {time} ms");
        }
        card.wait_sent(6);
        // What the guest receives counts as well: a frame passes, and then the debt is to be paid.
        card.give(RECEIVE, 3, &[PLAIN_ROOM]);
        for _ in 0..3 {
            card.network().offer(FrameHeader::default(), &pattern(500));
        }
        turn_to(card, 1000);
        assert_eq!(card.handle.counts().received_frames, 1);
        for (time, expected) in [(1499, 1), (1500, 2), (1999, 2), (2000, 3)] {
            turn_to(card, time);
            assert_eq!(card.handle.counts().received_frames, expected, "at {time} ms");
        }
        assert_eq!(card.handle.counts().dropped_frames, 0);
    });
}

#[test]
fn the_next_driver_does_not_pay_for_the_last_one() {
    on_each_limited(1000, 1000, |card, turn_to| {
        for _ in 0..2 {
            card.send(TRANSMIT, FrameHeader::default(), &pattern(60_000));
        }
        turn_to(card, 0);
        assert_eq!(sent(card.network()), 0);
        card.start(!0);
        card.send(TRANSMIT, FrameHeader::default(), &pattern(100));
        turn_to(card, 100);
        assert_eq!(sent(card.network()), 1);
    });
}
