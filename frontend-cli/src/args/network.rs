//! The words of `hv run` about the network: `--net` and `--publish`. Errors are one line: what is wrong, what to write.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::{NonZeroU16, NonZeroU64},
    path::PathBuf,
};

use clap::Args;
use hv_net::vmnet::Mode;

use super::value;
use crate::guests;

/// The least MTU of a link for IPv6 (RFC 8200, 5).
const LEAST_MTU: u16 = 1280;
/// The MTU of the network in this process and of vmnet.
const PLAIN_MTU: u16 = 1500;
/// The most bytes of a name of an interface of Linux (`IFNAMSIZ`, less the NUL).
const INTERFACE_LIMIT: usize = 15;
/// A card has two virtqueues for each, and one more: a device has no more than 32.
const QUEUES_LIMIT: u16 = 15;

/// What the guest's network card is and leads to.
#[derive(Debug, Args)]
pub(crate) struct NetworkArguments {
    /// The guest's network: user is one in this process, where host lets the guest reach services of this host and segment
    /// leads to other guests as well; none, a tap of Linux, vmnet of macOS, or the socket of a program such as passt [default: user].
    /// Options: host, segment=NAME, mode=shared|host (of vmnet), mac=ADDR, mtu=N, queues=N (of a tap), bw=SIZE and burst=SIZE (the most bytes in a second and
    /// at once), capture=FILE (pcapng)
    #[arg(long, value_name = "user|none|tap=NAME|socket=PATH|vmnet[,OPTION]...", value_parser = net)]
    pub(crate) net: Option<Net>,
    /// Lead a port of this host to one of the guest, with --net user; repeat for more. ADDR is 127.0.0.1 if not given, an
    /// IPv6 address stands in brackets, and HOST is 0 for any free port
    #[arg(short, long, value_name = "[ADDR:]HOST:GUEST[/tcp|/udp]", value_parser = publish)]
    pub(crate) publish: Vec<Publish>,
}

impl NetworkArguments {
    /// The guest's network, whether it was asked for or not.
    pub(crate) fn net(&self) -> Net {
        self.net.clone().unwrap_or_default()
    }

    /// Whether the command line says anything of it.
    pub(crate) fn is_asked_for(&self) -> bool {
        self.net.is_some() || !self.publish.is_empty()
    }

    /// What does not go together, if anything.
    pub(super) fn contradiction(&self) -> Option<String> {
        let port = self.publish.first()?;
        let cable = self.net().cable;
        match cable {
            Cable::User { .. } => None,
            _ => Some(format!(
                "--publish {port} is for --net user, and the guest has --net {cable}: use one of both"
            )),
        }
    }
}

/// One `--net`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Net {
    pub(crate) cable: Cable,
    pub(crate) mac: Option<Mac>,
    pub(crate) mtu: Option<u16>,
    /// Pairs of virtqueues.
    pub(crate) queues: Option<NonZeroU16>,
    /// The most bytes in a second, both ways together.
    pub(crate) bandwidth: Option<NonZeroU64>,
    /// The most bytes at once.
    pub(crate) burst: Option<NonZeroU64>,
    /// Where all frames are written down.
    pub(crate) capture: Option<PathBuf>,
}

/// Where the card's cable leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cable {
    /// There is no card.
    None,
    /// To a network in this process.
    User {
        /// The guest reaches services of this host.
        host: bool,
        /// The private segment of guests that it is on, too.
        segment: Option<String>,
    },
    /// To a tap of this host.
    Tap(String),
    /// To the program that listens on this socket.
    Socket(PathBuf),
    /// To vmnet of macOS.
    Vmnet(Mode),
}

impl Default for Cable {
    fn default() -> Self {
        Self::User { host: false, segment: None }
    }
}

/// As on the command line.
impl fmt::Display for Cable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => write!(f, "none"),
            Self::User { .. } => write!(f, "user"),
            Self::Tap(name) => write!(f, "tap={name}"),
            Self::Socket(path) => write!(f, "socket={}", path.display()),
            Self::Vmnet(_) => write!(f, "vmnet"),
        }
    }
}

/// The address of a network card on its link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mac(pub(crate) [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// What is carried to a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

/// One `--publish`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Publish {
    pub(crate) protocol: Protocol,
    /// This host's address.
    pub(crate) address: IpAddr,
    /// This host's port; 0 for any.
    pub(crate) host: u16,
    pub(crate) guest: u16,
}

