//! The whole network, from a guest's frames to sockets of this host.

mod forwards;
mod guest;
mod hostile;
mod policy;
mod tcp;
mod udp;

use hv_core::net::{NetBackend, Offloads};

use super::*;

/// A network whose guest may reach this host.
fn open_config() -> UserConfig {
    UserConfig { host: true, ..UserConfig::default() }
}
