//! Devices that are not virtio: ports, clocks, power.

pub mod acpi_power;
pub mod cmos_rtc;
pub mod gic_v2m;
pub mod i8042;
pub mod pl011;
pub mod pl031;
pub mod pl061;
mod primecell;
pub mod uart;
pub mod uart16550;

#[cfg(test)]
mod testing;

/// Who hears that the guest wants the machine to stop. The machine gives one to each device that can ask for it.
///
/// The calls come from the vCPU's thread in the middle of its access, and may come again before the machine has
/// stopped: they take a note and return, and never wait for a vCPU.
pub trait PowerEvents: Send + Sync {
    /// The guest entered ACPI S5 (soft off).
    fn power_off(&self);
    /// The guest asked for a reset of the whole machine.
    fn reset(&self);
}

/// Answers a load from 8-bit registers as a bus of bytes does: one load of each address in turn.
fn read_bytes(offset: u64, data: &mut [u8], mut read: impl FnMut(u64) -> u8) {
    let mut address = offset;
    for byte in data {
        *byte = read(address);
        address = address.wrapping_add(1);
    }
}

/// Splits a store to 8-bit registers as a bus of bytes does: one store to each address in turn.
fn write_bytes(offset: u64, data: &[u8], mut write: impl FnMut(u64, u8)) {
    let mut address = offset;
    for byte in data {
        write(address, *byte);
        address = address.wrapping_add(1);
    }
}
