//! `Stack`: smoltcp's interface, one packet at a time, on a set of one socket.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::{Duration, Instant},
};

use smoltcp::{
    iface::{Config, Context, Interface, SocketSet},
    phy::{Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken},
    time,
    wire::HardwareAddress,
};

use crate::user::{link::Frame, packet::ETHERNET};

/// Bytes at the start of a packet that headers may have: cleared first, since options are padded with what is there.
const HEADERS: usize = 40 + 60;

/// Longer than smoltcp's timer for what is under way ever is.
const LONGEST_TIMER: Duration = Duration::from_secs(120);

/// Whether and when a socket has something to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    Now,
    At(Instant),
    Never,
}

/// smoltcp's interface. Sockets are in sets of their own, so that a packet costs a look at one.
pub(crate) struct Stack {
    interface: Interface,
    start: Instant,
    nobody: SocketSet<'static>,
}

impl Stack {
    pub(crate) fn new() -> Self {
        let mut config = Config::new(HardwareAddress::Ip);
        // Sequence numbers that nobody guesses: the standard library's hashes have a random key.
        config.random_seed = RandomState::new().build_hasher().finish();
        let mut wire = Wire { packet: None, bytes: &mut [], len: &mut 0 };
        let mut interface = Interface::new(config, &mut wire, time::Instant::ZERO);
        interface.set_any_ip(true);
        Self { interface, start: Instant::now(), nobody: SocketSet::new(Vec::new()) }
    }

    fn time(&self, now: Instant) -> time::Instant {
        let micros = now.saturating_duration_since(self.start).as_micros();
        time::Instant::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
    }

    /// The context that a socket needs to connect.
    pub(crate) fn context(&mut self) -> &mut Context {
        self.interface.context()
    }

    /// Gives `packet` to the socket in `sockets`, and puts the answer into `reply`, if there is one at once: its
    /// packet alone, without an Ethernet header; says how long it is.
    pub(crate) fn input(
        &mut self,
        now: Instant,
        sockets: &mut SocketSet<'static>,
        packet: &[u8],
        reply: &mut Frame,
    ) -> usize {
        let (now, mut len) = (self.time(now), 0);
        let mut wire = Wire { packet: Some(packet), bytes: &mut reply.bytes[ETHERNET..], len: &mut len };
        self.interface.poll_ingress_single(now, &mut wire, sockets);
        len
    }

    /// Refuses `packet`, which belongs to no connection, with a RST in `reply` (RFC 9293, 3.10.7.1).
    pub(crate) fn refuse(&mut self, now: Instant, packet: &[u8], reply: &mut Frame) -> usize {
        let (now, mut len) = (self.time(now), 0);
        let mut wire = Wire { packet: Some(packet), bytes: &mut reply.bytes[ETHERNET..], len: &mut len };
        self.interface.poll_ingress_single(now, &mut wire, &mut self.nobody);
        len
    }

    /// Puts the next packet of the socket in `sockets` into `frame`, behind the room for an Ethernet header; says
    /// how long it is, 0 if there is none.
    pub(crate) fn output(
        &mut self,
        now: Instant,
        sockets: &mut SocketSet<'static>,
        frame: &mut Frame,
    ) -> usize {
        let (now, mut len) = (self.time(now), 0);
        let mut wire = Wire { packet: None, bytes: &mut frame.bytes[ETHERNET..], len: &mut len };
        self.interface.poll_egress(now, &mut wire, sockets);
        len
    }

    /// Has the socket in `sockets` send again what the guest has not acknowledged, from the first byte on and as far as its window
    /// goes, and puts the first packet into `frame`; says how long it is. smoltcp does that alone when its timer is over, so it is
    /// told of a time when it is.
    pub(crate) fn resend(
        &mut self,
        now: Instant,
        sockets: &mut SocketSet<'static>,
        frame: &mut Frame,
    ) -> usize {
        match self.due(now, sockets) {
            Due::At(timer) => self.output(timer, sockets, frame),
            // There is more to send yet, which the guest will answer.
            Due::Now | Due::Never => 0,
        }
    }

    /// The same after `opening`, by which the guest opens its window again: smoltcp gave up its timer when the window was shut.
    pub(crate) fn resend_after(
        &mut self,
        opening: &[u8],
        now: Instant,
        sockets: &mut SocketSet<'static>,
        frame: &mut Frame,
    ) -> usize {
        // Three duplicates start the timer again, by a fast retransmit (RFC 5681, 3.2). That is for nobody: it may be longer than the
        // window, and Linux refuses it as a whole then.
        for _ in 0..3 {
            self.input(now, sockets, opening, frame);
        }
        self.output(now, sockets, frame);
        self.output(now + LONGEST_TIMER, sockets, frame)
    }

    /// When the socket in `sockets` has something to send.
    pub(crate) fn due(&mut self, now: Instant, sockets: &SocketSet<'static>) -> Due {
        let time = self.time(now);
        match self.interface.poll_delay(time, sockets) {
            None => Due::Never,
            Some(delay) if delay.total_micros() == 0 => Due::Now,
            Some(delay) => Due::At(now + Duration::from_micros(delay.total_micros())),
        }
    }
}

/// The wire as smoltcp has it: at most one packet in, and one out.
struct Wire<'a> {
    packet: Option<&'a [u8]>,
    bytes: &'a mut [u8],
    len: &'a mut usize,
}

struct Incoming<'a>(&'a [u8]);

struct Outgoing<'a> {
    bytes: &'a mut [u8],
    len: &'a mut usize,
}

impl RxToken for Incoming<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

impl TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        *self.len = len;
        self.bytes[..len.min(HEADERS)].fill(0);
        f(&mut self.bytes[..len])
    }
}

impl Device for Wire<'_> {
    type RxToken<'b>
        = Incoming<'b>
    where
        Self: 'b;
    type TxToken<'b>
        = Outgoing<'b>
    where
        Self: 'b;

    fn receive(&mut self, _: time::Instant) -> Option<(Incoming<'_>, Outgoing<'_>)> {
        let packet = self.packet.take()?;
        Some((Incoming(packet), Outgoing { bytes: self.bytes, len: self.len }))
    }

    fn transmit(&mut self, _: time::Instant) -> Option<Outgoing<'_>> {
        (*self.len == 0).then_some(Outgoing { bytes: self.bytes, len: self.len })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        // What comes in was looked at; TCP that goes out is completed by us or by the guest.
        let mut checksum = ChecksumCapabilities::ignored();
        checksum.ipv4 = Checksum::Tx;
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = usize::from(u16::MAX);
        capabilities.checksum = checksum;
        capabilities
    }
}
