//! Guest RAM: where it lies and how it is shared between the machine and its devices.

mod layout;

use std::sync::Arc;

pub use layout::{LayoutError, RamLayout};
pub use vm_memory::{GuestAddress, GuestMemoryMmap};

/// All of a guest's RAM, mapped in this process and shared by everything that reads or writes it.
pub type GuestRam = Arc<GuestMemoryMmap>;
