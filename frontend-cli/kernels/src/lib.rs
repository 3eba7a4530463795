//! Kernels of distributions as they are, kept in a store: the image, its configuration, and the modules a guest needs.
//!
//! [`Store::import`] reads packages (`.deb`, `.rpm`), a `vmlinuz` with a folder of modules, or a folder such as `/boot`.
//! It keeps the modules behind each [`Feature`] with all that they depend on, unpacked, in the order in which they
//! load, and refuses a kernel that lacks what every guest needs.
//!
//! What a package says is not trusted: its names never become paths of the host, and counts and sizes have limits.

mod architecture;
pub mod archive;
mod collection;
mod feature;
pub mod image;
mod import;
mod kernel;
pub mod listing;
pub mod module_info;
mod names;
mod newest;
mod resolver;
mod source;
mod store;
mod unpack;

pub use architecture::Architecture;
pub use feature::Feature;
pub use kernel::{Kernel, Module};
pub use store::Store;

#[cfg(test)]
mod testing;
