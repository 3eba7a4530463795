//! Commands of the driver, and cards with several pairs of virtqueues.

use super::*;

const OK: u8 = 0;
const ERR: u8 = 1;

impl Card {
    fn control(&self) -> u16 {
        2 * u16::try_from(self.networks.len()).unwrap()
    }

    /// Makes a command available, in one buffer for each of `pieces`; where its answer will be.
    fn say(&mut self, pieces: &[&[u8]]) -> (u16, Buffer) {
        let mut buffers: Vec<_> = pieces.iter().map(|piece| self.rig.driver.readable(piece)).collect();
        let ack = self.rig.driver.readable(&[0xff]);
        let ack = Buffer { writable: true, ..ack };
        buffers.push(ack);
        let queue = self.control();
        (self.send_in(queue, &buffers), ack)
    }

    /// Gives a command, and says what is answered.
    fn command(&mut self, pieces: &[&[u8]]) -> u8 {
        let (head, ack) = self.say(pieces);
        let queue = self.control();
        let used = self.rig.driver.wait_used(queue);
        assert_eq!((used.head, used.written), (head, 1));
        self.rig.driver.bytes(ack)[0]
    }

    fn use_pairs(&mut self, count: u16) -> u8 {
        self.command(&[&[4, 0], &count.to_le_bytes()])
    }
}

#[test]
fn commands_are_answered() {
    Card::on_each_started(1, |card| {
        let cases: &[(&[&[u8]], u8)] = &[
            // Promiscuous, all multicast.
            (&[&[0, 0], &[1]], OK),
            (&[&[0, 0, 0]], OK),
            (&[&[0], &[1], &[1]], OK),
            (&[&[0, 0]], ERR),
            (&[&[0, 0], &[1, 1]], ERR),
            // Of CTRL_RX_EXTRA, which is not offered.
            (&[&[0, 2], &[1]], ERR),
            (&[&[0, 5], &[1]], ERR),
            // Tables of addresses.
            (&[&[1, 0], &[0; 8]], OK),
            (&[&[1, 0], &[1, 0, 0, 0], &[2; 6], &[2, 0, 0, 0], &[3; 12]], OK),
            (&[&[1, 0], &[1, 0, 0, 0], &[2; 6], &[2, 0, 0, 0], &[3; 11]], ERR),
            (&[&[1, 0], &[1, 0, 0, 0], &[2; 6], &[2, 0, 0, 0], &[3; 13]], ERR),
            (&[&[1, 0], &[0xff; 8]], ERR),
            (&[&[1, 0], &[0, 0, 0, 0], &[0xff; 4]], ERR),
            (&[&[1, 0], &[0; 4]], ERR),
            (&[&[1, 0]], ERR),
            // The address.
            (&[&[1, 1], &[0x52, 0x54, 0, 9, 9, 9]], OK),
            (&[&[1, 1], &[0x53, 0x54, 0, 9, 9, 8]], ERR),
            (&[&[1, 1], &[0x52, 0x54, 0, 9, 9]], ERR),
            (&[&[1, 1], &[0x52, 0x54, 0, 9, 9, 8, 7]], ERR),
            // Offloads: those of checksums, TSO and ECN are there, UFO (10) is not.
            (&[&[5, 0], &[0x82, 3, 0, 0, 0, 0, 0, 0]], OK),
            (&[&[5, 0], &[0x82], &[1, 0, 0, 0, 0, 0, 0]], OK),
            (&[&[5, 0], &[0; 8]], OK),
            (&[&[5, 0], &[2, 4, 0, 0, 0, 0, 0, 0]], ERR),
            (&[&[5, 0], &[0, 0, 0, 0, 0, 0, 0, 1]], ERR),
            (&[&[5, 0], &[0; 7]], ERR),
            (&[&[5, 0], &[0; 9]], ERR),
            (&[&[5, 1], &[0; 8]], ERR),
            // VLANs, announcements and pairs, which are not offered.
            (&[&[2, 0], &[1, 0]], ERR),
            (&[&[3, 0]], ERR),
            (&[&[4, 0], &[1, 0]], ERR),
            (&[&[0xff, 0xff], &[0; 100]], ERR),
            (&[&[0]], ERR),
            (&[], ERR),
        ];
        for (command, answer) in cases {
            assert_eq!(card.command(command), *answer, "{command:?}");
        }
        let mut mac = [0; 6];
        card.rig.driver.registers().read_config(0, &mut mac);
        assert_eq!(mac, [0x52, 0x54, 0, 9, 9, 9]);
        card.check();
        card.start(!0);
        card.rig.driver.registers().read_config(0, &mut mac);
        assert_eq!(mac, MAC, "the next driver finds the card as it was");
    });
}

#[test]
fn a_command_of_a_feature_that_the_driver_did_not_take_is_refused() {
    Card::on_each(2, |card| {
        // Then commands have queue 2.
        let features = [
            VIRTIO_NET_F_CTRL_RX,
            VIRTIO_NET_F_CTRL_MAC_ADDR,
            VIRTIO_NET_F_MQ,
            VIRTIO_NET_F_CTRL_GUEST_OFFLOADS,
        ];
        card.start(!features.iter().fold(0, |all, bit| all | 1 << bit));
        card.networks.pop();
        let commands: [&[&[u8]]; 5] = [
            &[&[0, 0], &[1]],
            &[&[1, 0], &[0; 8]],
            &[&[1, 1], &[2; 6]],
            &[&[4, 0], &[1, 0]],
            &[&[5, 0], &[0; 8]],
        ];
        for command in commands {
            assert_eq!(card.command(command), ERR, "{command:?}");
        }
        card.check();
    });
}

