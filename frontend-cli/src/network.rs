//! `Network`: the guest's network card, from the words of the command line to the opened end of its cable, and to a device.

mod counters;
mod record;

#[cfg(test)]
mod tests;

pub(crate) use counters::Counters;
pub(crate) use record::NetworkRecord;

use std::{
    fs::{File, OpenOptions},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use hv_agent_protocol as agent;
use hv_core::{
    io::{Rate, RateLimiter, RateLimits},
    net::NetBackend,
    virtio::net::Net,
};
use hv_net::{
    capture::{Capture, CaptureFile},
    segment, socket,
    switch::Switch,
    tap,
    user::{Forward, Protocol, UserConfig, UserHandle, UserNetwork, addresses},
    vmnet,
};

use self::record::SegmentRecord;
use crate::{
    args::{self, Cable, Mac, Publish, RunArguments},
    folders,
    guests::{Record, Registration},
};

/// Below the folder of the guests that run; no guest's name begins with a dot.
const SEGMENTS: &str = ".segments";

/// The card's name in messages.
const CARD: &str = "net0";

/// A network card before its machine is built, its cable's other end open.
pub(crate) struct Network {
    mac: Mac,
    /// One for each pair of virtqueues.
    backends: Vec<Box<dyn NetBackend>>,
    /// How the agent sets it up.
    set_up: agent::Network,
    user: Option<UserHandle>,
    capture: Option<PathBuf>,
    limits: RateLimits,
    record: NetworkRecord,
    /// Folders that it goes on to use.
    folders: Vec<PathBuf>,
}

/// Opens the network that `arguments` ask for; nothing if the guest is to have none.
///
/// # Errors
/// This host refuses it: a port is in use, there is no such tap, nobody listens on a socket; one line.
pub(crate) fn open(
    arguments: &RunArguments,
    guest: Option<&Registration>,
) -> anyhow::Result<Option<Network>> {
    let net = arguments.network.net();
    let named = arguments.guest.name.as_deref();
    let mac = match (net.mac, named) {
        (Some(mac), _) => mac,
        (None, Some(name)) => mac_of(hash(name)),
        (None, None) => mac_of(getrandom::u64().context("the host gives no random numbers")?),
    };
    let mut set_up = agent::Network { mac: mac.0, mtu: net.mtu, ..agent::Network::default() };
    let mut user = None;
    let mut segment_record = None;
    let mut folders = Vec::new();
    let backends: Vec<Box<dyn NetBackend>> = match &net.cable {
        Cable::None => return Ok(None),
        Cable::User { host, segment } => {
            let forwards = arguments.network.publish.iter().map(forward).collect();
            let network = UserNetwork::new(UserConfig { forwards, host: *host, ..UserConfig::default() })?;
            user = Some(network.handle());
            set_up.addresses = vec![
                address(addresses::GUEST_V4, addresses::PREFIX_V4),
                address(addresses::GUEST_V6, addresses::PREFIX_V6),
            ];
            // Where this host has no IPv6, its router answers that nothing can be reached.
            set_up.gateways = vec![addresses::GATEWAY_V4.into(), addresses::GATEWAY_LINK_LOCAL.into()];
            set_up.name_servers = vec![addresses::DNS_V4.into()];
            let network: Box<dyn NetBackend> = Box::new(network);
            match segment {
                None => vec![network],
                Some(name) => {
                    let (both, own, folder) = join(network, name, guest)?;
                    folders.push(folder);
                    segment_record = Some(SegmentRecord::new(name, &own));
                    set_up.addresses.extend(own);
                    vec![both]
                }
            }
        }
        Cable::Tap(name) => tap::open(name, net.queues.map_or(1, std::num::NonZero::get))?,
        Cable::Socket(path) => {
            let parent = guest.map_or_else(std::env::temp_dir, |guest| guest.folder().to_owned());
            let (network, folder) = socket::connect(path, &parent)?;
            folders.extend(folder);
            vec![network]
        }
        Cable::Vmnet(mode) => vec![vmnet::open(*mode)?],
    };
    // Who is at the other end is not known, and gives addresses if somebody does.
    set_up.dhcp = user.is_none();
    set_up.router_advertisements = user.is_none();
    let record = record::describe(&net, &set_up, segment_record);
    let bytes = net.bandwidth.map(|bandwidth| match net.burst {
        Some(burst) => Rate { per_second: bandwidth, burst: burst.get() },
        None => Rate::of(bandwidth),
    });
    let limits = RateLimits { bytes, operations: None };
    Ok(Some(Network { mac, backends, set_up, user, capture: net.capture, limits, record, folders }))
}

fn address(address: impl Into<IpAddr>, prefix: u8) -> agent::Address {
    agent::Address { address: address.into(), prefix }
}

fn forward(publish: &Publish) -> Forward {
    let Publish { protocol, address, host, guest } = *publish;
    let protocol = match protocol {
        args::Protocol::Tcp => Protocol::Tcp,
        args::Protocol::Udp => Protocol::Udp,
    };
    Forward { protocol, address, host_port: host, guest_port: guest }
}

/// A forward as on the command line, with the port that it has.
fn published(forward: &Forward) -> Publish {
    let Forward { protocol, address, host_port, guest_port, .. } = *forward;
    let protocol = match protocol {
        Protocol::Tcp => args::Protocol::Tcp,
        Protocol::Udp => args::Protocol::Udp,
    };
    Publish { protocol, address, host: host_port, guest: guest_port }
}

/// The private segment called `name` beside the way out, and the guest's addresses on it. All have the same ones towards
/// their ways out.
fn join(
    out: Box<dyn NetBackend>,
    name: &str,
    guest: Option<&Registration>,
) -> anyhow::Result<(Box<dyn NetBackend>, [agent::Address; 2], PathBuf)> {
    let Some(guest) = guest.map(Registration::name) else {
        bail!("a guest on the segment {name} needs a folder of its own; check XDG_RUNTIME_DIR");
    };
    let segments = folders::runtime()?.join(SEGMENTS);
    folders::make_private(&segments)?;
    let folder = segments.join(name);
    let segment = segment::join(&folder, guest)?;
    let both = Switch::new(out, segment).with_context(|| format!("segment {name} cannot be joined"))?;
    Ok((Box::new(both), segment_addresses(hash(guest)), folder))
}

/// The addresses on a segment of the guest whose name has this hash.
fn segment_addresses(hash: u64) -> [agent::Address; 2] {
    let [a, b, c, d, ..] = hash.to_le_bytes();
    // Neither the network's own address nor that of all.
    let last = b.clamp(1, 254);
    let (high, low) = (u16::from_be_bytes([c, d]), u16::from_be_bytes([a, last]));
    [
        address(Ipv4Addr::new(10, 104, a, last), 16),
        address(Ipv6Addr::new(0xfd00, 0x6876, 0, 1, 0, 0, high, low), 64),
    ]
}

/// A locally administered address of three bytes of `number`.
fn mac_of(number: u64) -> Mac {
    let [a, b, c, ..] = number.to_le_bytes();
    Mac([0x52, 0x54, 0, a, b, c])
}

/// The same for a name on every host and in every version: FNV-1a, mixed so that its low bytes depend on all letters.
fn hash(name: &str) -> u64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash ^ hash >> 32
}

