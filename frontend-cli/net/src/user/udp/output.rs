//! Datagrams for the guest: read from the host one at a time, when the guest has room, and cut into fragments where
//! they are longer than a frame.

use std::{io, net::SocketAddr};

use hv_core::net::FrameHeader;

use super::{Exchange, Host, Port, Source, UDP_HEADER, Udp};
use crate::user::{
    addresses::{MTU, gateway_towards},
    fragments::fragments,
    icmp::{self, Reason},
    link::{Ends, Frame, Link, ip_header_len, write_ip},
    packet::{ETHERNET, UDP},
};

/// The longest payload over IPv4, which is as much as a host's socket sends.
const MAX_PAYLOAD: usize = 65_507;

impl Udp {
    /// The host may have datagrams on the exchange with number `slot`.
    pub(crate) fn event(&mut self, slot: usize) {
        if let Some(exchange) = self.exchanges.at(slot).filter(|exchange| !exchange.is_queued) {
            exchange.is_queued = true;
            self.queue.push_back(Source::Exchange(slot));
        }
    }

    /// The host may have datagrams on the forwarded port with number `forward`.
    pub(crate) fn forward_event(&mut self, forward: usize) {
        if !self.queue.contains(&Source::Forward(forward)) {
            self.queue.push_back(Source::Forward(forward));
        }
    }

    /// Puts the next datagram into `frame`, or its fragments into the link's queue; false if there is none. `port`
    /// finds forwarded ports by number, and where they lead.
    pub(crate) fn output<'a>(
        &mut self,
        link: &mut Link,
        frame: &mut Frame,
        port: impl Fn(usize) -> Option<(Port<'a>, SocketAddr)>,
    ) -> bool {
        while let Some(&source) = self.queue.front() {
            let read = match source {
                Source::Exchange(slot) => self.read(link, slot, frame),
                Source::Forward(number) => match port(number) {
                    Some((port, guest)) => self.read_forward(link, &port, guest, frame),
                    None => Err(io::ErrorKind::WouldBlock),
                },
            };
            match read {
                Ok(Some((ends, len))) => {
                    // The next one is another's.
                    self.queue.rotate_left(1);
                    return finish(link, frame, ends, len);
                }
                // A datagram that leads nowhere.
                Ok(None) | Err(io::ErrorKind::Interrupted) => {}
                Err(error) => {
                    self.queue.pop_front();
                    self.is_dry(link, source, error);
                }
            }
        }
        false
    }

    fn read(
        &mut self,
        link: &Link,
        slot: usize,
        frame: &mut Frame,
    ) -> Result<Option<(Ends, usize)>, io::ErrorKind> {
        let exchange = self.exchanges.at(slot);
        let Some(Exchange { ends, host: Host::Socket(socket), used, .. }) = exchange else {
            return Err(io::ErrorKind::WouldBlock);
        };
        let start = ETHERNET + ip_header_len(ends.guest.ip()) + UDP_HEADER;
        let len = socket.recv(&mut frame.bytes[start..]).map_err(|error| error.kind())?;
        *used = link.now;
        Ok((len <= MAX_PAYLOAD).then_some((*ends, len)))
    }

    fn read_forward(
        &mut self,
        link: &Link,
        port: &Port<'_>,
        guest: SocketAddr,
        frame: &mut Frame,
    ) -> Result<Option<(Ends, usize)>, io::ErrorKind> {
        let start = ETHERNET + ip_header_len(guest.ip()) + UDP_HEADER;
        let read = port.socket.recv_from(&mut frame.bytes[start..]);
        let (len, client) = match read {
            Ok(read) => read,
            // A client that is gone is no matter of the port.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(None),
            Err(error) => return Err(error.kind()),
        };
        if link.guest.is_none() || len > MAX_PAYLOAD {
            return Ok(None);
        }
        let Some(slot) = self.exchange_of(link, port.number, client, guest) else { return Ok(None) };
        let Some(exchange) = self.exchanges.at(slot) else { return Ok(None) };
        exchange.used = link.now;
        Ok(Some((exchange.ends, len)))
    }

    /// The exchange of a client of a forwarded port, perhaps a new one.
    fn exchange_of(
        &mut self,
        link: &Link,
        forward: usize,
        client: SocketAddr,
        guest: SocketAddr,
    ) -> Option<usize> {
        if let Some(slot) = self.by_client.get(&(forward, client)).copied() {
            let known = self.exchanges.at(slot).is_some_and(|exchange| exchange.ends.guest == guest);
            if known {
                return Some(slot);
            }
            // The guest has another address now.
            self.remove(link, slot);
        }
        self.make_room(link);
        let gateway = gateway_towards(guest.ip());
        let mut ports = (client.port().max(1024)..=u16::MAX).chain(1024..=client.port()).take(1024);
        let ends = ports.find_map(|port| {
            let ends = Ends { guest, remote: SocketAddr::new(gateway, port) };
            (!self.by_ends.contains_key(&ends)).then_some(ends)
        })?;
        Some(self.add(link, ends, Host::Client { forward, client }))
    }

    /// Nothing more is to be read for now.
    fn is_dry(&mut self, link: &mut Link, source: Source, error: io::ErrorKind) {
        let Source::Exchange(slot) = source else { return };
        let Some(exchange) = self.exchanges.at(slot) else { return };
        exchange.is_queued = false;
        let reason = match error {
            io::ErrorKind::ConnectionRefused => Reason::Port,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Reason::Host,
            _ => return,
        };
        icmp::report_udp(link, exchange.ends, reason);
        // There may be datagrams behind the error.
        self.event(slot);
    }
}

/// Writes the headers around the `len` bytes of payload in `frame`; false if the frames are in the link's queue.
fn finish(link: &mut Link, frame: &mut Frame, ends: Ends, len: usize) -> bool {
    let (guest, remote) = (ends.guest.ip(), ends.remote.ip());
    let transport = ETHERNET + ip_header_len(guest);
    let udp_len = UDP_HEADER + len;
    frame.len = transport + udp_len;
    let bytes = &mut frame.bytes[..frame.len];
    link.write_ethernet(bytes, guest);
    write_ip(&mut bytes[ETHERNET..], remote, guest, UDP, udp_len);
    bytes[transport..transport + 2].copy_from_slice(&ends.remote.port().to_be_bytes());
    bytes[transport + 2..transport + 4].copy_from_slice(&ends.guest.port().to_be_bytes());
    let told = u16::try_from(udp_len).unwrap_or(u16::MAX).to_be_bytes();
    bytes[transport + 4..transport + 6].copy_from_slice(&told);
    if bytes.len() <= ETHERNET + usize::from(MTU) {
        frame.header = link.checksum(ends, UDP, transport, bytes);
        return true;
    }
    // The sum goes over all fragments: nobody completes it for us.
    let accepted = std::mem::take(&mut link.accepted);
    link.checksum(ends, UDP, transport, bytes);
    link.accepted = accepted;
    let identification = link.next_identification().into();
    for fragment in fragments(bytes, transport, MTU.into(), identification) {
        link.push(FrameHeader::default(), fragment);
    }
    link.pop(frame)
}
