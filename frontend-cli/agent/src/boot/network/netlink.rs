//! `Netlink`: links, addresses and routes of this machine, by messages of rtnetlink(7).

use std::{io, net::IpAddr, os::fd::OwnedFd};

use hv_agent_protocol::Address;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

/// Kinds of messages (`linux/netlink.h`, `linux/rtnetlink.h`).
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;

/// Flags of a request: one at all, with an answer, for all there is, that makes what is not there.
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const DUMP: u16 = 0x300;
const CREATE_OR_REPLACE: u16 = 0x500;

/// Attributes of links, addresses and routes.
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;

/// `struct nlmsghdr` and `struct ifinfomsg`, each with 16 bytes.
const HEADER: usize = 16;
const LINK: usize = 16;

/// The kernel fills at most so much at once (`netlink_recvmsg`).
const ANSWER: usize = 32 << 10;

/// The most links that are looked at.
const MOST_LINKS: usize = 256;

/// A socket to the kernel's routing.
#[derive(Debug)]
pub(super) struct Netlink(OwnedFd);

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    /// Its address on the link: a MAC address for Ethernet.
    pub(super) address: Vec<u8>,
}

/// A request being written.
struct Message(Vec<u8>);

impl Message {
    /// A header, whose length is set in the end, and the structure that `kind` has.
    fn new(kind: u16, flags: u16, structure: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        let words = [kind, REQUEST | flags].map(u16::to_ne_bytes);
        bytes[4..8].copy_from_slice(words.as_flattened());
        bytes.extend(structure);
        Self(bytes)
    }

