//! `RamLayout`: which guest-physical addresses are RAM. Pure arithmetic.

/// Which guest-physical addresses are RAM.
#[derive(Debug)]
pub struct RamLayout;

/// The RAM does not fit.
#[derive(Debug, thiserror::Error)]
#[error("")]
pub struct LayoutError;
