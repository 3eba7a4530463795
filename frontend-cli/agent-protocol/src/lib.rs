//! What `hv` and `hv-init`, the agent in its guests, say to each other over vsock; `docs/agent.md` describes it.
//!
//! Each message is a frame: its length as a little-endian `u32`, then that many bytes of
//! [postcard](https://postcard.jamesmunns.com) of a [`HostMessage`] or an [`AgentMessage`].

mod boot;
mod frame;
mod message;

pub use boot::{
    Address, BootConfig, Disk, MOST_ADDRESSES, MOST_NETWORKS, Mount, Network, Root, Source, Upper,
};
pub use frame::{Outgoing, Reader};
pub use message::{AgentMessage, HostMessage, Size, Start, Status, Stream};

/// The version of all that is in this crate. Each side tells its own first, and neither goes on with another.
pub const VERSION: u32 = 2;

/// The context identifier of the host on any vsock.
pub const HOST_CID: u32 = 2;

/// The vsock port for both directions: the agent connects to the host's once, and listens on its own for sessions.
pub const PORT: u32 = 1024;

/// The most bytes of standard input, output or error in one message.
pub const MOST_DATA: usize = 64 << 10;

/// The most bytes in one frame, its length apart.
pub const MOST_FRAME: usize = MOST_DATA + 1024;

/// The most bytes of standard input that the agent has not yet said to have taken.
pub const WINDOW: usize = 256 << 10;

/// Where the initramfs has the [`BootConfig`].
pub const BOOT_CONFIG: &str = "/hv/boot";

/// The most bytes of a [`BootConfig`].
pub const MOST_BOOT_CONFIG: usize = 256 << 10;