    /// Adds an attribute: length, kind, value, and what makes it a multiple of four.
    fn with(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.0.extend([length, kind].map(u16::to_ne_bytes).as_flattened());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0
    }
}

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self(socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?))
    }

    /// All network interfaces.
    pub(super) fn links(&self) -> io::Result<Vec<Link>> {
        self.send(Message::new(RTM_GETLINK, DUMP, &[0; LINK]))?;
        let mut links = Vec::new();
        let mut answer = vec![0; ANSWER];
        loop {
            let (_, length) = recv(&self.0, &mut answer[..], RecvFlags::empty())?;
            let mut rest = answer.get(..length).unwrap_or(&answer);
            if rest.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            while let Some((kind, body, after)) = next_message(rest) {
                match kind {
                    NLMSG_DONE => return Ok(links),
                    NLMSG_ERROR => return Err(error(body)),
                    RTM_NEWLINK if links.len() < MOST_LINKS => links.extend(link(body)),
                    _ => {}
                }
                rest = after;
            }
        }
    }

    /// Brings a link up, with another MTU if one is given.
    pub(super) fn bring_up(&self, index: u32, mtu: Option<u16>) -> io::Result<()> {
        const UP: u32 = 1;
        // struct ifinfomsg: family and type, index, flags, and which flags change.
        let structure = [0, index, UP, UP].map(u32::to_ne_bytes);
        let mut message = Message::new(RTM_NEWLINK, ACKNOWLEDGE, structure.as_flattened());
        if let Some(mtu) = mtu {
            message = message.with(IFLA_MTU, &u32::from(mtu).to_ne_bytes());
        }
        self.request(message)
    }

    /// Gives a link an address. One of IPv6 can be used at once: nobody is asked whether they have it.
    pub(super) fn add_address(&self, index: u32, Address { address, prefix }: Address) -> io::Result<()> {
        const NO_DUPLICATE_DETECTION: u8 = 2;
        const UNIVERSE: u8 = 0;
        // struct ifaddrmsg: family, length of the prefix, flags, scope; index.
        let flags = if address.is_ipv6() { NO_DUPLICATE_DETECTION } else { 0 };
        let structure = [&[family(address), prefix, flags, UNIVERSE][..], &index.to_ne_bytes()].concat();
        let bytes = octets(address);
        let mut message = Message::new(RTM_NEWADDR, ACKNOWLEDGE | CREATE_OR_REPLACE, &structure)
            .with(IFA_LOCAL, &bytes)
            .with(IFA_ADDRESS, &bytes);
        if let IpAddr::V4(address) = address
            && prefix < 31
        {
            let hosts = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
            message = message.with(IFA_BROADCAST, &(address.to_bits() | hosts).to_be_bytes());
        }
        self.request(message)
    }

    /// Sends all that has no other route to `gateway`, which is on the link whatever its address is.
    pub(super) fn add_default_route(&self, index: u32, gateway: IpAddr) -> io::Result<()> {
        const ON_LINK: u32 = 4;
        const UNIVERSE: u8 = 0;
        let message = route(RTM_NEWROUTE, CREATE_OR_REPLACE, family(gateway), 0, UNIVERSE, ON_LINK)
            .with(RTA_OIF, &index.to_ne_bytes())
            .with(RTA_GATEWAY, &octets(gateway));
        self.request(message)
    }

    /// Sends what is for everybody over a link that has no address yet, or no longer does.
    pub(super) fn route_broadcasts(&self, index: u32, add: bool) -> io::Result<()> {
        const LINK_SCOPE: u8 = 253;
        let (kind, flags) = if add { (RTM_NEWROUTE, CREATE_OR_REPLACE) } else { (RTM_DELROUTE, 0) };
        let message = route(kind, flags, INET, 32, LINK_SCOPE, 0)
            .with(RTA_DST, &[255; 4])
            .with(RTA_OIF, &index.to_ne_bytes());
        self.request(message)
    }

    fn send(&self, message: Message) -> io::Result<()> {
        send(&self.0, &message.finish(), SendFlags::empty())?;
        Ok(())
    }

    /// Has the kernel do something; it has done it, or not, when this returns.
    fn request(&self, message: Message) -> io::Result<()> {
        self.send(message)?;
        let mut answer = [0; 1024];
        let (_, length) = recv(&self.0, &mut answer[..], RecvFlags::empty())?;
        match next_message(answer.get(..length).unwrap_or(&answer)) {
            Some((NLMSG_ERROR, body, _)) if code(body) == Some(0) => Ok(()),
            Some((NLMSG_ERROR, body, _)) => Err(error(body)),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// `AF_INET` and `AF_INET6` of Linux.
const INET: u8 = 2;
const INET6: u8 = 10;

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { INET } else { INET6 }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// A message about a route in the main table.
fn route(kind: u16, flags: u16, family: u8, prefix: u8, scope: u8, route_flags: u32) -> Message {
    const MAIN_TABLE: u8 = 254;
    const BOOT: u8 = 3;
    const UNICAST: u8 = 1;
    // struct rtmsg: family, lengths of destination and source, type of service, table, who made it, scope, type; flags.
    let structure = [family, prefix, 0, 0, MAIN_TABLE, BOOT, scope, UNICAST];
    let structure = [&structure[..], &route_flags.to_ne_bytes()].concat();
    Message::new(kind, flags | ACKNOWLEDGE, &structure)
}

/// The kind and body of the message that `bytes` begin with, and what follows it.
fn next_message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    let body = bytes.get(HEADER..length)?;
    Some((kind, body, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// `struct nlmsgerr` begins with a negated error number, 0 for success.
fn code(body: &[u8]) -> Option<i32> {
    body.first_chunk().map(|code| i32::from_ne_bytes(*code))
}

fn error(body: &[u8]) -> io::Error {
    io::Error::from_raw_os_error(code(body).unwrap_or(0).saturating_neg())
}

/// The link that a message tells of.
fn link(body: &[u8]) -> Option<Link> {
    let index = u32::from_ne_bytes(*body.get(4..)?.first_chunk()?);
    let mut link = Link { index, ..Link::default() };
    let mut rest = body.get(LINK..)?;
    while let (Some(length), Some(kind)) = (rest.first_chunk(), rest.get(2..).and_then(<[u8]>::first_chunk)) {
        let length = usize::from(u16::from_ne_bytes(*length));
        let Some(value) = rest.get(4..length) else { break };
        match u16::from_ne_bytes(*kind) {
            IFLA_ADDRESS => link.address = value.to_vec(),
            IFLA_IFNAME => link.name = String::from_utf8_lossy(value).trim_end_matches('\0').to_owned(),
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(link)
}
