//! The machine of type `hv-1` as the guest uses it (docs/machine-hv-1.md): places, power, cores, the serial port.

#[cfg_attr(target_arch = "x86_64", path = "x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "aarch64.rs")]
mod arch;

pub use arch::*;

/// What RAM and registers hold.
pub trait Word: Copy {
    fn store(self, address: u64);
    fn load(address: u64) -> Self;
}

pub fn store<T: Word>(address: u64, value: T) {
    value.store(address);
}

pub fn load<T: Word>(address: u64) -> T {
    T::load(address)
}
