//! Tables by which the machine describes itself to its guest.

pub mod acpi;
