//! `Counters`: what a running guest's network can be asked.

use hv_core::virtio::net::{Counts, NetHandle};
use hv_net::user::UserHandle;
use serde_json::{Value, json};

/// Counts of a guest's card, and of the network in this process.
#[derive(Clone)]
pub(crate) struct Counters {
    pub(super) card: NetHandle,
    pub(super) user: Option<UserHandle>,
}

impl Counters {
    /// What there is by now: frames from the guest and to it, and connections.
    pub(crate) fn to_json(&self) -> Value {
        let Counts { sent_frames, sent_bytes, received_frames, received_bytes, dropped_frames } =
            self.card.counts();
        let mut counts = json!({
            "sent": { "frames": sent_frames, "bytes": sent_bytes },
            "received": { "frames": received_frames, "bytes": received_bytes },
            "dropped": dropped_frames,
        });
        if let Some(user) = &self.user {
            counts["connections"] = user.tcp_connections().into();
            counts["exchanges"] = user.udp_exchanges().into();
        }
        counts
    }
}
