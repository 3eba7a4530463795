//! A guest's socket layer, in short: connections with credit over the device's queues.

use std::collections::{HashMap, VecDeque};

use vm_memory::{Bytes, GuestAddress};

use super::super::{
    Vsock, VsockHandle,
    connection::Ports,
    packet::{HEADER_LEN, HOST_CID, Header, Operation, RECEIVES_NO_MORE, STREAM},
};
use crate::testing::{Rig, TransportKind, driver::Buffer};

/// The guest's CID.
pub(super) const CID: u32 = 3;

/// Bytes of each receive buffer, as Linux has them, and how many of them there are.
const RECEIVE_BUFFER: u32 = 4096;
const RECEIVE_BUFFERS: usize = 64;

/// What the guest keeps for each connection, unless a test says otherwise.
pub(super) const GUEST_BUF_ALLOC: u32 = 64 << 10;

pub(super) struct Guest {
    pub(super) rig: Rig,
    pub(super) handle: VsockHandle,
    /// Where packets to send are made.
    outgoing: Option<Buffer>,
    /// Buffers that the device has, by their heads.
    offered: HashMap<u16, Buffer>,
    /// Used buffers go back at once.
    pub(super) is_hungry: bool,
    /// Packets that came and that nobody looked at yet.
    inbox: VecDeque<(Header, Vec<u8>)>,
    /// The last packet of each connection, which tells of credit.
    latest: HashMap<(u32, u32), Header>,
}

/// A connected socket.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) ports: Ports,
    /// What this side keeps, and has read.
    pub(super) buf_alloc: u32,
    pub(super) fwd_cnt: u32,
    pub(super) sent: u32,
    /// What the device said last.
    pub(super) peer_buf_alloc: u32,
    pub(super) peer_fwd_cnt: u32,
    /// Received, and not read yet.
    received: VecDeque<u8>,
}

impl Guest {
    pub(super) fn on_each(test: impl Fn(&mut Self)) {
        for kind in TransportKind::ALL {
            eprintln!("on {kind:?}:");
            let (device, handle) = Vsock::new("vsock0", CID);
            test(&mut Self::of(kind, device, handle));
        }
    }

    pub(super) fn of(kind: TransportKind, device: Vsock, handle: VsockHandle) -> Self {
        let rig = Rig::new(kind, Box::new(device));
        Self {
            rig,
            handle,
            outgoing: None,
            offered: HashMap::new(),
            is_hungry: true,
            inbox: VecDeque::new(),
            latest: HashMap::new(),
        }
    }

    /// Starts the driver, with buffers for packets.
    pub(super) fn start(&mut self) {
        self.start_without_buffers();
        let buffers: Vec<_> =
            (0..RECEIVE_BUFFERS).map(|_| self.rig.driver.writable(RECEIVE_BUFFER)).collect();
        buffers.into_iter().for_each(|buffer| self.offer(buffer));
        self.rig.driver.kick(0);
    }

    pub(super) fn start_without_buffers(&mut self) {
        self.offered.clear();
        self.inbox.clear();
        self.rig.driver.start_with(!0);
    }

    pub(super) fn offer(&mut self, buffer: Buffer) {
        let head = self.rig.driver.add(0, &[buffer]);
        self.offered.insert(head, buffer);
    }

    /// Has the device look at everything that is there by now.
    pub(super) fn settle(&mut self) {
        for _ in 0..3 {
            // Each start looks at all queues and sockets once.
            self.rig.device.pause();
            self.rig.device.resume();
        }
        self.rig.device.pause();
        while let Some(used) = self.rig.driver.queue(0).take_used() {
            self.take(used.head, used.written);
        }
        self.rig.device.resume();
    }

    fn take(&mut self, head: u16, written: u32) {
        let buffer = self.offered.remove(&head).expect("a buffer that was offered");
        let mut bytes = self.rig.driver.bytes(buffer);
        bytes.truncate(written as usize);
        let payload = bytes.split_off(HEADER_LEN);
        let header = Header::decode(&bytes.try_into().unwrap());
        assert_eq!(header.len as usize, payload.len());
        assert_eq!(header.dst_cid, u64::from(CID));
        self.latest.insert((header.dst_port, header.src_port), header);
        self.inbox.push_back((header, payload));
        if self.is_hungry {
            self.offer(buffer);
            self.rig.driver.kick(0);
        }
    }

    /// The packets that came and were not looked at.
    pub(super) fn unread(&mut self) -> Vec<(Header, Vec<u8>)> {
        self.inbox.drain(..).collect()
    }

    /// The next packet that is `wanted`; others wait.
    pub(super) fn wait(&mut self, wanted: impl Fn(&Header, &[u8]) -> bool) -> (Header, Vec<u8>) {
        let mut seen = 0;
        loop {
            while seen < self.inbox.len() {
                if wanted(&self.inbox[seen].0, &self.inbox[seen].1) {
                    return self.inbox.remove(seen).unwrap();
                }
                seen += 1;
            }
            let used = self.rig.driver.wait_used(0);
            self.take(used.head, used.written);
        }
    }

    /// The next packet of a connection that is no news of credit.
    fn next_of(&mut self, ports: Ports) -> (Header, Vec<u8>) {
        self.wait(|header, _| {
            (header.src_port, header.dst_port) == (ports.host, ports.guest) && !is_of_credit(header)
        })
    }

    /// The next packet of a connection must be this.
    pub(super) fn expect(&mut self, ports: Ports, operation: Operation) -> Header {
        let (header, _) = self.next_of(ports);
        assert_eq!(Operation::from_number(header.op), Some(operation), "{header:?}");
        header
    }

