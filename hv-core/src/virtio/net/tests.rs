//! Whole network cards through a driver, on each transport; what they did is read from the cable's other end.

mod commands;
mod flow;
mod frames;
mod life;
mod malformed;

use std::{collections::HashMap, thread, time::Instant};

use super::*;
use crate::{
    net::{FRAME_HEADER_SIZE, FrameHeader},
    testing::{
        DEADLINE, Frame, Rig, SoftNetwork, TransportKind,
        driver::{Buffer, Used},
    },
    virtio::negotiation::{Status, TRANSPORT_FEATURES},
};

const MAC: [u8; 6] = [0x52, 0x54, 0, 1, 2, 3];

/// Virtqueues of the first pair.
const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;

const MRG_RXBUF: u64 = 1 << VIRTIO_NET_F_MRG_RXBUF;

/// Room for a frame that is not to be cut, with its header.
const PLAIN_ROOM: u32 = 1526;

/// A card with the other ends of its cables.
struct Card {
    rig: Rig,
    networks: Vec<SoftNetwork>,
    handle: NetHandle,
    /// Buffers of the chains that the device has for frames, by queue and head.
    buffers: HashMap<(u16, u16), Vec<Buffer>>,
}

impl Card {
    /// A card whose driver has done nothing, with what `change` makes of it.
    fn new(kind: TransportKind, networks: Vec<SoftNetwork>, change: impl Fn(Net) -> Net) -> Self {
        let (net, handle) = Net::new("net0", MAC, networks.iter().map(SoftNetwork::backend).collect());
        let rig = Rig::new(kind, Box::new(change(net)));
        Self { rig, networks, handle, buffers: HashMap::new() }
    }

    /// Cards with `pairs` pairs of virtqueues that offer everything, on each transport.
    fn on_each(pairs: usize, test: impl Fn(&mut Self)) {
        for kind in TransportKind::ALL {
            eprintln!("on {kind:?}:");
            let networks = (0..pairs).map(|_| SoftNetwork::new(Offloads::all(), Offloads::all()));
            test(&mut Self::new(kind, networks.collect(), |net| net));
        }
    }

    /// The same, with a driver that took all features.
    fn on_each_started(pairs: usize, test: impl Fn(&mut Self)) {
        Self::on_each(pairs, |card| {
            card.start(!0);
            test(card);
        });
    }

    /// A driver comes that takes of what is offered what is in `wanted`, and the transport's features.
    fn start(&mut self, wanted: u64) -> u64 {
        self.buffers.clear();
        self.rig.driver.start_with(wanted)
    }

    fn network(&self) -> &SoftNetwork {
        &self.networks[0]
    }

    /// Has the driver send a frame in these buffers.
    fn send_in(&mut self, queue: u16, buffers: &[Buffer]) -> u16 {
        let head = self.rig.driver.add(queue, buffers);
        self.rig.driver.kick(queue);
        head
    }

    /// Has the driver send a frame.
    fn send(&mut self, queue: u16, header: FrameHeader, frame: &[u8]) -> u16 {
        let header = self.rig.driver.readable(&header.to_bytes(0));
        let frame = self.rig.driver.readable(frame);
        self.send_in(queue, &[header, frame])
    }

    /// Waits until so many frames that the driver sent are through.
    fn wait_sent(&mut self, count: usize) {
        for _ in 0..count {
            self.rig.driver.wait_used(TRANSMIT);
        }
    }

    /// Gives the device buffers for frames: chains, and the lengths of each one's buffers.
    fn give(&mut self, queue: u16, chains: usize, lens: &[u32]) {
        for _ in 0..chains {
            let buffers: Vec<_> = lens.iter().map(|len| self.rig.driver.writable(*len)).collect();
            let head = self.rig.driver.add(queue, &buffers);
            self.buffers.insert((queue, head), buffers);
        }
        self.rig.driver.kick(queue);
    }

    /// The bytes that the device wrote into a chain.
    fn written(&mut self, queue: u16, used: Used) -> Vec<u8> {
        let buffers = self.buffers.remove(&(queue, used.head)).expect("a chain for frames");
        let mut bytes: Vec<_> = buffers.iter().flat_map(|buffer| self.rig.driver.bytes(*buffer)).collect();
        assert!(bytes.len() >= used.written as usize);
        bytes.truncate(used.written as usize);
        bytes
    }

    /// The next frame that the driver gets, and in how many chains.
    fn receive(&mut self, queue: u16) -> (Frame, u16) {
        let used = self.rig.driver.wait_used(queue);
        let first = self.written(queue, used);
        let (header, frame) = first.split_first_chunk::<FRAME_HEADER_SIZE>().expect("a header");
        let count = u16::from_le_bytes([header[10], header[11]]);
        let mut frame = frame.to_vec();
        for _ in 1..count {
            let used = self.rig.driver.queue(queue).take_used().expect("all of a frame at once");
            frame.extend(self.written(queue, used));
        }
        ((FrameHeader::from_bytes(*header), frame), count)
    }

    /// Waits until the workers have done what they can: a pause is over when they have, and a start has them look.
    fn settle(&mut self) {
        for _ in 0..2 {
            self.rig.device.pause();
            self.rig.device.resume();
        }
        self.rig.device.pause();
        self.rig.device.resume();
    }

