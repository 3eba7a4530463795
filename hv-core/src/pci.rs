//! A PCI segment (PCI Local Bus 3.0, PCI Express Base): functions, their configuration space, BARs and MSI-X.
//!
//! A device behind PCI implements [`PciDevice`] around a [`Function`], which holds its configuration space and
//! sends its interrupts. A [`Segment`] puts the functions on bus 0, answers configuration accesses and routes
//! loads and stores in the memory windows to the function whose BAR holds the address.

mod address;
mod bar;
mod function;
mod host;
mod msix;
mod registers;
mod segment;

pub use address::Address;
pub use bar::{Bar, Windows};
pub use function::{Function, FunctionBuilder, Identity};
pub use host::{ConfigPorts, Ecam};
pub use msix::MsixLayout;
pub use segment::Segment;

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::device::Device;

/// What lives behind a function of the segment.
///
/// Accesses come from every vCPU at once. The segment pauses and resumes its devices; at a reset it first puts
/// [`function`](Self::function) back to its state at power-on and then calls [`Device::reset`].
pub trait PciDevice: Device {
    /// Its configuration space and interrupts.
    fn function(&self) -> &Function;

    /// A load at `offset` into BAR `bar`; every byte must be set. It lies whole in the BAR and does not begin in
    /// the MSI-X structures, which the segment serves.
    fn read_bar(&self, bar: u8, offset: u64, data: &mut [u8]);

    /// A store at `offset` into BAR `bar`, under the same terms.
    fn write_bar(&self, bar: u8, offset: u64, data: &[u8]);

    /// BARs began or ceased to decode, or moved: [`Function::bar_address`] says where they are now.
    /// One call at a time; also after each reset.
    fn bars_changed(&self) {}

    /// A load from configuration space: a hook for capabilities whose registers act when they are read.
    fn read_config(&self, offset: u16, data: &mut [u8]) {
        self.function().read_config(offset, data);
    }

    /// A store to configuration space: a hook for capabilities whose registers act when they are written.
    /// It must pass the store on to [`Function::write_config`]. One call at a time.
    fn write_config(&self, offset: u16, data: &[u8]) {
        self.function().write_config(offset, data);
    }
}

/// A function could not be made, or not be put into the segment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PciError {
    /// There are devices 0 to 31, and 0 is the host bridge.
    #[error("PCI device number {0} is not between 1 and 31")]
    NoSuchDevice(u8),
    /// Another device has that number.
    #[error("PCI device number {0} is taken twice")]
    Taken(u8),
    /// It is no power of two, less than 16 bytes, larger than its address space, or has no register left.
    #[error("BAR {index} of {size:#x} bytes is impossible or does not fit the function")]
    Bar {
        /// The BAR's number.
        index: u8,
        /// Its size in bytes.
        size: u64,
    },
    /// The memory windows are too small for all BARs.
    #[error("BAR {index} of {size:#x} bytes finds no room in the memory windows")]
    WindowFull {
        /// The BAR's number.
        index: u8,
        /// Its size in bytes.
        size: u64,
    },
    /// Capabilities share the 192 bytes behind the header.
    #[error("capability {0:#04x} does not fit into configuration space")]
    CapabilitySpace(u8),
    /// No or too many vectors, or a table or PBA that is unaligned, beyond its BAR, or in the other's place.
    #[error("MSI-X structures do not fit: {0:?}")]
    Msix(MsixLayout),
}

/// Locks; a panic elsewhere does not stop the guest's other devices.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
