//! The user network: frames of the guest, whatever they are, while clients of this process come by forwarded ports.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    os::fd::AsFd,
    time::Duration,
};

use hv_core::{
    memory::{GuestAddress, GuestBuffer, GuestRam, Segment},
    net::{FrameHeader, MAX_FRAME, MAX_PLAIN_FRAME, NetBackend, Offloads},
};
use hv_net::user::{
    Forward, Protocol, UserConfig, UserNetwork,
    addresses::{GATEWAY_MAC, GATEWAY_V4, GATEWAY_V6, GUEST_V4},
};

use crate::{
    input::Input,
    ram::{read, store},
};

/// Calls of one input.
const MAX_CALLS: usize = 256;

/// Connections that the network may have.
const MAX_CONNECTIONS: usize = 4;

/// Bytes of the guest's RAM.
const RAM: u32 = 0x2_0000;

struct Play {
    network: UserNetwork,
    accepted: Offloads,
    poll: mio::Poll,
    ram: GuestRam,
    clients: Vec<TcpStream>,
    address: SocketAddr,
    udp: UdpSocket,
    /// The gateway's port and next sequence number of the last connection to the guest.
    port: u16,
    sequence: u32,
    /// The guest's.
    own: u32,
}

/// Calls chosen by the bytes. The guest's packets go to the gateway, who is nobody here: nothing leaves the process
/// but to clients of its own.
///
/// Frames for the guest are whole, as long as was said, and no longer than it accepted; connections are bounded; a
/// driver that goes leaves nothing.
///
/// # Panics
/// One of these is not so.
pub fn net_user(data: &[u8]) {
    let mut input = Input::new(data);
    let accepted = input.choose(&[Offloads::all(), Offloads::empty(), Offloads::CHECKSUM]);
    let mut play = Play::new(accepted);
    for _ in 0..MAX_CALLS {
        if input.is_empty() {
            break;
        }
        play.call(&mut input);
        assert!(play.network.handle().tcp_connections() <= MAX_CONNECTIONS);
    }
    play.network.stop(play.poll.registry());
    let handle = play.network.handle();
    assert_eq!((handle.tcp_connections(), handle.udp_exchanges()), (0, 0));
    assert_eq!((play.network.next_len(), play.network.deadline()), (None, None));
}

impl Play {
    fn new(accepted: Offloads) -> Self {
        let forwards = vec![Forward::new(Protocol::Tcp, 0, 80), Forward::new(Protocol::Udp, 0, 53)];
        let config = UserConfig { forwards, host: false, max_connections: MAX_CONNECTIONS };
        let mut network = UserNetwork::new(config).expect("ports of the loopback");
        let poll = mio::Poll::new().expect("a descriptor");
        network.start(accepted, poll.registry()).expect("descriptors");
        let forwards = network.handle().forwards().to_vec();
        let address = |forward: &Forward| SocketAddr::new(forward.address, forward.host_port);
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a port of the loopback");
        udp.connect(address(&forwards[1])).expect("a port of the loopback");
        udp.set_nonblocking(true).expect("a socket");
        Self {
            accepted,
            poll,
            ram: hv_core::testing::ram(&[(0, RAM as usize)]),
            clients: Vec::new(),
            address: address(&forwards[0]),
            udp,
            port: 1024,
            sequence: 0,
            own: 1000,
            network,
        }
    }

    fn call(&mut self, input: &mut Input<'_>) {
        match input.below(10) {
            0 => {
                let len = usize::from(input.u8());
                let frame = input.bytes(len).to_vec();
                self.send(input.u8(), frame);
            }
            1..=4 => self.segment(input),
            5 => self.network.flush(),
            6 => {
                for _ in 0..input.below(8) {
                    self.receive();
                }
            }
            7 => self.clients(input),
            8 => {
                let len = usize::from(input.u16()) & 0xfff;
                let _ = self.udp.send(&vec![1; len]);
                let _ = self.udp.recv(&mut [0; 64]);
            }
            _ => self.datagram(input),
        }
        let mut events = mio::Events::with_capacity(64);
        self.poll.poll(&mut events, Some(Duration::ZERO)).expect("a look");
        self.network.wake(&events);
    }

    /// Sends a frame; a packet of IP goes to the gateway.
    fn send(&mut self, flags: u8, mut frame: Vec<u8>) {
        match frame.get(12..14) {
            Some([8, 0]) if frame.len() >= 34 => frame[30..34].copy_from_slice(&GATEWAY_V4.octets()),
            Some([0x86, 0xdd]) if frame.len() >= 54 => frame[38..54].copy_from_slice(&GATEWAY_V6.octets()),
            _ => {}
        }
        store(&self.ram, 0, &frame);
        let len = u32::try_from(frame.len()).expect("a short frame").min(RAM);
        let segments = [
            Segment { address: GuestAddress(0), len: len / 3 },
            Segment { address: GuestAddress(u64::from(len / 3)), len: len - len / 3 },
        ];
        let header = FrameHeader { flags: flags & 3, ..FrameHeader::default() };
        let taken = self.network.send(header, GuestBuffer { ram: &self.ram, segments: &segments });
        assert!(taken.expect("RAM"), "it has room for all frames");
    }

    /// Sends a packet of IPv4 with a right header.
    fn packet(&mut self, protocol: u8, body: &[u8]) {
        let total = u16::try_from(20 + body.len()).expect("a short packet").to_be_bytes();
        let mut header = vec![0x45, 0, total[0], total[1], 0, 0, 0x40, 0, 64, protocol, 0, 0];
        header.extend(GUEST_V4.octets());
        header.extend(GATEWAY_V4.octets());
        let sum: u32 =
            header.as_chunks::<2>().0.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum();
        let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap_or(0);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        let mut frame = GATEWAY_MAC.to_vec();
        frame.extend([0x52, 0x54, 0, 0, 0, 1, 8, 0]);
        frame.extend(header);
        frame.extend(body);
        self.send(FrameHeader::NEEDS_CHECKSUM, frame);
    }

