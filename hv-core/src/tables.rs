//! Tables by which the machine describes itself to its guest.

pub mod aarch64;
pub mod acpi;
pub mod fdt;
