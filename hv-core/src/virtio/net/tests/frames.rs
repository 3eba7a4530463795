//! Frames in chains of every shape.

use super::*;
use crate::{net::MAX_FRAME, testing::driver::Style};

#[test]
fn frames_of_the_guest_arrive_with_their_headers() {
    Card::on_each_started(1, |card| {
        let frames: Vec<_> = [14, 60, 1514, MAX_FRAME].map(pattern).into();
        for frame in &frames {
            let head = card.send(TRANSMIT, to_be_cut(), frame);
            let used = card.rig.driver.wait_used(TRANSMIT);
            assert_eq!((used.head, used.written), (head, 0));
        }
        let sent = card.network().wait_sent(frames.len());
        assert!(sent.iter().all(|(header, _)| *header == to_be_cut()));
        assert!(sent.iter().map(|(_, frame)| frame).eq(&frames));
        let bytes = frames.iter().map(|frame| frame.len() as u64).sum();
        let counts = Counts { sent_frames: 4, sent_bytes: bytes, ..Counts::default() };
        assert_eq!(card.handle.counts(), counts);
        card.network().wait(|script| script.flushes > 0);
    });
}

#[test]
fn a_frame_of_the_guest_may_be_cut_anywhere() {
    Card::on_each_started(1, |card| {
        let frame = pattern(100);
        let whole = [&to_be_cut().to_bytes(0)[..], &frame].concat();
        for style in [Style::Direct, Style::Indirect] {
            card.rig.driver.queue(TRANSMIT).style = style;
            for cuts in [vec![], vec![1], vec![11], vec![12], vec![13], vec![3, 7, 40], (1..112).collect()] {
                let edges: Vec<_> = [0].into_iter().chain(cuts).chain([whole.len()]).collect();
                let pieces = edges.windows(2).map(|edge| card.rig.driver.readable(&whole[edge[0]..edge[1]]));
                let pieces: Vec<_> = pieces.collect();
                card.send_in(TRANSMIT, &pieces);
                card.rig.driver.wait_used(TRANSMIT);
                assert_eq!(card.network().wait_sent(1), [(to_be_cut(), frame.clone())]);
            }
        }
    });
}

#[test]
fn frames_for_the_guest_arrive_with_their_headers() {
    for wanted in [!0, !MRG_RXBUF] {
        Card::on_each(1, |card| {
            card.start(wanted);
            card.give(RECEIVE, 3, &[lengths::LONGEST_FRAME + 12]);
            for len in [14, 1514, MAX_FRAME] {
                let frame = (to_be_cut(), pattern(len));
                card.network().offer(frame.0, &frame.1);
                assert_eq!(card.receive(RECEIVE), (frame, 1));
            }
            let counts = card.handle.counts();
            assert_eq!((counts.received_frames, counts.received_bytes), (3, 14 + 1514 + MAX_FRAME as u64));
        });
    }
}

#[test]
fn a_frame_for_the_guest_is_spread_over_the_buffers_that_it_needs() {
    for is_vague in [false, true] {
        Card::on_each_started(1, |card| {
            card.network().script().is_vague = is_vague;
            card.give(RECEIVE, 100, &[100, 1426]);
            // 1514 bytes fit one chain with the header, one more byte needs two, and the rest is for the next frame.
            for (len, chains) in
                [(1514, 1), (1515, 2), (60_000, 40), (20, 1), (1514 + 1526, 2), (1515 + 1526, 3)]
            {
                let frame = (to_be_cut(), pattern(len));
                card.network().offer(frame.0, &frame.1);
                assert_eq!(card.receive(RECEIVE), (frame, chains), "{len} bytes");
            }
            assert_eq!(card.handle.counts().dropped_frames, 0);
        });
    }
}

#[test]
fn the_header_for_the_guest_may_be_cut_anywhere() {
    for wanted in [!0, !MRG_RXBUF] {
        Card::on_each(1, |card| {
            card.start(wanted);
            for lens in [vec![1; 112], vec![5, 7, 100], vec![11, 101], vec![13, 99], vec![0, 12, 0, 100]] {
                card.rig.driver.queue(RECEIVE).style = Style::Indirect;
                card.give(RECEIVE, 1, &lens);
                let frame = (to_be_cut(), pattern(100));
                card.network().offer(frame.0, &frame.1);
                assert_eq!(card.receive(RECEIVE), (frame, 1), "{lens:?}");
            }
        });
    }
}

