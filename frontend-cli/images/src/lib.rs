//! Images of Linux roots: where they come from, how they are unpacked, and the cache of unpacked ones.

pub mod architecture;
pub mod digest;
pub mod manifest;
pub mod reference;
pub mod registry;
pub mod source;

pub use architecture::Architecture;
pub use digest::Digest;
pub use manifest::{Descriptor, Platform};
pub use reference::Reference;
pub use registry::Registry;
pub use source::{Document, Progress, Quiet, Source};
