//! What a guest's network cable leads to: [`hv_core::net::NetBackend`] in its forms.

pub mod capture;
mod checksum;
mod error;
mod ethernet;
#[doc(hidden)]
pub mod fuzzing;
mod mailbox;
mod offload;
mod readiness;
pub mod segment;
pub mod socket;
pub mod switch;
pub mod tap;
#[cfg(test)]
mod testing;
pub mod user;
pub mod vmnet;

pub use error::NetError;
