//! `Bus`: which device answers at which guest-physical address or I/O port.

mod device;

pub use device::BusDevice;

use std::{fmt, ops::Range, sync::Arc};

/// A space of addresses, divided into windows that each belong to one device.
///
/// It is built before the guest starts and never changes after, so a look-up takes no lock.
#[derive(Default)]
pub struct Bus {
    /// Sorted by start, without overlap.
    windows: Vec<Window>,
}

struct Window {
    range: Range<u64>,
    device: Arc<dyn BusDevice>,
}

/// A window could not be added.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// It is empty or passes the end of the address space.
    #[error("window of {size:#x} bytes at {base:#x} is empty or wraps")]
    Invalid {
        /// First address.
        base: u64,
        /// Size in bytes.
        size: u64,
    },
    /// Another window holds some of its addresses.
    #[error("window at {base:#x} overlaps the one at {other:#x}")]
    Overlap {
        /// First address.
        base: u64,
        /// First address of the window that was there.
        other: u64,
    },
}

impl Bus {
    /// Gives `size` addresses from `base` to `device`.
    ///
    /// # Errors
    /// The window is empty, wraps, or overlaps another.
    pub fn insert(&mut self, base: u64, size: u64, device: Arc<dyn BusDevice>) -> Result<(), BusError> {
        let end = base.checked_add(size).filter(|_| size != 0).ok_or(BusError::Invalid { base, size })?;
        let at = self.windows.partition_point(|window| window.range.end <= base);
        if let Some(next) = self.windows.get(at).filter(|next| next.range.start < end) {
            return Err(BusError::Overlap { base, other: next.range.start });
        }
        self.windows.insert(at, Window { range: base..end, device });
        Ok(())
    }

    /// A load. Where no device answers, and for an access that leaves its window, all bits are ones.
    pub fn read(&self, address: u64, data: &mut [u8]) {
        match self.find(address, data.len()) {
            Some(window) => window.device.read(address - window.range.start, data),
            None => data.fill(0xff),
        }
    }

    /// A store. Where no device answers it is dropped.
    pub fn write(&self, address: u64, data: &[u8]) {
        if let Some(window) = self.find(address, data.len()) {
            window.device.write(address - window.range.start, data);
        }
    }

    fn find(&self, address: u64, size: usize) -> Option<&Window> {
        let at = self.windows.partition_point(|window| window.range.end <= address);
        let end = address.checked_add(size as u64)?;
        self.windows.get(at).filter(|window| window.range.start <= address && end <= window.range.end)
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.windows.iter().map(|window| &window.range)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Echo;

    impl BusDevice for Echo {
        fn read(&self, offset: u64, data: &mut [u8]) {
            data.fill(u8::try_from(offset).unwrap());
        }
        fn write(&self, _: u64, _: &[u8]) {}
    }

    fn bus() -> Bus {
        let mut bus = Bus::default();
        bus.insert(0x100, 0x10, Arc::new(Echo)).unwrap();
        bus.insert(0x80, 0x10, Arc::new(Echo)).unwrap();
        bus
    }

    fn read(bus: &Bus, address: u64) -> [u8; 2] {
        let mut data = [0; 2];
        bus.read(address, &mut data);
        data
    }

    #[test]
    fn the_device_sees_offsets_in_its_window() {
        assert_eq!(read(&bus(), 0x104), [4, 4]);
        assert_eq!(read(&bus(), 0x8e), [14, 14]);
    }

    #[test]
    fn where_no_device_is_all_bits_are_ones() {
        for address in [0, 0x7f, 0x8f, 0x90, 0x10f, 0x110, u64::MAX - 1, u64::MAX] {
            assert_eq!(read(&bus(), address), [0xff, 0xff], "{address:#x}");
        }
    }

    #[test]
    fn windows_do_not_overlap() {
        let mut bus = bus();
        for (base, size) in [(0x100, 1), (0x7f, 2), (0x10f, 0x100), (0, 0x1000)] {
            assert!(matches!(bus.insert(base, size, Arc::new(Echo)), Err(BusError::Overlap { .. })));
        }
        for (base, size) in [(0, 0), (u64::MAX, 2)] {
            assert_eq!(bus.insert(base, size, Arc::new(Echo)), Err(BusError::Invalid { base, size }));
        }
        bus.insert(0x90, 0x70, Arc::new(Echo)).unwrap();
    }
}
