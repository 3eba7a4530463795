//! A guest: smoltcp on the other side of the network card's place, with RAM for its frames.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use hv_core::{
    memory::{GuestAddress, GuestBuffer, GuestMemoryMmap, Segment},
    net::{FrameHeader, MAX_FRAME, MAX_PLAIN_FRAME, NetBackend, Offloads},
};
use mio::{Events, Poll};
use smoltcp::{
    iface::{Config, Interface, SocketHandle, SocketSet},
    phy::{ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken},
    socket::tcp::{self, State},
    time,
    wire::{HardwareAddress, IpCidr},
};

use crate::checksum::Sum;
use crate::user::{
    UserConfig, UserNetwork,
    addresses::{GATEWAY_MAC, GUEST_V4, GUEST_V6},
    packet::{Packet, TCP, UDP},
    tcp::Segment as Header,
};

pub(super) const MAC: [u8; 6] = [0x52, 0x54, 0, 1, 2, 3];

/// Longer than anything here takes: reached only by what hangs.
const TOO_LONG: Duration = Duration::from_secs(120);

/// Where frames are in the guest's RAM: in pieces, as drivers have them.
const PIECES: [Segment; 3] = [
    Segment { address: GuestAddress(0x1001), len: 11 },
    Segment { address: GuestAddress(0x4_0000), len: 4096 },
    Segment { address: GuestAddress(0x8_0000), len: 0x1_0000 },
];

pub(super) struct Guest {
    pub(super) network: UserNetwork,
    pub(super) sockets: SocketSet<'static>,
    /// Datagrams and ICMP that came, as whole frames.
    pub(super) others: Vec<Vec<u8>>,
    /// Frames that were cut for the guest by itself.
    pub(super) large_frames: usize,
    accepted: Offloads,
    poll: Poll,
    events: Events,
    ram: GuestMemoryMmap,
    interface: Interface,
    wire: Wire,
    start: Instant,
    next_port: u16,
}

impl Guest {
    pub(super) fn new(config: UserConfig) -> Self {
        Self::with_offloads(config, Offloads::all())
    }

