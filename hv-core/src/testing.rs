//! A machine without hardware, for tests and fuzz targets: RAM, a chip that records interrupts, doorbells, a
//! backend whose cores follow a script, and a virtio driver.

mod chip;
mod doorbells;
pub mod driver;
mod network;
mod ram;
mod reclaimer;
pub(crate) mod rig;
pub mod scripted;

pub use chip::RecordingChip;
pub use doorbells::SoftDoorbells;
pub use network::{Frame, Script, SoftNetwork};
pub use ram::ram;
pub use reclaimer::SoftReclaimer;
pub use rig::{Rig, TransportKind};

use std::time::Duration;

/// How long a test waits for what must come. It decides nothing but how late a broken test says so.
pub const DEADLINE: Duration = Duration::from_secs(20);