/// As on the command line.
impl fmt::Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, address, host, guest } = self;
        match address {
            IpAddr::V4(Ipv4Addr::LOCALHOST) => {}
            IpAddr::V4(address) => write!(f, "{address}:")?,
            IpAddr::V6(address) => write!(f, "[{address}]:")?,
        }
        write!(f, "{host}:{guest}{}", if *protocol == Protocol::Udp { "/udp" } else { "" })
    }
}

/// `user[,host][,segment=NAME]`, `none`, `tap=NAME`, `socket=PATH` or `vmnet[,mode=shared|host]`, then what the card is like.
fn net(text: &str) -> Result<Net, String> {
    let mut words = text.split(',');
    let mut net = Net { cable: cable(words.next().unwrap_or_default())?, ..Net::default() };
    for word in words {
        if net.cable == Cable::None {
            return Err(format!(
                "`{word}`: without a network there is nothing to say of it; write none alone"
            ));
        }
        match word.split_once('=') {
            None if word == "host" => *user(&mut net.cable, word)?.0 = true,
            Some(("segment", name)) => *user(&mut net.cable, word)?.1 = Some(segment(name)?),
            Some(("mode", name)) => *vmnet(&mut net.cable, word)? = mode(name)?,
            Some(("mac", address)) => net.mac = Some(mac(address)?),
            Some(("mtu", number)) => net.mtu = Some(mtu(number, &net.cable)?),
            Some(("queues", number)) => net.queues = Some(queues(number, &net.cable)?),
            Some(("bw", size)) => net.bandwidth = Some(value::bandwidth(size)?),
            Some(("burst", size)) => net.burst = Some(burst(size)?),
            Some(("capture", path)) if !path.is_empty() => net.capture = Some(PathBuf::from(path)),
            _ => {
                return Err(format!(
                    "`{word}` is not host, segment=NAME, mode=shared|host, mac=ADDR, mtu=N, queues=N, bw=SIZE, burst=SIZE or capture=FILE"
                ));
            }
        }
    }
    if net.burst.is_some() && net.bandwidth.is_none() {
        return Err("burst is what may pass at once beyond bw: write bw=SIZE too".to_owned());
    }
    Ok(net)
}

fn cable(word: &str) -> Result<Cable, String> {
    match word.split_once('=') {
        None if word == "user" => Ok(Cable::default()),
        None if word == "none" => Ok(Cable::None),
        None if word == "vmnet" => Ok(Cable::Vmnet(Mode::default())),
        Some(("tap", name)) => tap(name),
        Some(("socket", path)) if !path.is_empty() => Ok(Cable::Socket(PathBuf::from(path))),
        _ => Err(format!("`{word}` is no network: write user, none, tap=NAME, socket=PATH or vmnet first")),
    }
}

fn tap(name: &str) -> Result<Cable, String> {
    let is_sound = |byte: u8| byte.is_ascii_graphic() && !b"/:%".contains(&byte);
    if name.is_empty()
        || name.len() > INTERFACE_LIMIT
        || !name.bytes().all(is_sound)
        || [".", ".."].contains(&name)
    {
        return Err(format!(
            "tap `{name}`: write the name of an interface, 1 to {INTERFACE_LIMIT} visible ASCII characters without /, : and %"
        ));
    }
    Ok(Cable::Tap(name.to_owned()))
}

/// What only the network in this process has.
fn user<'c>(cable: &'c mut Cable, word: &str) -> Result<(&'c mut bool, &'c mut Option<String>), String> {
    match cable {
        Cable::User { host, segment } => Ok((host, segment)),
        _ => Err(format!("`{word}` is for the network user: write user,{word}")),
    }
}

/// What only vmnet has.
fn vmnet<'c>(cable: &'c mut Cable, word: &str) -> Result<&'c mut Mode, String> {
    match cable {
        Cable::Vmnet(mode) => Ok(mode),
        _ => Err(format!("`{word}` is for the network vmnet: write vmnet,{word}")),
    }
}

fn mode(name: &str) -> Result<Mode, String> {
    match name {
        "shared" => Ok(Mode::Shared),
        "host" => Ok(Mode::Host),
        _ => Err(format!("mode `{name}`: write shared or host")),
    }
}

fn segment(name: &str) -> Result<String, String> {
    guests::check_name(name).map_err(|cure| format!("segment `{name}`: {cure}"))
}

