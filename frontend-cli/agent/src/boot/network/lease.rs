//! DHCP (RFC 2131): a guest asks for an address as it starts, and has it renewed as long as it runs.

use std::{
    fs::File,
    io::{self, ErrorKind, Read},
    net::{Ipv4Addr, UdpSocket},
    num::NonZeroU32,
    os::fd::OwnedFd,
    thread,
    time::{Duration, Instant},
};

use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, socket_with, sockopt};

use super::netlink::Netlink;
use crate::{
    dhcp::{Client, Kind, LONGEST, Lease, answer, datagram},
    log::log,
};

/// Ports of client and server.
const CLIENT: u16 = 68;
const SERVER: u16 = 67;

/// `ETH_P_IP`, in the order of the network.
const IPV4_PACKETS: Protocol = Protocol::from_raw(NonZeroU32::new(0x0800_u16.to_be() as u32).unwrap());

/// So long is asked before the guest starts without. dnsmasq looks three seconds whether an address is free before it offers it.
const PATIENCE: Duration = Duration::from_secs(5);
/// A first question that has no answer by then is repeated, and later ones after twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// A renewal that has no answer is tried again after this.
const AGAIN: Duration = Duration::from_secs(60);

/// Asks on a link that is up.
///
/// # Errors
/// There is no answer in time, or nothing can be sent.
pub(super) fn ask(netlink: &Netlink, index: u32, client: Client<'_>) -> io::Result<Lease> {
    let asking = Asking::begin(netlink, index, client)?;
    loop {
        let offer = asking.converse(None)?;
        match asking.converse(Some(&offer)) {
            // Somebody else has it by now.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            lease => return lease,
        }
    }
}

/// Has a lease renewed until it is for ever. The guest keeps its address whatever the server says: programs use it.
pub(super) fn keep(netlink: &Netlink, index: u32, client: Client<'_>, mut lease: Lease) {
    let mut wait = lease.renewal();
    while let Some(time) = wait {
        thread::sleep(time);
        match Asking::begin(netlink, index, client).and_then(|asking| asking.converse(Some(&lease))) {
            Ok(renewed) => {
                wait = renewed.renewal();
                lease = renewed;
            }
            Err(error) => {
                log(&format!("the lease of {} is not renewed: {error}", lease.address));
                wait = Some(AGAIN);
            }
        }
    }
}

/// A conversation with whoever is on the link.
struct Asking<'a> {
    netlink: &'a Netlink,
    index: u32,
    socket: UdpSocket,
    /// Hears all IPv4 packets: some servers answer to the address that the guest does not have yet, though they are asked not to
    /// (RFC 2131, 4.1), and Linux gives such datagrams to no UDP socket.
    packets: OwnedFd,
    client: Client<'a>,
    transaction: [u8; 4],
    until: Instant,
}

impl<'a> Asking<'a> {
    fn begin(netlink: &'a Netlink, index: u32, client: Client<'a>) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, CLIENT))?;
        socket.set_broadcast(true)?;
        let packets =
            socket_with(AddressFamily::PACKET, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(IPV4_PACKETS))?;
        let mut transaction = [0; 4];
        File::open("/dev/urandom")?.read_exact(&mut transaction)?;
        netlink.route_broadcasts(index, true)?;
        Ok(Self { netlink, index, socket, packets, client, transaction, until: Instant::now() + PATIENCE })
    }
}

/// Broadcasts go where others route them again.
impl Drop for Asking<'_> {
    fn drop(&mut self) {
        // There may be no such route any more.
        let _ = self.netlink.route_broadcasts(self.index, false);
    }
}

impl Asking<'_> {
    /// Asks for an offer, or for the one that was made, until there is an answer.
    fn converse(&self, offer: Option<&Lease>) -> io::Result<Lease> {
        let question = self.client.question(self.transaction, offer);
        let wanted = if offer.is_some() { Kind::Acknowledgement } else { Kind::Offer };
        let mut wait = FIRST_WAIT;
        while Instant::now() < self.until {
            self.socket.send_to(&question, (Ipv4Addr::BROADCAST, SERVER))?;
            let again = self.until.min(Instant::now() + wait);
            wait *= 2;
            while let Some((kind, lease)) = self.hear(again)? {
                match kind {
                    Kind::Refusal if offer.is_some() => return Err(ErrorKind::ConnectionRefused.into()),
                    kind if kind == wanted => return Ok(lease),
                    _ => {}
                }
            }
        }
        Err(ErrorKind::TimedOut.into())
    }

    /// The next answer that comes in time.
    fn hear(&self, until: Instant) -> io::Result<Option<(Kind, Lease)>> {
        let mut buffer = [0; LONGEST];
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            sockopt::set_socket_timeout(&self.packets, sockopt::Timeout::Recv, Some(left))?;
            let length = match rustix::io::read(&self.packets, &mut buffer).map_err(io::Error::from) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => break,
                Err(error) => return Err(error),
            };
            let message = datagram(buffer.get(..length).unwrap_or_default(), CLIENT);
            if let Some(answer) = message.and_then(|message| answer(message, self.client, self.transaction)) {
                return Ok(Some(answer));
            }
        }
        Ok(None)
    }
}
