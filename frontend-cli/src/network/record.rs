//! `NetworkRecord`: what a guest's record says of its network.

use hv_agent_protocol::{Address, Network};
use serde::{Deserialize, Serialize};

use crate::args::{Cable, Mac, Net};

/// A guest's network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct NetworkRecord {
    /// `user`, `tap` or `socket`.
    pub(crate) kind: String,
    /// The tap's name or the socket's path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) peer: Option<String>,
    pub(crate) mac: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mtu: Option<u16>,
    /// The guest's, as far as this process gives them, with their prefixes.
    pub(crate) addresses: Vec<String>,
    pub(crate) gateways: Vec<String>,
    pub(crate) name_servers: Vec<String>,
    /// The guest reaches services of this host.
    pub(crate) host: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) segment: Option<SegmentRecord>,
    /// Where frames are written down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) capture: Option<String>,
}

/// The private segment of guests that a guest is on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SegmentRecord {
    pub(crate) name: String,
    /// The guest's there.
    pub(crate) addresses: Vec<String>,
}

impl SegmentRecord {
    pub(super) fn new(name: &str, own: &[Address]) -> Self {
        Self { name: name.to_owned(), addresses: addresses(own) }
    }
}

/// Describes what was opened for `net`.
pub(super) fn describe(net: &Net, set_up: &Network, segment: Option<SegmentRecord>) -> NetworkRecord {
    let (kind, peer, host) = match &net.cable {
        Cable::None => ("none", None, false),
        Cable::User { host, .. } => ("user", None, *host),
        Cable::Tap(name) => ("tap", Some(name.clone()), false),
        Cable::Socket(path) => ("socket", Some(path.display().to_string()), false),
        Cable::Vmnet(_) => ("vmnet", None, false),
    };
    NetworkRecord {
        kind: kind.to_owned(),
        peer,
        mac: Mac(set_up.mac).to_string(),
        mtu: net.mtu,
        addresses: addresses(&set_up.addresses),
        gateways: set_up.gateways.iter().map(ToString::to_string).collect(),
        name_servers: set_up.name_servers.iter().map(ToString::to_string).collect(),
        host,
        segment,
        capture: net.capture.as_ref().map(|path| path.display().to_string()),
    }
}

fn addresses(addresses: &[Address]) -> Vec<String> {
    addresses.iter().map(|one| format!("{}/{}", one.address, one.prefix)).collect()
}
