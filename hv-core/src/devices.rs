//! Devices that are not virtio: ports, clocks, power.

pub mod acpi_power;
pub mod cmos_rtc;
pub mod i8042;
pub mod uart16550;
