//! A virtio device as its driver drives it, by either transport (VIRTIO 1.2, 4.1 and 4.2). Where its parts lie in the BAR is known:
//! this guest is for this machine alone.

use crate::machine::{ECAM, PCI, VIRTIO_MMIO, load, store};

const COMMON: u64 = 0;
pub const CONFIG: u64 = 0x2000;
pub const NOTIFY: u64 = 0x3000;
pub const MSIX: u64 = 0x4000;
const MAGIC: u32 = 0x7472_6976;

pub const ACKNOWLEDGE: u8 = 1;
pub const DRIVER: u8 = 2;
pub const DRIVER_OK: u8 = 4;
pub const FEATURES_OK: u8 = 8;
pub const NEEDS_RESET: u8 = 64;

/// A device in its slot.
#[derive(Clone, Copy)]
pub struct Device {
    pub slot: u64,
    /// Its type (5).
    pub kind: u64,
    pub base: u64,
    pub is_pci: bool,
}

/// The place of a function's configuration space.
pub fn configuration(slot: u64) -> u64 {
    ECAM + (slot << 15)
}

/// Where this guest puts the BAR of a slot.
pub fn bar(slot: u64) -> u64 {
    PCI + (slot << 16)
}

/// Whether devices are on PCI: the console always is there.
pub fn is_pci() -> bool {
    load::<u32>(configuration(1)) as u16 == 0x1af4
}

impl Device {
    /// The device in a slot, answering where it is looked for.
    pub fn find(slot: u64, is_pci: bool) -> Option<Self> {
        if is_pci {
            let function = configuration(slot);
            let identity = load::<u32>(function);
            if slot == 0 || identity as u16 != 0x1af4 {
                return None;
            }
            let device = Self { slot, kind: (identity as u64 >> 16) - 0x1040, base: bar(slot), is_pci };
            device.place(device.base);
            return Some(device);
        }
        let base = VIRTIO_MMIO + (slot << 12);
        let kind = load::<u32>(base + 8).into();
        (load::<u32>(base) == MAGIC && kind != 0).then_some(Self { slot, kind, base, is_pci })
    }

    /// Moves the BAR, and lets the function decode and write memory.
    pub fn place(&self, base: u64) {
        let function = configuration(self.slot);
        store(function + 0x10, base as u32);
        store(function + 0x14, (base >> 32) as u32);
        store(function + 4, 6_u16);
    }

    pub fn status(&self) -> u8 {
        if self.is_pci { load(self.base + 0x14) } else { load::<u32>(self.base + 0x70) as u8 }
    }

    pub fn set_status(&self, status: u8) {
        if self.is_pci { store(self.base + 0x14, status) } else { store(self.base + 0x70, u32::from(status)) }
    }

    pub fn features(&self, select: u32) -> u32 {
        if self.is_pci {
            store(self.base + COMMON, select);
            return load(self.base + 4);
        }
        store(self.base + 0x14, select);
        load(self.base + 0x10)
    }

    pub fn accept(&self, select: u32, features: u32) {
        let (at, to) = if self.is_pci { (0x08, 0x0c) } else { (0x24, 0x20) };
        store(self.base + at, select);
        store(self.base + to, features);
    }

    /// How many virtqueues it has; at most 32.
    pub fn queues(&self) -> u64 {
        if self.is_pci {
            return u64::from(load::<u16>(self.base + 0x12)).min(32);
        }
        (0..32).take_while(|queue| self.most(*queue) != 0).count() as u64
    }

    /// Selects a queue and tells its largest size.
    pub fn most(&self, queue: u64) -> u16 {
        if self.is_pci {
            store(self.base + 0x16, queue as u16);
            return load(self.base + 0x18);
        }
        store(self.base + 0x30, queue as u32);
        load::<u32>(self.base + 0x34) as u16
    }

    /// Sets the selected queue up.
    pub fn set_queue(&self, size: u16, places: [u64; 3]) {
        if self.is_pci {
            store(self.base + 0x18, size);
            store(self.base + 0x1a, 0xffff_u16);
            for (offset, place) in [0x20, 0x28, 0x30].into_iter().zip(places) {
                store(self.base + offset, place as u32);
                store(self.base + offset + 4, (place >> 32) as u32);
            }
            return;
        }
        store(self.base + 0x38, u32::from(size));
        for (offset, place) in [0x80, 0x90, 0xa0].into_iter().zip(places) {
            store(self.base + offset, place as u32);
            store(self.base + offset + 4, (place >> 32) as u32);
        }
    }

    /// Enables the selected queue.
    pub fn enable_queue(&self) {
        if self.is_pci { store(self.base + 0x1c, 1_u16) } else { store(self.base + 0x44, 1_u32) }
    }

    pub fn notify(&self, queue: u64) {
        if self.is_pci {
            store(self.base + NOTIFY + queue * 4, queue as u16);
        } else {
            store(self.base + 0x50, queue as u32);
        }
    }

    /// Where its own configuration lies.
    pub fn config(&self) -> u64 {
        if self.is_pci { self.base + CONFIG } else { self.base + 0x100 }
    }
}
