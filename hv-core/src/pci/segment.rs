//! `Segment`: bus 0 with its functions; routes configuration accesses, and memory accesses to BARs.

use std::sync::{
    Arc, Mutex, PoisonError, RwLock,
    atomic::{AtomicU32, Ordering},
};

use super::{Address, Ecam, PciDevice, PciError, Windows, bar::Allocator, host::HostBridge, lock};
use crate::{
    bus::{Bus, BusDevice, BusError},
    device::Device,
};

const DEVICES: usize = 32;

/// Bus 0 of a PCI segment: up to 32 devices of one function each, the host bridge being device 0.
///
/// It is filled before the guest starts. To the machine it is one device: it pauses, resumes and resets all
/// that is in it.
pub struct Segment {
    devices: [Option<Arc<dyn PciDevice>>; DEVICES],
    windows: Windows,
    allocator: Allocator,
    /// Which BAR answers at which address.
    routes: RwLock<Vec<Route>>,
    /// Held during a store to configuration space, so that routes and devices learn of changes in order.
    changes: Mutex<()>,
    /// The `CONFIG_ADDRESS` register of the host bridge.
    pub(super) config_address: AtomicU32,
}

/// A BAR that decodes.
#[derive(Clone, Copy)]
struct Route {
    base: u64,
    size: u64,
    device: usize,
    bar: u8,
}

/// Answers loads and stores in one of the memory windows.
struct MemoryWindow {
    segment: Arc<Segment>,
    base: u64,
}

impl Segment {
    /// A segment with a host bridge. BARs lie in `windows`.
    pub fn new(windows: Windows) -> Self {
        let mut devices = [const { None::<Arc<dyn PciDevice>> }; DEVICES];
        devices[0] = Some(Arc::new(HostBridge::new()));
        let allocator = Allocator::new(windows.clone());
        Self {
            devices,
            windows,
            allocator,
            routes: RwLock::default(),
            changes: Mutex::default(),
            config_address: AtomicU32::new(0),
        }
    }

    /// Adds `device` as function 0 of device `number` (1 to 31) and places its BARs in the windows.
    ///
    /// # Errors
    /// There is no such number, it is taken, or the windows are full.
    pub fn add(&mut self, number: u8, device: Arc<dyn PciDevice>) -> Result<(), PciError> {
        let slot = self.devices.get_mut(usize::from(number)).filter(|_| number != 0);
        let slot = slot.ok_or(PciError::NoSuchDevice(number))?;
        if slot.is_some() {
            return Err(PciError::Taken(number));
        }
        device.function().place(&mut self.allocator, &self.windows)?;
        *slot = Some(device);
        Ok(())
    }

    /// Gives the memory windows, and 1 MiB at `ecam`, to this segment.
    ///
    /// # Errors
    /// Something else is there.
    pub fn connect(self: &Arc<Self>, bus: &mut Bus, ecam: u64) -> Result<(), BusError> {
        for window in [&self.windows.low, &self.windows.high] {
            if !window.is_empty() {
                let device = MemoryWindow { segment: Arc::clone(self), base: window.start };
                bus.insert(window.start, window.end - window.start, Arc::new(device))?;
            }
        }
        bus.insert(ecam, Ecam::SIZE, Arc::new(Ecam::new(Arc::clone(self))))
    }

    /// A load from configuration space: all ones where no function is.
    pub(super) fn read_config(&self, address: Address, register: u16, data: &mut [u8]) {
        match self.device(address) {
            Some(device) => device.read_config(register, data),
            None => data.fill(0xff),
        }
    }

    /// A store to configuration space.
    pub(super) fn write_config(&self, address: Address, register: u16, data: &[u8]) {
        let Some(device) = self.device(address) else { return };
        let _order = lock(&self.changes);
        let before = device.function().decoded();
        device.write_config(register, data);
        if device.function().decoded() != before {
            self.reroute();
            device.bars_changed();
        }
    }

    fn device(&self, address: Address) -> Option<&dyn PciDevice> {
        let device = self.devices.get(usize::from(address.device))?.as_deref();
        device.filter(|_| address.function == 0)
    }

    /// A load from guest-physical `address`: all ones where no BAR decodes.
    fn read_memory(&self, address: u64, data: &mut [u8]) {
        let Some((device, bar, offset)) = self.find(address, data.len()) else { return data.fill(0xff) };
        if !device.function().msix().is_some_and(|msix| msix.read_bar(bar, offset, data)) {
            device.read_bar(bar, offset, data);
        }
    }

    /// A store to guest-physical `address`: dropped where no BAR decodes.
    fn write_memory(&self, address: u64, data: &[u8]) {
        let Some((device, bar, offset)) = self.find(address, data.len()) else { return };
        if !device.function().msix().is_some_and(|msix| msix.write_bar(bar, offset, data)) {
            device.write_bar(bar, offset, data);
        }
    }

    /// The BAR that holds all of an access. Where a guest lets BARs overlap, the lowest device and BAR answers.
    fn find(&self, address: u64, size: usize) -> Option<(&dyn PciDevice, u8, u64)> {
        let holds = |route: &&Route| {
            let offset = address.checked_sub(route.base);
            offset.is_some_and(|offset| offset < route.size && size as u64 <= route.size - offset)
        };
        let route = *self.routes.read().unwrap_or_else(PoisonError::into_inner).iter().find(holds)?;
        let device = self.devices.get(route.device)?.as_deref()?;
        Some((device, route.bar, address - route.base))
    }

    /// Finds anew which BARs decode.
    fn reroute(&self) {
        let mut routes = Vec::new();
        for (device, function) in self.devices.iter().enumerate() {
            let Some(function) = function.as_deref().map(PciDevice::function) else { continue };
            for (bar, base, size) in function.decoded_bars() {
                routes.push(Route { base, size, device, bar });
            }
        }
        *self.routes.write().unwrap_or_else(PoisonError::into_inner) = routes;
    }

    fn devices(&self) -> impl Iterator<Item = &dyn PciDevice> {
        self.devices.iter().filter_map(Option::as_deref)
    }
}

impl Device for Segment {
    fn name(&self) -> &str {
        "pci"
    }

    fn pause(&self) {
        self.devices().for_each(|device| device.pause());
    }

    fn resume(&self) {
        self.devices().for_each(|device| device.resume());
    }

    fn reset(&self) {
        let _order = lock(&self.changes);
        self.config_address.store(0, Ordering::Relaxed);
        for device in self.devices() {
            device.function().reset();
            device.reset();
        }
        self.reroute();
        self.devices().for_each(|device| device.bars_changed());
    }
}

impl BusDevice for MemoryWindow {
    fn read(&self, offset: u64, data: &mut [u8]) {
        self.segment.read_memory(self.base.saturating_add(offset), data);
    }

    fn write(&self, offset: u64, data: &[u8]) {
        self.segment.write_memory(self.base.saturating_add(offset), data);
    }
}
