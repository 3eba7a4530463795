//! The PCI transport, modern devices only (VIRTIO 1.2, 4.1).

mod capabilities;
mod common;
mod interrupt;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use super::{Endpoint, Kind, VirtioDevice, endpoint::Surroundings};
use crate::{
    device::Device,
    io::Doorbell,
    irq::{IrqChip, IrqLine},
    pci::{Bar, Function, FunctionBuilder, Identity, MsixLayout, PciDevice, PciError},
};
use capabilities::Window;
use interrupt::Interrupt;

const VENDOR: u16 = 0x1af4;
/// Device and subsystem id of device type 0 (4.1.2).
const FIRST_DEVICE: u16 = 0x1040;
const FIRST_SUBSYSTEM: u16 = 0x40;
const REVISION: u8 = 1;

/// The BAR that holds everything, each part in a page of its own.
const BAR: u8 = 0;
const BAR_SIZE: u64 = 0x8000;
const COMMON: u64 = 0;
const ISR: u64 = 0x1000;
const CONFIG: u64 = 0x2000;
const NOTIFY: u64 = 0x3000;
const MSIX_TABLE: u32 = 0x4000;
const MSIX_PENDING: u32 = 0x5000;
const PAGE: u64 = 0x1000;

/// Bytes between the doorbells of two virtqueues (`notify_off_multiplier`).
const NOTIFY_STRIDE: u32 = 4;

/// A virtio device behind a PCI function.
pub struct Pci {
    endpoint: Endpoint,
    function: Arc<Function>,
    interrupt: Arc<Interrupt>,
    window: Window,
}

impl Pci {
    /// `device` behind a function whose messages go to `chip`, or interrupts to `line` while MSI-X is off.
    ///
    /// # Errors
    /// The device has more virtqueues than a function has vectors.
    pub fn new(
        device: Box<dyn VirtioDevice>,
        surroundings: Surroundings,
        chip: Arc<dyn IrqChip>,
        line: IrqLine,
    ) -> Result<Self, PciError> {
        let queues = u16::try_from(device.queue_sizes().len()).unwrap_or(u16::MAX);
        let mut builder = Function::builder(identity(device.kind()));
        builder.bar(BAR, Bar::memory64(BAR_SIZE))?;
        let window = add_capabilities(&mut builder, queues)?;
        let vectors = queues.saturating_add(1);
        let layout = MsixLayout { vectors, bar: BAR, table: MSIX_TABLE, pending: MSIX_PENDING };
        builder.msix(layout, chip)?;
        builder.intx(line);
        let function = Arc::new(builder.build());
        let interrupt = Arc::new(Interrupt::new(Arc::clone(&function), vectors));
        let place = Arc::clone(&function);
        let doorbell = move |queue| {
            let address = place.bar_address(BAR)?.checked_add(notify_offset(queue))?;
            Some(Doorbell { address, value: None })
        };
        let endpoint = Endpoint::new(device, surroundings, interrupt.clone(), Box::new(doorbell));
        Ok(Self { endpoint, function, interrupt, window })
    }

    /// Whether an access through the window in configuration space is one that the BAR allows (4.1.4.9.1).
    fn window_target(&self) -> Option<(u64, usize)> {
        let (bar, offset, len) = self.window.target(&self.function);
        let fits = bar == BAR
            && matches!(len, 1 | 2 | 4)
            && offset.is_multiple_of(len)
            && u64::from(offset) + u64::from(len) <= u64::from(MSIX_TABLE);
        fits.then_some((offset.into(), len as usize))
    }
}

/// What the function says it is. Classes: Ethernet, other mass storage, other communication, none of the defined ones.
fn identity(kind: Kind) -> Identity {
    let class = match kind {
        Kind::Net => 0x02_00_00,
        Kind::Block => 0x01_80_00,
        Kind::Console | Kind::Vsock => 0x07_80_00,
        Kind::Entropy | Kind::Balloon | Kind::Other(_) => 0xff_00_00,
    };
    Identity {
        vendor: VENDOR,
        device: FIRST_DEVICE + u16::from(kind.number()),
        revision: REVISION,
        class,
        subsystem_vendor: VENDOR,
        subsystem: FIRST_SUBSYSTEM + u16::from(kind.number()),
    }
}

fn add_capabilities(builder: &mut FunctionBuilder, queues: u16) -> Result<Window, PciError> {
    capabilities::add_common(builder, COMMON, common::SIZE)?;
    capabilities::add_notify(builder, NOTIFY, u64::from(queues) * u64::from(NOTIFY_STRIDE), NOTIFY_STRIDE)?;
    capabilities::add_isr(builder, ISR)?;
    capabilities::add_config(builder, CONFIG, PAGE)?;
    Window::add(builder)
}

/// Where the doorbell of `queue` is in the BAR.
fn notify_offset(queue: u16) -> u64 {
    NOTIFY + u64::from(queue) * u64::from(NOTIFY_STRIDE)
}

impl PciDevice for Pci {
    fn function(&self) -> &Function {
        &self.function
    }

    fn read_bar(&self, _: u8, offset: u64, data: &mut [u8]) {
        data.fill(0);
        let within = offset % PAGE;
        match offset - within {
            COMMON => common::read(&self.endpoint, &self.interrupt, within, data),
            ISR => {
                if let (0, Some(first)) = (within, data.first_mut()) {
                    *first = self.interrupt.take_isr();
                }
            }
            CONFIG => self.endpoint.read_config(usize::try_from(within).unwrap_or(usize::MAX), data),
            _ => {}
        }
    }

    fn write_bar(&self, _: u8, offset: u64, data: &[u8]) {
        let within = offset % PAGE;
        match offset - within {
            COMMON => common::write(&self.endpoint, &self.interrupt, within, data),
            CONFIG => self.endpoint.write_config(usize::try_from(within).unwrap_or(usize::MAX), data),
            // Which queue is told by where, not by what, is stored.
            NOTIFY if within.is_multiple_of(NOTIFY_STRIDE.into()) => {
                self.endpoint.notify(u16::try_from(within / u64::from(NOTIFY_STRIDE)).unwrap_or(u16::MAX));
            }
            _ => {}
        }
    }

    fn bars_changed(&self) {
        self.endpoint.doorbells_moved();
    }

    fn read_config(&self, offset: u16, data: &mut [u8]) {
        if let (true, Some((at, len))) = (self.window.touched(offset, data.len()), self.window_target()) {
            let mut bytes = [0; 4];
            let (bytes, _) = bytes.split_at_mut(len);
            self.read_bar(BAR, at, bytes);
            self.window.set_data(&self.function, bytes);
        }
        self.function.read_config(offset, data);
    }

    fn write_config(&self, offset: u16, data: &[u8]) {
        self.function.write_config(offset, data);
        if let (true, Some((at, len))) = (self.window.touched(offset, data.len()), self.window_target()) {
            let bytes = self.window.data(&self.function);
            self.write_bar(BAR, at, bytes.split_at(len).0);
        }
    }
}

impl Device for Pci {
    fn name(&self) -> &str {
        self.endpoint.name()
    }

    fn pause(&self) {
        self.endpoint.pause();
    }

    fn resume(&self) {
        self.endpoint.resume();
    }

    fn reset(&self) {
        self.endpoint.reset();
        self.interrupt.reset();
    }
}

impl fmt::Debug for Pci {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pci({:?})", self.endpoint)
    }
}