#[test]
fn the_driver_changes_the_offloads_that_it_takes() {
    Card::on_each_started(2, |card| {
        assert_eq!(card.use_pairs(2), OK);
        let told = |card: &Card| {
            let told = card.networks.iter().map(|network| network.script().accepted);
            told.collect::<Vec<_>>()
        };
        let tso4 = Offloads::CHECKSUM | Offloads::TSO4;
        let cases = [
            (0, Offloads::empty()),
            (1 << VIRTIO_NET_F_GUEST_CSUM, Offloads::CHECKSUM),
            (1 << VIRTIO_NET_F_GUEST_CSUM | 1 << VIRTIO_NET_F_GUEST_TSO4, tso4),
            // What lacks what it needs.
            (1 << VIRTIO_NET_F_GUEST_TSO4, Offloads::empty()),
            (1 << VIRTIO_NET_F_GUEST_CSUM | 1 << VIRTIO_NET_F_GUEST_ECN, Offloads::CHECKSUM),
        ];
        for (wanted, accepted) in cases {
            assert_eq!(card.command(&[&[5, 0], &u64::to_le_bytes(wanted)]), OK);
            assert_eq!(told(card), [Some(accepted), Some(accepted)], "when it is answered it is so");
        }
        // A pair that is used again finds them so.
        assert_eq!(card.command(&[&[5, 0], &[0; 8]]), OK);
        for count in [1, 2] {
            assert_eq!(card.use_pairs(count), OK);
        }
        assert_eq!(told(card)[1], Some(Offloads::empty()));
        let header = FrameHeader { flags: FrameHeader::CHECKSUM_IS_VALID, ..FrameHeader::default() };
        card.give(RECEIVE, 1, &[PLAIN_ROOM]);
        card.network().offer(header, &pattern(60));
        assert_eq!(
            card.receive(RECEIVE).0,
            (FrameHeader::default(), pattern(60)),
            "of checksums nothing is said"
        );
        // The next driver begins with what it negotiates.
        card.start(!0);
        card.network().wait(|script| script.accepted == Some(Offloads::all()));
        card.check();
    });
}

#[test]
fn a_command_without_room_for_its_answer_breaks_the_device() {
    Card::on_each_started(1, |card| {
        let command = card.rig.driver.readable(&[0, 0, 1]);
        card.send_in(2, &[command]);
        assert!(card.rig.driver.registers().wait_config_interrupt());
        assert!(card.needs_reset());
        card.start(!0);
        card.check();
    });
}

#[test]
fn pairs_run_when_the_driver_uses_them() {
    Card::on_each_started(3, |card| {
        let running = |card: &Card| {
            let running = card.networks.iter().map(|network| network.script().accepted.is_some());
            running.collect::<Vec<_>>()
        };
        card.check();
        card.settle();
        assert_eq!(running(card), [true, false, false]);
        for count in [0, 4, u16::MAX] {
            assert_eq!(card.use_pairs(count), ERR);
        }
        for (count, expected) in
            [(3, [true, true, true]), (2, [true, true, false]), (1, [true, false, false])]
        {
            assert_eq!(card.use_pairs(count), OK);
            assert_eq!(running(card), expected, "when it is answered it is so");
        }
        assert_eq!(card.use_pairs(2), OK);
        let header = FrameHeader::default();
        for (pair, len) in [(0_u16, 60), (1, 70)] {
            let network = card.networks[usize::from(pair)].clone();
            card.give(2 * pair, 1, &[PLAIN_ROOM]);
            network.offer(header, &pattern(len));
            assert_eq!(card.receive(2 * pair).0.1, pattern(len));
            card.send(2 * pair + 1, header, &pattern(len));
            assert_eq!(network.wait_sent(1), [(header, pattern(len))]);
        }
        // A pair that is not used gets nothing.
        card.give(4, 1, &[PLAIN_ROOM]);
        card.networks[2].offer(header, &pattern(80));
        card.settle();
        assert_eq!(card.rig.driver.queue(4).take_used(), None);
        let counts = card.handle.counts();
        assert_eq!((counts.sent_bytes, counts.received_bytes), (77 + 60 + 70, 77 + 60 + 70));
        // The next driver begins with one pair.
        card.start(!0);
        card.check();
        card.settle();
        assert_eq!(running(card), [true, false, false]);
    });
}

#[test]
fn a_pair_that_does_not_start_holds_up_no_command() {
    Card::on_each_started(2, |card| {
        card.check();
        card.networks[1].script().failures = 1;
        assert_eq!(card.use_pairs(2), OK);
        card.wait_needs_reset();
        card.start(!0);
        assert_eq!(card.use_pairs(2), OK);
        assert!(!card.needs_reset());
    });
}
