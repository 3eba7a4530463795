//! The link, resets, pauses, and hosts that fail.

use super::*;

#[test]
fn the_driver_is_told_of_the_link() {
    Card::on_each_started(2, |card| {
        assert_eq!(card.status(), 1);
        card.networks[1].change(|script| script.is_up = false);
        card.settle();
        assert_eq!(card.status(), 1, "nothing runs there");
        card.network().change(|script| script.is_up = false);
        assert!(card.rig.driver.registers().wait_config_interrupt());
        assert_eq!(card.status(), 0);
        card.handle.set_link(false);
        card.network().change(|script| script.is_up = true);
        card.settle();
        assert_eq!(card.status(), 0);
        card.handle.set_link(true);
        assert!(card.rig.driver.registers().wait_config_interrupt());
        assert_eq!(card.status(), 1);
        card.check();
    });
}

#[test]
fn nothing_passes_a_cable_that_is_pulled() {
    Card::on_each_started(1, |card| {
        card.check();
        let before = card.handle.counts();
        card.handle.set_link(false);
        assert!(card.rig.driver.registers().wait_config_interrupt());
        card.send(TRANSMIT, FrameHeader::default(), &pattern(60));
        card.rig.driver.wait_used(TRANSMIT);
        card.give(RECEIVE, 1, &[PLAIN_ROOM]);
        card.network().offer(FrameHeader::default(), &pattern(99));
        card.settle();
        assert_eq!(card.handle.counts(), Counts { dropped_frames: 1, ..before });
        card.handle.set_link(true);
        assert_eq!(card.receive(RECEIVE).0.1, pattern(99));
        assert_eq!(card.network().script().sent, []);
        card.check();
    });
}

#[test]
fn a_link_that_changes_before_the_driver_is_ready_is_told() {
    Card::on_each(1, |card| {
        card.rig.driver.negotiate(!0);
        assert_eq!(card.status(), 1);
        card.handle.set_link(false);
        (0..3).for_each(|queue| card.rig.driver.set_up_queue(queue, 64));
        card.rig.driver.start();
        assert!(card.rig.driver.registers().wait_config_interrupt());
        assert_eq!(card.status(), 0);
        card.handle.set_link(true);
        assert!(card.rig.driver.registers().wait_config_interrupt());
        assert_eq!(card.status(), 1);
    });
}

#[test]
fn a_reset_in_the_middle_leaves_the_backend_for_the_next_driver() {
    Card::on_each_started(1, |card| {
        for round in 1..4 {
            card.network().change(|script| script.room = 1);
            card.give(RECEIVE, 2, &[PLAIN_ROOM]);
            for _ in 0..5 {
                card.send(TRANSMIT, FrameHeader::default(), &pattern(60));
                card.network().offer(to_be_cut(), &pattern(1000));
            }
            card.network().wait(|script| script.room == 0 && script.incoming.len() == 3);
            if round == 2 {
                card.rig.device.reset();
                card.rig.reconnect();
            } else {
                card.rig.driver.reset();
            }
            assert_eq!(card.network().script().stops, round);
            assert_eq!(card.network().script().incoming.len(), 3, "it keeps them, if it likes");
            card.network().change(|script| {
                script.room = usize::MAX;
                script.incoming.clear();
            });
            card.start(!0);
            card.check();
            assert_eq!(card.network().script().starts, round + 1);
        }
    });
}

#[test]
fn a_pause_keeps_all_that_waits() {
    Card::on_each_started(1, |card| {
        card.network().script().room = 0;
        card.send(TRANSMIT, FrameHeader::default(), &pattern(60));
        card.network().wait(|script| script.offers == 1);
        card.rig.device.pause();
        card.send(TRANSMIT, FrameHeader::default(), &pattern(61));
        card.give(RECEIVE, 1, &[PLAIN_ROOM]);
        card.network().change(|script| script.room = 10);
        card.network().offer(FrameHeader::default(), &pattern(62));
        assert_eq!(card.network().script().sent, []);
        card.rig.device.resume();
        let lens: Vec<_> = card.network().wait_sent(2).iter().map(|(_, frame)| frame.len()).collect();
        assert_eq!(lens, [60, 61]);
        assert_eq!(card.receive(RECEIVE).0.1, pattern(62));
        assert_eq!(card.network().script().starts, 1);
    });
}

#[test]
fn what_the_host_fails_to_do_costs_a_frame_and_no_more() {
    Card::on_each_started(1, |card| {
        card.network().wait(|script| script.starts == 1);
        card.network().script().failures = 2;
        for len in 60..65 {
            card.send(TRANSMIT, FrameHeader::default(), &pattern(len));
            card.rig.driver.wait_used(TRANSMIT);
        }
        let lens: Vec<_> = card.network().wait_sent(3).iter().map(|(_, frame)| frame.len()).collect();
        assert_eq!(lens, [62, 63, 64]);
        assert_eq!(card.handle.counts().dropped_frames, 2);
        card.give(RECEIVE, 1, &[PLAIN_ROOM]);
        card.network().change(|script| {
            script.failures = 1;
            script.incoming.push_back((FrameHeader::default(), pattern(66)));
        });
        card.network().wait(|script| script.failures == 0);
        card.network().ring();
        assert_eq!(card.receive(RECEIVE).0.1, pattern(66));
    });
}

#[test]
fn a_backend_that_does_not_start_breaks_the_card_until_the_next_driver() {
    Card::on_each(1, |card| {
        card.network().script().failures = 1;
        card.start(!0);
        assert!(card.rig.driver.registers().wait_config_interrupt());
        assert!(card.needs_reset());
        card.start(!0);
        card.check();
        assert!(!card.needs_reset());
        let script = card.network().script();
        assert_eq!((script.starts, script.stops), (1, 0));
        drop(script);
    });
}

#[test]
fn a_card_without_a_backend_does_not_work_and_says_so() {
    for kind in TransportKind::ALL {
        let mut card = Card::new(kind, Vec::new(), |net| net);
        assert_eq!(card.status(), 0);
        card.start(!0);
        assert!(card.needs_reset());
    }
}