    fn status(&self) -> u16 {
        let mut status = [0; 2];
        self.rig.driver.registers().read_config(6, &mut status);
        u16::from_le_bytes(status)
    }

    /// Waits until the device needs a reset. Its interrupt may be acknowledged with that of a queue.
    fn wait_needs_reset(&self) {
        let start = Instant::now();
        while !self.needs_reset() {
            assert!(start.elapsed() < DEADLINE, "the device goes on");
            thread::yield_now();
        }
    }

    fn needs_reset(&self) -> bool {
        self.rig.driver.status().contains(Status::NEEDS_RESET)
    }

    /// A frame goes through each way: the card works.
    fn check(&mut self) {
        let header = FrameHeader::default();
        let frame = pattern(77);
        self.networks[0].script().sent.clear();
        self.send(TRANSMIT, header, &frame);
        self.rig.driver.wait_used(TRANSMIT);
        assert_eq!(self.networks[0].wait_sent(1), [(header, frame.clone())]);
        self.give(RECEIVE, 1, &[PLAIN_ROOM]);
        self.networks[0].offer(header, &frame);
        assert_eq!(self.receive(RECEIVE), ((header, frame), 1));
    }
}

/// Bytes that are nowhere the same for long.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251).to_le_bytes()[0] ^ (at >> 8).to_le_bytes()[0]).collect()
}

fn to_be_cut() -> FrameHeader {
    FrameHeader {
        flags: FrameHeader::NEEDS_CHECKSUM,
        gso_type: FrameHeader::GSO_TCPV4,
        header_len: 54,
        gso_size: 1448,
        checksum_start: 34,
        checksum_offset: 16,
    }
}

#[test]
fn a_card_offers_what_all_its_backends_do() {
    let features = |takes: &[Offloads], gives: &[Offloads]| {
        let backends = takes.iter().zip(gives);
        let backends = backends.map(|(takes, gives)| SoftNetwork::new(*takes, *gives).backend()).collect();
        Net::new("net0", MAC, backends).0.features()
    };
    let (all, none) = (Offloads::all(), Offloads::empty());
    let has = |features: u64, bits: &[u32]| bits.iter().all(|bit| features >> bit & 1 == 1);
    let lacks = |features: u64, bits: &[u32]| bits.iter().all(|bit| features >> bit & 1 == 0);
    let of_guest = OF_GUEST.map(|(_, bit)| bit);
    let to_guest = TO_GUEST.map(|(_, bit)| bit);
    let always = [VIRTIO_NET_F_MAC, VIRTIO_NET_F_STATUS, VIRTIO_NET_F_MRG_RXBUF, VIRTIO_NET_F_CTRL_VQ];
    let full = features(&[all], &[all]);
    assert!(has(full, &of_guest) && has(full, &to_guest) && has(full, &always));
    assert!(lacks(full, &[VIRTIO_NET_F_MQ, VIRTIO_NET_F_MTU]));
    let plain = features(&[none], &[none]);
    assert!(lacks(plain, &of_guest) && lacks(plain, &to_guest) && has(plain, &always));
    let mixed = features(&[all, Offloads::CHECKSUM | Offloads::TSO4], &[Offloads::CHECKSUM, all]);
    assert!(has(mixed, &[of_guest[0], of_guest[1], to_guest[0], VIRTIO_NET_F_MQ]));
    assert!(lacks(mixed, &[of_guest[2], of_guest[3], to_guest[1], to_guest[2], to_guest[3]]));
    let unsound = features(&[Offloads::TSO4], &[Offloads::TSO6]);
    assert!(lacks(unsound, &of_guest) && lacks(unsound, &to_guest), "who cuts makes checksums");
    let unsound = features(&[Offloads::CHECKSUM | Offloads::ECN], &[all]);
    assert!(
        lacks(unsound, &of_guest[1..]) && has(unsound, &of_guest[..1]),
        "only what is cut tells congestion"
    );
}

#[test]
fn the_configuration_says_what_the_card_is() {
    for kind in TransportKind::ALL {
        let networks: Vec<_> = (0..3).map(|_| SoftNetwork::new(Offloads::all(), Offloads::all())).collect();
        let mut card = Card::new(kind, networks, |net| net.with_mtu(9000));
        let features = card.start(!0);
        assert!(features >> VIRTIO_NET_F_MTU & 1 == 1 && features >> VIRTIO_NET_F_MQ & 1 == 1);
        let mut config = [0xff; 16];
        card.rig.driver.registers().read_config(0, &mut config);
        assert_eq!(config[..6], MAC);
        assert_eq!(config[6..], [1, 0, 3, 0, 0x28, 0x23, 0, 0, 0, 0]);
        assert_eq!(card.rig.driver.registers().device_type(), 1);
        assert_eq!(card.rig.driver.registers().queue_max_size(6), 256);
        assert_eq!(card.rig.driver.registers().queue_max_size(7), 0);
    }
}

#[test]
fn a_card_has_as_many_pairs_as_there_are_queues_for() {
    let network = SoftNetwork::new(Offloads::all(), Offloads::all());
    let (net, _) = Net::new("net0", MAC, (0..20).map(|_| network.backend()).collect());
    assert_eq!(net.queue_sizes().len(), 31);
}
