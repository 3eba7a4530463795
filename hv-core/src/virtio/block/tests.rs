//! Whole block devices.