    /// Sends a packet, whatever it is.
    pub(super) fn send(&mut self, header: &Header, payload: &[u8]) {
        let outgoing = self.outgoing.get_or_insert_with(|| self.rig.driver.readable(&vec![0; 512 << 10]));
        let at = outgoing.address;
        let bytes = [&header.encode()[..], payload].concat();
        self.rig.ram.write_slice(&bytes, GuestAddress(at)).unwrap();
        let head = Buffer { address: at, len: 44, writable: false };
        let body = Buffer { address: at + 44, len: u32::try_from(payload.len()).unwrap(), writable: false };
        let chain = [head, body];
        assert_eq!(self.rig.driver.request(1, if payload.is_empty() { &chain[..1] } else { &chain }), 0);
    }

    /// Connects to a port of the host; nothing if it is refused.
    pub(super) fn connect(&mut self, guest: u32, host: u32) -> Option<Socket> {
        let mut socket = Socket::new(Ports { guest, host }, GUEST_BUF_ALLOC);
        self.say(&socket, Operation::Request, 0);
        let (header, _) = self.next_of(socket.ports);
        socket.hear(&header);
        (header.op == Operation::Response as u16).then_some(socket)
    }

    /// Accepts a connection of the host to `port`.
    pub(super) fn accept(&mut self, port: u32) -> Socket {
        let (header, _) = self.wait(|header, _| header.op == Operation::Request as u16);
        assert_eq!((header.src_cid, header.kind, header.dst_port), (HOST_CID, STREAM, port));
        let mut socket = Socket::new(Ports { guest: port, host: header.src_port }, GUEST_BUF_ALLOC);
        socket.hear(&header);
        self.say(&socket, Operation::Response, 0);
        socket
    }

    pub(super) fn say(&mut self, socket: &Socket, operation: Operation, flags: u32) {
        self.send(&Header { flags, ..socket.header(operation) }, b"");
    }

    pub(super) fn shut_down(&mut self, socket: &Socket, flags: u32) {
        self.say(socket, Operation::Shutdown, flags);
    }

    pub(super) fn reset(&mut self, socket: &Socket) {
        self.say(socket, Operation::Reset, 0);
    }

    /// Sends payload, without a look at credit.
    pub(super) fn send_data(&mut self, socket: &mut Socket, bytes: &[u8]) {
        let len = u32::try_from(bytes.len()).unwrap();
        self.send(&Header { len, ..socket.header(Operation::Data) }, bytes);
        socket.sent = socket.sent.wrapping_add(len);
    }

    /// Sends payload as there is credit, waiting for more.
    pub(super) fn write(&mut self, socket: &mut Socket, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if let Some(header) = self.latest.get(&(socket.ports.guest, socket.ports.host)) {
                socket.hear(header);
            }
            let credit = socket.credit().min(64 << 10) as usize;
            if credit == 0 {
                let used = self.rig.driver.wait_used(0);
                self.take(used.head, used.written);
                continue;
            }
            let (piece, rest) = bytes.split_at(bytes.len().min(credit));
            self.send_data(socket, piece);
            bytes = rest;
        }
    }

    /// Reads `len` bytes, and says so.
    pub(super) fn read(&mut self, socket: &mut Socket, len: usize) -> Vec<u8> {
        while socket.received.len() < len {
            let (header, payload) = self.next_of(socket.ports);
            if header.op == Operation::Shutdown as u16 && header.flags == RECEIVES_NO_MORE {
                // Of the other direction.
                continue;
            }
            assert_eq!(header.op, Operation::Data as u16, "{header:?}");
            socket.received.extend(payload);
            assert!(socket.received.len() <= socket.buf_alloc as usize, "more than there is credit for");
            if socket.received.len() > socket.buf_alloc as usize / 2 && socket.received.len() < len {
                // A reader takes what is there.
                return self.read_in_parts(socket, len);
            }
        }
        self.read_now(socket, len)
    }

    fn read_in_parts(&mut self, socket: &mut Socket, len: usize) -> Vec<u8> {
        let now = socket.received.len();
        let mut bytes = self.read_now(socket, now);
        bytes.extend(self.read(socket, len - now));
        bytes
    }

    fn read_now(&mut self, socket: &mut Socket, len: usize) -> Vec<u8> {
        let bytes: Vec<_> = socket.received.drain(..len).collect();
        socket.fwd_cnt = socket.fwd_cnt.wrapping_add(u32::try_from(len).unwrap());
        self.say(socket, Operation::CreditUpdate, 0);
        bytes
    }
}

impl Socket {
    pub(super) fn new(ports: Ports, buf_alloc: u32) -> Self {
        Self {
            ports,
            buf_alloc,
            fwd_cnt: 0,
            sent: 0,
            peer_buf_alloc: 0,
            peer_fwd_cnt: 0,
            received: VecDeque::new(),
        }
    }

    pub(super) fn header(&self, operation: Operation) -> Header {
        Header {
            src_cid: CID.into(),
            dst_cid: HOST_CID,
            src_port: self.ports.guest,
            dst_port: self.ports.host,
            kind: STREAM,
            op: operation as u16,
            buf_alloc: self.buf_alloc,
            fwd_cnt: self.fwd_cnt,
            ..Header::default()
        }
    }

    pub(super) fn hear(&mut self, header: &Header) {
        self.peer_buf_alloc = header.buf_alloc;
        self.peer_fwd_cnt = header.fwd_cnt;
    }

    /// Bytes that the device has room for.
    pub(super) fn credit(&self) -> u32 {
        self.peer_buf_alloc - self.sent.wrapping_sub(self.peer_fwd_cnt)
    }
}

fn is_of_credit(header: &Header) -> bool {
    [Operation::CreditUpdate as u16, Operation::CreditRequest as u16].contains(&header.op)
}
