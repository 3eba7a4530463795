//! TCP: connections of the guest to the world and of the host's clients to the guest. smoltcp is the guest's other
//! end; bytes go between its rings and sockets of the host.

mod flow;
mod host;
mod output;
mod rings;
mod segment;
mod stack;

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    time::Instant,
};

use hv_core::net::FrameHeader;
use smoltcp::socket::tcp::State;

pub(crate) use self::segment::Segment;
use self::{
    flow::{Flow, Stage},
    rings::Rings,
    segment::{FIN, RST, SYN, maximum_segment_size},
    stack::Stack,
};
use super::{
    addresses::MTU,
    deadlines::Deadlines,
    icmp::{self, Reason},
    link::{Ends, Frame, Link, ip_header_len},
    packet::{self, ETHERNET, Packet},
    slots::Slots,
};

/// Bytes of the guest from which on they are written before the guest's other frames are looked at.
const WRITE_AT_ONCE: usize = 64 << 10;

/// Bytes of a TCP header without options.
const TCP_HEADER: u16 = 20;

/// The largest maximum segment size that smoltcp is told of: with IPv6 and TCP headers it still is one packet.
const LARGEST_SEGMENT: u16 = 65_535 - 40 - TCP_HEADER;

/// All connections.
pub(crate) struct Tcp {
    stack: Stack,
    flows: Slots<Flow>,
    by_ends: HashMap<Ends, usize>,
    rings: Rings,
    /// Flows that may have something for the guest, in turn.
    queue: VecDeque<usize>,
    /// Flows that got something from the guest since [`Self::flush`].
    touched: Vec<usize>,
    deadlines: Deadlines,
    reply: Frame,
    /// mio's token of the first flow.
    first_token: usize,
    max_connections: usize,
    /// Whether the guest may reach this host.
    host: bool,
    /// The gateway's port that is tried next for a client of a forwarded port.
    next_port: u16,
}

impl Tcp {
    pub(crate) fn new(first_token: usize, max_connections: usize, host: bool) -> Self {
        Self {
            stack: Stack::new(),
            flows: Slots::new(),
            by_ends: HashMap::new(),
            rings: Rings::default(),
            queue: VecDeque::new(),
            touched: Vec::new(),
            deadlines: Deadlines::default(),
            reply: Frame::new(),
            first_token,
            max_connections,
            host,
            next_port: 0,
        }
    }

    /// How many connections there are.
    pub(crate) fn len(&self) -> usize {
        self.flows.len()
    }

    /// Takes a segment of the guest, whose checksum is right.
    pub(crate) fn input(&mut self, link: &mut Link, frame: &mut [u8], packet: &Packet) {
        let Some(segment) = Segment::parse(&frame[packet.transport..packet.end]) else { return };
        let ends = Ends {
            guest: SocketAddr::new(packet.source, segment.source_port),
            remote: SocketAddr::new(packet.destination, segment.destination_port),
        };
        let known = self.by_ends.get(&ends).copied();
        // A connection that only waits for late segments makes room for the next one.
        if let Some(slot) = known
            && segment.opens()
            && self.flows.at(slot).and_then(Flow::open).is_some_and(|(open, _)| open.is_over())
        {
            self.remove(link, slot, false);
            self.connect(link, frame, packet, ends);
        } else if let Some(slot) = known {
            self.known(link, slot, frame, packet, segment);
        } else if segment.opens() {
            self.connect(link, frame, packet, ends);
        } else if !segment.has(RST) {
            self.refuse(link, ends, packet.without_extensions(frame));
        }
    }

    /// A segment of a connection that is there.
    fn known(&mut self, link: &mut Link, slot: usize, frame: &mut [u8], packet: &Packet, segment: Segment) {
        let Some(Flow { ends, stage, .. }) = self.flows.at(slot) else { return };
        let Stage::Open(open) = stage else {
            // The SYN again; or the guest has lost interest.
            if segment.has(RST) {
                self.remove(link, slot, true);
            }
            return;
        };
        let transport = packet.transport - ETHERNET;
        let plain = if packet.source.is_ipv4() { transport } else { packet::IPV6 };
        let packet = packet.without_extensions(frame);
        if segment.has(SYN) {
            open.segment = tell_segment_size(link, *ends, &mut packet[plain..]);
        }
        let before = open.socket().state();
        if open.is_window_unscaled && segment.len > 0 {
            trim(packet, plain, segment, open.edge);
        }
        let len = self.stack.input(link.now, &mut open.sockets, packet, &mut self.reply);
        let is_opened = segment.window != 0 && open.is_shut && segment.acknowledges_only();
        open.is_shut = segment.window == 0 || open.is_shut && !is_opened;
        (open.waiting, open.resent) = (None, 0);
        if segment.has(SYN) && before == State::SynSent {
            let capacity = u32::try_from(open.socket().recv_capacity()).unwrap_or(u32::MAX);
            open.edge = segment.sequence.wrapping_add(1).wrapping_add(capacity);
        }
        let write_now = open.socket().recv_queue() >= WRITE_AT_ONCE;
        if !open.is_touched {
            open.is_touched = true;
            self.touched.push(slot);
        }
        let was_thrown_away = is_opened && open.is_under_way(segment.acknowledgment);
        self.reply(link, slot, len);
        if was_thrown_away && let Some((open, _)) = self.flows.at(slot).and_then(Flow::open) {
            // smoltcp never again sends what a guest had to throw away when it shut its window.
            let len = self.stack.resend_after(packet, link.now, &mut open.sockets, &mut self.reply);
            self.reply(link, slot, len);
        }
        if write_now && let Some((open, stream)) = self.flows.at(slot).and_then(Flow::open) {
            open.drain(stream);
        }
    }