/// `52:54:00:12:34:56`, with `-` between the bytes, too.
fn mac(text: &str) -> Result<Mac, String> {
    let separator = if text.contains('-') { '-' } else { ':' };
    let byte = |part: &str| {
        let is_byte = part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_byte.then(|| u8::from_str_radix(part, 16).ok()).flatten()
    };
    let bytes: Option<Vec<u8>> = text.split(separator).map(byte).collect();
    let Some(address) = bytes.and_then(|bytes| <[u8; 6]>::try_from(bytes).ok()) else {
        return Err(format!("mac `{text}`: write six bytes in hexadecimal, such as 52:54:00:12:34:56"));
    };
    if address[0] & 1 != 0 {
        return Err(format!(
            "mac `{text}` is one of several cards (its first byte is odd): write one of a single card, such as \
             52:54:00:12:34:56"
        ));
    }
    if address == [0; 6] {
        return Err(format!("mac `{text}` is nobody's: write one such as 52:54:00:12:34:56"));
    }
    Ok(Mac(address))
}

fn mtu(number: &str, cable: &Cable) -> Result<u16, String> {
    let most = if matches!(cable, Cable::User { .. } | Cable::Vmnet(_)) { PLAIN_MTU } else { u16::MAX };
    let mtu = number.parse().ok().filter(|mtu| (LEAST_MTU..=most).contains(mtu));
    mtu.ok_or_else(|| format!("mtu `{number}`: write a number of bytes from {LEAST_MTU} to {most}"))
}

fn queues(number: &str, cable: &Cable) -> Result<NonZeroU16, String> {
    let most = if matches!(cable, Cable::Tap(_)) { QUEUES_LIMIT } else { 1 };
    let count = number.parse().ok().filter(|count: &NonZeroU16| count.get() <= most);
    count.ok_or_else(|| match most {
        1 => format!("queues `{number}`: this network has one; only a tap has more"),
        _ => format!("queues `{number}`: write a number from 1 to {most}"),
    })
}

fn burst(text: &str) -> Result<NonZeroU64, String> {
    let bytes = value::size(text).ok().and_then(NonZeroU64::new);
    bytes.ok_or_else(|| format!("burst `{text}`: write a number of bytes and a unit, such as 5M"))
}

/// `[ADDR:]HOST:GUEST[/tcp|/udp]`.
fn publish(text: &str) -> Result<Publish, String> {
    let (ports, protocol) = match text.split_once('/') {
        None => (text, Protocol::Tcp),
        Some((ports, "tcp")) => (ports, Protocol::Tcp),
        Some((ports, "udp")) => (ports, Protocol::Udp),
        Some((_, other)) => return Err(format!("protocol `{other}` is not known; write tcp or udp")),
    };
    let (address, ports) = match ports.strip_prefix('[').map(|rest| rest.split_once("]:")) {
        Some(Some((address, ports))) => (ipv6(address)?, ports),
        Some(None) => return Err("the address in brackets has no end: write [ADDR]:HOST:GUEST".to_owned()),
        None => match ports.match_indices(':').nth(1) {
            None => (IpAddr::V4(Ipv4Addr::LOCALHOST), ports),
            // An IPv6 address without brackets has more colons.
            Some(_) => ipv4(ports)?,
        },
    };
    let Some((host, guest)) = ports.split_once(':') else {
        return Err("write two ports, this host's and the guest's, such as 8080:80".to_owned());
    };
    let host =
        port(host).ok_or_else(|| format!("port `{host}`: write one of this host, 0 (any) to 65535"))?;
    let guest = port(guest)
        .filter(|port| *port != 0)
        .ok_or_else(|| format!("port `{guest}`: write one of the guest, 1 to 65535"))?;
    Ok(Publish { protocol, address, host, guest })
}

/// The address and what follows it.
fn ipv4(text: &str) -> Result<(IpAddr, &str), String> {
    let (address, ports) = text.split_once(':').unwrap_or((text, ""));
    if ports.matches(':').count() > 1 {
        return Err("write an IPv6 address in brackets, such as [::1]:8080:80".to_owned());
    }
    let parsed = address.parse().map(IpAddr::V4);
    let parsed = parsed
        .map_err(|_| format!("address `{address}`: write one of this host, such as 127.0.0.1 or [::1]"));
    Ok((parsed?, ports))
}

fn ipv6(address: &str) -> Result<IpAddr, String> {
    let parsed = address.parse::<Ipv6Addr>().map(IpAddr::V6);
    parsed.map_err(|_| format!("address `{address}`: write one of IPv6 in brackets, such as [::1]"))
}

fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|_| text.bytes().all(|digit| digit.is_ascii_digit()))
}

#[cfg(test)]
mod tests;