    pub(super) fn with_offloads(config: UserConfig, accepted: Offloads) -> Self {
        let mut network = UserNetwork::new(config).unwrap();
        let poll = Poll::new().unwrap();
        network.start(accepted, poll.registry()).unwrap();
        let mut wire = Wire { large: !accepted.is_empty(), ..Wire::default() };
        let mut interface = Interface::new(Config::new(HardwareAddress::Ip), &mut wire, time::Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(GUEST_V4.into(), 24)).unwrap();
            addresses.push(IpCidr::new(GUEST_V6.into(), 64)).unwrap();
        });
        Self {
            network,
            sockets: SocketSet::new(Vec::new()),
            others: Vec::new(),
            large_frames: 0,
            accepted,
            poll,
            events: Events::with_capacity(64),
            ram: GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x10_0000)]).unwrap(),
            interface,
            wire,
            start: Instant::now(),
            next_port: 40_000,
        }
    }

    /// The guest takes these offloads from now on.
    pub(super) fn accept(&mut self, accepted: Offloads) {
        self.network.set_accepted(accepted).unwrap();
        self.accepted = accepted;
    }

    /// A socket with rings of `size` bytes.
    pub(super) fn add_socket(&mut self, size: usize) -> SocketHandle {
        let ring = || tcp::SocketBuffer::new(vec![0; size]);
        let mut socket = tcp::Socket::new(ring(), ring());
        socket.set_ack_delay(None);
        self.sockets.add(socket)
    }

    pub(super) fn connect(&mut self, to: impl Into<IpAddr>, port: u16) -> SocketHandle {
        let handle = self.add_socket(256 << 10);
        self.connect_with(handle, to, port);
        handle
    }

    pub(super) fn connect_with(&mut self, handle: SocketHandle, to: impl Into<IpAddr>, port: u16) {
        self.next_port += 1;
        let to = SocketAddr::new(to.into(), port);
        let context = self.interface.context();
        self.sockets.get_mut::<tcp::Socket>(handle).connect(context, to, self.next_port).unwrap();
    }

    pub(super) fn socket(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    pub(super) fn state(&mut self, handle: SocketHandle) -> State {
        self.socket(handle).state()
    }

    /// Sends an ARP request, after which the network knows the guest.
    pub(super) fn announce(&mut self) {
        let mut frame = vec![0xff; 6];
        frame.extend(MAC);
        frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        frame.extend(MAC);
        frame.extend(GUEST_V4.octets());
        frame.extend([0, 0, 0, 0, 0, 0, 10, 0, 2, 2]);
        self.send(FrameHeader::default(), &frame);
    }

    /// Sends a frame as it is.
    pub(super) fn send(&mut self, header: FrameHeader, frame: &[u8]) {
        let buffer = GuestBuffer { ram: &self.ram, segments: &PIECES };
        buffer.copy_from(frame).unwrap();
        let mut rest = u32::try_from(frame.len()).unwrap();
        let segments = PIECES.map(|piece| {
            let len = piece.len.min(rest);
            rest -= len;
            Segment { len, ..piece }
        });
        let buffer = GuestBuffer { ram: &self.ram, segments: &segments };
        assert!(self.network.send(header, buffer).unwrap());
    }

    /// Sends an IP packet from the guest to the gateway.
    pub(super) fn send_packet(&mut self, packet: &[u8]) {
        let mut frame = GATEWAY_MAC.to_vec();
        frame.extend(MAC);
        frame.extend(if packet[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] });
        frame.extend(packet);
        let flags = if self.accepted.is_empty() { 0 } else { FrameHeader::NEEDS_CHECKSUM };
        self.send(FrameHeader { flags, ..FrameHeader::default() }, &frame);
    }

    /// The next frame for the guest, looked at.
    pub(super) fn receive(&mut self) -> Option<Vec<u8>> {
        let len = self.network.next_len()?;
        assert!(len <= if self.accepted.is_empty() { MAX_PLAIN_FRAME } else { MAX_FRAME });
        let buffer = GuestBuffer { ram: &self.ram, segments: &PIECES };
        let received = self.network.receive(buffer).unwrap()?;
        assert!(received.len <= len);
        let mut frame = vec![0; received.len];
        buffer.copy_to(&mut frame).unwrap();
        self.check(received.header, &frame);
        Some(frame)
    }

    fn check(&mut self, header: FrameHeader, frame: &[u8]) {
        if frame[12..14] == [8, 6] {
            return;
        }
        assert_eq!((&frame[..6], &frame[6..12]), (&MAC[..], &GATEWAY_MAC[..]));
        let packet = Packet::parse(frame).expect("a whole packet with a right header");
        assert_eq!(packet.end, frame.len());
        if packet.is_fragment || ![TCP, UDP].contains(&packet.protocol) {
            return;
        }
        if header.flags & FrameHeader::NEEDS_CHECKSUM != 0 {
            assert!(self.accepted.contains(Offloads::CHECKSUM));
            let offset = if packet.protocol == TCP { 16 } else { 6 };
            assert_eq!(usize::from(header.checksum_start), packet.transport);
            assert_eq!(usize::from(header.checksum_offset), offset);
            let sum = Sum::pseudo_header(packet.source, packet.destination, packet.protocol, packet.len());
            let at = packet.transport + offset;
            assert_eq!(frame[at..at + 2], sum.partial());
        } else {
            assert!(packet.checksum_is_right(frame));
        }
        if header.gso_type == FrameHeader::GSO_NONE {
            assert!(frame.len() <= MAX_PLAIN_FRAME, "{} bytes, uncut", frame.len());
            return;
        }
        let segment = Header::parse(&frame[packet.transport..]).unwrap();
        let (kind, ours) = if packet.source.is_ipv4() {
            (FrameHeader::GSO_TCPV4, 1460)
        } else {
            (FrameHeader::GSO_TCPV6, 1440)
        };
        assert_eq!((header.gso_type, header.gso_size), (kind, ours));
        assert_eq!(usize::from(header.header_len), packet.transport + segment.header_len);
        self.large_frames += 1;
    }

    /// One turn of the guest, the device's worker and the host; waits a little if nothing happens.
    pub(super) fn turn(&mut self) {
        let now = time::Instant::from_micros(i64::try_from(self.start.elapsed().as_micros()).unwrap());
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
        let mut is_busy = false;
        while let Some(packet) = self.wire.sent.pop_front() {
            self.send_packet(&packet);
            is_busy = true;
        }
        self.network.flush();
        for _ in 0..64 {
            let Some(frame) = self.receive() else { break };
            is_busy = true;
            match Packet::parse(&frame) {
                Some(packet) if packet.protocol == TCP => self.wire.received.push_back(frame[14..].to_vec()),
                _ => self.others.push(frame),
            }
        }
        self.turn_host_for(if is_busy { Duration::ZERO } else { Duration::from_millis(2) });
    }

    /// The worker's turn alone.
    pub(super) fn turn_host(&mut self) {
        self.turn_host_for(Duration::from_millis(2));
    }

    fn turn_host_for(&mut self, wait: Duration) {
        self.poll.poll(&mut self.events, Some(wait)).unwrap();
        if !self.events.is_empty() || self.network.deadline().is_some_and(|at| at <= Instant::now()) {
            self.network.wake(&self.events);
        }
    }

    /// Turns until `done`.
    pub(super) fn until(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        let start = Instant::now();
        while !done(self) {
            assert!(start.elapsed() < TOO_LONG, "it does not happen");
            self.turn();
        }
    }

    pub(super) fn until_state(&mut self, handle: SocketHandle, state: State) {
        self.until(|guest| guest.state(handle) == state);
    }

    /// Waits for a connection.
    pub(super) fn until_open(&mut self, handle: SocketHandle) {
        self.until(|guest| guest.state(handle) != State::SynSent);
        assert!(self.socket(handle).may_send(), "refused");
    }

    /// Sends all of `bytes`, while what comes is thrown away.
    pub(super) fn send_all(&mut self, handle: SocketHandle, bytes: &[u8]) {
        let mut sent = 0;
        self.until(|guest| {
            sent += guest.socket(handle).send_slice(&bytes[sent..]).unwrap();
            sent == bytes.len()
        });
    }

    /// Receives until the end, or `len` bytes.
    pub(super) fn receive_all(&mut self, handle: SocketHandle, len: usize) -> Vec<u8> {
        let mut all = Vec::new();
        self.until(|guest| {
            let socket = guest.socket(handle);
            while socket.can_recv() {
                socket.recv(|bytes| (bytes.len(), all.extend_from_slice(bytes))).unwrap();
            }
            all.len() >= len || !guest.socket(handle).may_recv()
        });
        all
    }

    pub(super) fn start(&mut self) {
        self.network.start(self.accepted, self.poll.registry()).unwrap();
    }

    pub(super) fn stop(&mut self) {
        self.network.stop(self.poll.registry());
    }
}

#[derive(Default)]
struct Wire {
    received: VecDeque<Vec<u8>>,
    sent: VecDeque<Vec<u8>>,
    /// Whether it sends packets of any size, whose checksums others see to.
    large: bool,
}

struct Incoming(Vec<u8>);

struct Outgoing<'a>(&'a mut VecDeque<Vec<u8>>);

impl RxToken for Incoming {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        self.0.push_back(packet);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Incoming;
    type TxToken<'a> = Outgoing<'a>;

    fn receive(&mut self, _: time::Instant) -> Option<(Incoming, Outgoing<'_>)> {
        Some((Incoming(self.received.pop_front()?), Outgoing(&mut self.sent)))
    }

    fn transmit(&mut self, _: time::Instant) -> Option<Outgoing<'_>> {
        (self.sent.len() < 256).then_some(Outgoing(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = if self.large { 65_535 } else { 1500 };
        if self.large {
            let ipv4 = capabilities.checksum.ipv4;
            capabilities.checksum = ChecksumCapabilities::ignored();
            capabilities.checksum.ipv4 = ipv4;
        }
        capabilities
    }
}
