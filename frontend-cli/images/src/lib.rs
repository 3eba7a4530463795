//! Images of Linux roots: where they come from, how they are unpacked, and the cache of unpacked ones.

pub mod architecture;
pub mod config;
pub mod digest;
pub mod erofs;
pub mod ext4;
pub mod image;
pub mod layer;
pub mod limits;
pub mod manifest;
pub mod packing;
pub mod reference;
pub mod registry;
pub mod source;
pub mod store;
pub mod tar;
pub mod tree;

mod blob;
mod checksum;
mod select;
#[cfg(test)]
mod testing;

pub use architecture::Architecture;
pub use config::Config;
pub use digest::Digest;
pub use image::Image;
pub use limits::Limits;
pub use manifest::{Descriptor, Platform};
pub use reference::{Looks, Reference};
pub use registry::Registry;
pub use source::{Document, PathKind, Progress, Quiet, Source};
pub use store::{Freed, Listed, Store};
