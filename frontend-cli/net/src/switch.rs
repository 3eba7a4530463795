//! Stand-in: one card on two networks.

use std::io;

use hv_core::net::NetBackend;

use crate::segment::Nowhere;

/// The two.
pub type Switch = Nowhere;

impl Nowhere {
    /// Of both.
    pub fn new(_: Box<dyn NetBackend>, _: Box<dyn NetBackend>) -> io::Result<Self> {
        Ok(Self)
    }
}