impl Network {
    /// How the agent sets the card up.
    pub(crate) fn set_up(&self) -> agent::Network {
        self.set_up.clone()
    }

    /// Folders that it goes on to use.
    pub(crate) fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// Writes down what the network is, with the ports that were really taken.
    pub(crate) fn describe(&self, record: &mut Record) {
        record.network = Some(self.record.clone());
        let forwards = self.user.as_ref().map(UserHandle::forwards).unwrap_or_default();
        record.ports = forwards.iter().map(|forward| published(forward).to_string()).collect();
    }

    /// Makes the device. Now that nothing else is in the way, a file for captured frames is made as well.
    ///
    /// # Errors
    /// That file cannot be written.
    pub(crate) fn device(self) -> anyhow::Result<(Net, Counters)> {
        let Self { mac, mut backends, set_up, user, capture, limits, .. } = self;
        if let Some(path) = &capture {
            let file = create(path).and_then(CaptureFile::new);
            let file = file
                .with_context(|| format!("capture {} cannot be written; check the path", path.display()))?;
            let capture = |backend| -> Box<dyn NetBackend> { Box::new(Capture::around(backend, &file)) };
            backends = backends.into_iter().map(capture).collect();
        }
        let (mut card, handle) = Net::new(CARD, mac.0, backends);
        if let Some(mtu) = set_up.mtu {
            card = card.with_mtu(mtu);
        }
        if limits.bytes.is_some() {
            card = card.with_limiter(RateLimiter::new(limits));
        }
        Ok((card, Counters { card: handle, user }))
    }
}

/// What a guest says is nobody else's business.
fn create(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network").field("record", &self.record).finish_non_exhaustive()
    }
}