    /// The guest has no more segments for now: the host gets what it sent.
    pub(crate) fn flush(&mut self, link: &mut Link) {
        for slot in std::mem::take(&mut self.touched) {
            let Some((open, stream)) = self.flows.at(slot).and_then(Flow::open) else { continue };
            // Perhaps another flow's, which has the number now: this does no harm to it.
            open.is_touched = false;
            open.drain(stream);
            self.settle(link, slot);
        }
    }

    /// Answers the segment in `packet` with a RST.
    fn refuse(&mut self, link: &mut Link, ends: Ends, packet: &[u8]) {
        let len = self.stack.refuse(link.now, packet, &mut self.reply);
        if len > 0 {
            seal(link, ends, &mut self.reply, len, 0);
            link.push(self.reply.header, self.reply.filled().to_vec());
        }
    }

    /// Puts the packet of `len` bytes that smoltcp put into the reply, if there is one, into the queue for the guest.
    fn reply(&mut self, link: &mut Link, slot: usize, len: usize) {
        let Some(flow) = self.flows.at(slot).filter(|_| len > 0) else { return };
        let ends = flow.ends;
        let Some((open, _)) = flow.open() else { return };
        if let Some(segment) = seal(link, ends, &mut self.reply, len, open.segment) {
            open.has_sent(segment);
        }
        link.push(self.reply.header, self.reply.filled().to_vec());
    }

    /// Answers the SYN in `packet` with an ICMP error.
    fn report(link: &mut Link, ends: Ends, packet: &[u8], reason: Reason) {
        let transport = match ends.guest {
            SocketAddr::V4(_) => usize::from(packet[0] & 15) * 4,
            SocketAddr::V6(_) => packet::IPV6,
        };
        icmp::report(link, ends, packet::TCP, &packet[transport..], reason);
    }

    /// Forgets a connection; `reset` ends it for the host with a RST.
    fn remove(&mut self, link: &Link, slot: usize, reset: bool) {
        let Some(mut flow) = self.flows.remove(slot) else { return };
        self.by_ends.remove(&flow.ends);
        if let Stage::Open(open) = &flow.stage {
            self.rings.give_back(open.tier);
        }
        if let Some(registry) = &link.registry {
            // It is not registered if that failed.
            let _ = registry.deregister(&mut flow.stream);
        }
        if reset {
            host::reset(&flow.stream);
        }
        if self.deadlines.len() > 4 * self.max_connections {
            let flows = &mut self.flows;
            let counts = |slot, at| flows.at(slot).is_some_and(|flow| flow.planned == Some(at));
            self.deadlines.keep(counts);
        }
    }

    /// When to call [`Self::wake`].
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// Forgets all connections.
    pub(crate) fn stop(&mut self, link: &Link) {
        for slot in self.flows.numbers() {
            self.remove(link, slot, true);
        }
        *self = Self::new(self.first_token, self.max_connections, self.host);
    }
}

/// The maximum segment size that the guest tells in its SYN, as far as our frames keep to it. smoltcp is told of a
/// larger one if the guest cuts for itself.
fn tell_segment_size(link: &Link, ends: Ends, transport: &mut [u8]) -> u16 {
    let ours = our_segment_size(ends);
    let large = link.takes_large(ends.guest.ip());
    let told = maximum_segment_size(transport, |told| if large { LARGEST_SEGMENT } else { told.min(ours) });
    // As smoltcp has it: less is no honest size.
    told.clamp(48, ours)
}

/// The maximum segment size of the network.
fn our_segment_size(ends: Ends) -> u16 {
    let header = u16::try_from(ip_header_len(ends.guest.ip())).unwrap_or(u16::MAX);
    MTU.saturating_sub(header).saturating_sub(TCP_HEADER)
}

/// Takes off `packet`, whose TCP header is at `transport`, what lies behind `edge`.
fn trim(packet: &mut [u8], transport: usize, segment: Segment, edge: u32) {
    let room = edge.wrapping_sub(segment.sequence);
    // A sequence number behind the edge is none of the window either, which smoltcp answers.
    let room = if room > u32::MAX / 2 { 0 } else { usize::try_from(room).unwrap_or(usize::MAX) };
    let Some(excess) = segment.len.checked_sub(room).filter(|excess| *excess > 0) else { return };
    packet[transport + 13] &= !FIN;
    let at = if packet[0] >> 4 == 4 { 2 } else { 4 };
    let told = usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
    let len = u16::try_from(told.saturating_sub(excess)).unwrap_or(0);
    packet[at..at + 2].copy_from_slice(&len.to_be_bytes());
}

/// Makes a frame for the guest of the packet of TCP with `len` bytes that smoltcp put into `frame`; says what its
/// header is. `size` is the payload that the guest's network takes in one segment.
fn seal(link: &Link, ends: Ends, frame: &mut Frame, len: usize, size: u16) -> Option<Segment> {
    let guest = ends.guest.ip();
    frame.len = ETHERNET + len;
    link.write_ethernet(&mut frame.bytes, guest);
    let transport = ETHERNET + ip_header_len(guest);
    let segment = Segment::parse(&frame.bytes[transport..frame.len])?;
    if segment.has(SYN) {
        maximum_segment_size(&mut frame.bytes[transport..frame.len], |_| our_segment_size(ends));
    }
    frame.header = link.checksum(ends, packet::TCP, transport, &mut frame.bytes[..frame.len]);
    if segment.len > usize::from(size) && link.takes_large(guest) {
        frame.header.gso_type = if guest.is_ipv4() { FrameHeader::GSO_TCPV4 } else { FrameHeader::GSO_TCPV6 };
        frame.header.gso_size = size;
        frame.header.header_len = u16::try_from(transport + segment.header_len).unwrap_or(u16::MAX);
    }
    Some(segment)
}