    /// A segment that fits the last connection more or less.
    fn segment(&mut self, input: &mut Input<'_>) {
        let near = |input: &mut Input<'_>, value: u32| match input.u8() {
            0..=0x7f => value,
            0x80..=0xbf => value.wrapping_add(u32::from(input.u16())),
            0xc0..=0xdf => value.wrapping_sub(u32::from(input.u8())),
            0xe0..=0xef => value.wrapping_add(u32::from(input.u16()) << 8),
            _ => input.u32(),
        };
        let flags = input.choose(&[0x12, 0x10, 0x18, 0x11, 0x04, 0x02, 0x14, 0x10, input.clone().u8()]);
        let sequence = near(input, self.own);
        let acknowledged = near(input, self.sequence);
        let options = match input.u8() & 3 {
            0 => vec![],
            1 => vec![2, 4, 5, 0xb4],
            2 => vec![3, 3, 7, 1, 2, 4, 0xff, 0xff, 4, 2, 1, 1],
            _ => input.bytes(8).to_vec(),
        };
        let words = options.len() / 4;
        let len = usize::from(if input.flag() { input.u16() } else { u16::from(input.u8()) }) % 60_000;
        let mut body = vec![0, 80];
        body.extend(self.port.to_be_bytes());
        body.extend(sequence.to_be_bytes());
        body.extend(acknowledged.to_be_bytes());
        body.extend([u8::try_from(5 + words).unwrap_or(5) << 4, flags]);
        body.extend(input.u16().to_be_bytes());
        body.extend([0; 4]);
        body.extend(&options[..words * 4]);
        body.extend(vec![0x5a; len]);
        if sequence == self.own {
            let counted = u32::from(flags & 3 != 0);
            self.own = self.own.wrapping_add(u32::try_from(len).unwrap_or(0)).wrapping_add(counted);
        }
        self.packet(6, &body);
    }

    fn datagram(&mut self, input: &mut Input<'_>) {
        let len = usize::from(input.u8());
        let mut body = vec![0, 53];
        body.extend(input.u16().to_be_bytes());
        let told = if input.flag() { input.u16() } else { u16::try_from(8 + len).unwrap_or(8) };
        body.extend(told.to_be_bytes());
        body.extend([0, 0]);
        body.extend(vec![7; len]);
        self.packet(17, &body);
    }

    /// What clients on the host do.
    fn clients(&mut self, input: &mut Input<'_>) {
        match input.below(5) {
            0 if self.clients.len() < MAX_CONNECTIONS + 1 => {
                let Ok(client) = TcpStream::connect(self.address) else { return };
                let _ = client.set_nonblocking(true);
                // A reset at the end: no port is kept for late segments.
                let _ = rustix::net::sockopt::set_socket_linger(client.as_fd(), Some(Duration::ZERO));
                self.clients.push(client);
            }
            1 => drop(self.clients.pop()),
            2 => {
                let len = usize::from(input.u16());
                if let Some(client) = self.clients.last_mut() {
                    let _ = client.write(&vec![3; len]);
                }
            }
            3 => {
                if let Some(client) = self.clients.last_mut() {
                    let _ = client.read(&mut vec![0; 0x1_0000]);
                }
            }
            _ => {
                if let Some(client) = self.clients.last() {
                    let _ = client.shutdown(std::net::Shutdown::Write);
                }
            }
        }
    }

    /// Takes a frame of the network and looks at it.
    fn receive(&mut self) {
        let Some(told) = self.network.next_len() else { return };
        let segments = [Segment { address: GuestAddress(0), len: RAM }];
        let buffer = GuestBuffer { ram: &self.ram, segments: &segments };
        let received = self.network.receive(buffer).expect("RAM").expect("it said so");
        let most = if self.accepted == Offloads::all() { MAX_FRAME } else { MAX_PLAIN_FRAME };
        assert!(received.len <= told && told <= most, "{told} bytes");
        let frame = read(&self.ram, 0, received.len);
        assert_eq!(frame[6..12], GATEWAY_MAC);
        let needs = received.header.flags & FrameHeader::NEEDS_CHECKSUM != 0;
        assert!(!needs || self.accepted.contains(Offloads::CHECKSUM));
        let is_cut = received.header.gso_type != FrameHeader::GSO_NONE;
        assert!(is_cut || received.len <= MAX_PLAIN_FRAME, "long and not cut");
        assert!(!is_cut || (needs && received.header.gso_size >= 48));
        if frame[12..14] != [8, 0] {
            return;
        }
        let total = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
        assert_eq!((frame[14], total), (0x45, frame.len() - 14));
        if frame[23] == 6 && frame[47] & 2 != 0 {
            self.port = u16::from_be_bytes([frame[34], frame[35]]);
            self.sequence = u32::from_be_bytes([frame[38], frame[39], frame[40], frame[41]]).wrapping_add(1);
        } else if frame[23] == 6 {
            let header = usize::from(frame[46] >> 4) * 4;
            let len = u32::try_from(frame.len() - 34 - header).unwrap_or(0) + u32::from(frame[47] & 1);
            let sequence = u32::from_be_bytes([frame[38], frame[39], frame[40], frame[41]]);
            self.sequence = sequence.wrapping_add(len);
        }
    }
}