#[test]
fn a_driver_without_offloads_gets_none() {
    Card::on_each(1, |card| {
        let offloads = OF_GUEST.iter().chain(&TO_GUEST).fold(0, |all, (_, bit)| all | 1 << bit);
        card.start(!offloads);
        card.network().wait(|script| script.accepted == Some(Offloads::empty()));
        card.check();
        // What is said of checksums is not for such a driver (5.1.6.4.1).
        card.give(RECEIVE, 1, &[PLAIN_ROOM]);
        let header = FrameHeader { flags: FrameHeader::CHECKSUM_IS_VALID, ..FrameHeader::default() };
        card.network().offer(header, &pattern(60));
        assert_eq!(card.receive(RECEIVE).0, (FrameHeader::default(), pattern(60)));
    });
}

#[test]
fn the_backend_hears_which_offloads_the_driver_takes() {
    Card::on_each(1, |card| {
        let cases = [
            (!0, Offloads::all()),
            (!(1 << VIRTIO_NET_F_GUEST_TSO6), Offloads::CHECKSUM | Offloads::TSO4 | Offloads::ECN),
            (!(1 << VIRTIO_NET_F_GUEST_ECN), Offloads::CHECKSUM | Offloads::TSO4 | Offloads::TSO6),
            (!(1 << VIRTIO_NET_F_GUEST_CSUM), Offloads::empty()),
            (1 << VIRTIO_NET_F_GUEST_CSUM, Offloads::CHECKSUM),
        ];
        for (wanted, accepted) in cases {
            card.start(wanted);
            card.network().wait(|script| script.accepted == Some(accepted));
        }
    });
}

#[test]
fn a_driver_without_event_indices_is_served_as_well() {
    Card::on_each(1, |card| {
        // VERSION_1 alone, of the transport's.
        card.rig.driver.negotiate_exactly(1 << 32 | !TRANSPORT_FEATURES);
        (0..3).for_each(|queue| card.rig.driver.set_up_queue(queue, 64));
        card.rig.driver.start();
        for _ in 0..100 {
            card.check();
        }
        card.settle();
        card.give(RECEIVE, 1, &[PLAIN_ROOM]);
        card.rig.driver.queue(RECEIVE).add(&[Buffer { address: 0x1000, len: 64, writable: true }]).unwrap();
        assert!(!card.rig.driver.queue(RECEIVE).wants_kick(), "no frame waits for buffers");
    });
}

#[test]
fn frames_that_do_not_fit_are_lost_and_the_next_ones_are_not() {
    Card::on_each(1, |card| {
        card.start(!MRG_RXBUF);
        card.network().script().is_vague = true;
        card.give(RECEIVE, 2, &[12, 100]);
        card.network().offer(to_be_cut(), &pattern(101));
        card.network().offer(to_be_cut(), &pattern(100));
        assert_eq!(card.receive(RECEIVE), ((to_be_cut(), pattern(100)), 1));
        assert_eq!(card.handle.counts().dropped_frames, 1);
        card.network().script().is_vague = false;
        card.network().offer(to_be_cut(), &pattern(5000));
        card.network().offer(to_be_cut(), &pattern(14));
        assert_eq!(card.receive(RECEIVE), ((to_be_cut(), pattern(14)), 1));
        assert_eq!(card.handle.counts().dropped_frames, 2);
    });
}

#[test]
fn a_driver_with_few_buffers_gets_what_fits_them() {
    Card::on_each_started(1, |card| {
        card.network().script().is_vague = true;
        card.give(RECEIVE, 4, &[100]);
        for (len, chains) in [(50, 1), (250, 3)] {
            card.network().offer(to_be_cut(), &pattern(len));
            assert_eq!(card.receive(RECEIVE), ((to_be_cut(), pattern(len)), chains));
        }
        card.give(RECEIVE, 4, &[100]);
        card.network().offer(to_be_cut(), &pattern(389));
        card.network().offer(to_be_cut(), &pattern(388));
        assert_eq!(card.receive(RECEIVE), ((to_be_cut(), pattern(388)), 4));
        assert_eq!(card.handle.counts().dropped_frames, 1);
    });
}

#[test]
fn frames_beyond_the_mtu_are_lost() {
    for kind in TransportKind::ALL {
        let network = SoftNetwork::new(Offloads::all(), Offloads::all());
        let mut card = Card::new(kind, vec![network], |net| net.with_mtu(1000));
        card.start(!0);
        card.give(RECEIVE, 10, &[1526]);
        let plain = FrameHeader::default();
        for (header, len) in [(plain, 1018), (plain, 1019), (to_be_cut(), 3000), (plain, 13), (plain, 14)] {
            card.network().offer(header, &pattern(len));
        }
        for (header, len) in [(plain, 1018), (to_be_cut(), 3000), (plain, 14)] {
            assert_eq!(card.receive(RECEIVE).0, (header, pattern(len)));
        }
        assert_eq!(card.handle.counts().dropped_frames, 2);
    }
}
