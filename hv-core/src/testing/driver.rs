//! A virtio driver (VIRTIO 1.2, chapter 2 and 3) for tests, over either transport.
//!
//! ```text
//! let mut driver = Driver::new(Box::new(MmioRegisters::new(bus, base, doorbells, chip, gsi)), ram, 1 << 20);
//! driver.negotiate(features);
//! driver.set_up_queue(0, 256);
//! driver.start();
//! let request = driver.add(0, &[driver.buffer(b"...")], &[...]);
//! driver.kick(0);
//! let used = driver.wait_used(0);
//! ```

mod mmio;
mod pci;
mod queue;

pub use mmio::MmioRegisters;
pub use pci::{Interrupts, PciRegisters};
pub use queue::{Buffer, DriverQueue, Style, Used};

use vm_memory::{Bytes, GuestAddress};

use crate::{
    memory::GuestRam,
    virtio::negotiation::{Status, TRANSPORT_FEATURES},
};

/// A transport as a driver sees it.
pub trait Registers: Send {
    /// The device type.
    fn device_type(&self) -> u16;
    /// The device status.
    fn status(&self) -> u8;
    /// Sets the device status.
    fn set_status(&self, status: u8);
    /// The features the device offers.
    fn device_features(&self) -> u64;
    /// Accepts features.
    fn set_driver_features(&self, features: u64);
    /// The largest size of `queue`; 0 if there is none.
    fn queue_max_size(&self, queue: u16) -> u16;
    /// Places and enables `queue`.
    fn set_up_queue(&self, queue: u16, size: u16, addresses: [u64; 3]);
    /// Whether `queue` is enabled.
    fn queue_enabled(&self, queue: u16) -> bool;
    /// Rings the doorbell of `queue`.
    fn notify(&self, queue: u16);
    /// Loads from the device's configuration space.
    fn read_config(&self, offset: usize, data: &mut [u8]);
    /// Stores to the device's configuration space.
    fn write_config(&self, offset: usize, data: &[u8]);
    /// The configuration space's generation.
    fn config_generation(&self) -> u32;
    /// Waits for the interrupt of `queue` and acknowledges it; false if it does not come.
    fn wait_queue_interrupt(&self, queue: u16) -> bool;
    /// Waits for the configuration interrupt and acknowledges it; false if it does not come.
    fn wait_config_interrupt(&self) -> bool;
}

/// A driver of one device. It panics, as tests do, where the device breaks the protocol.
pub struct Driver {
    registers: Box<dyn Registers>,
    ram: GuestRam,
    next_free: u64,
    features: u64,
    queues: Vec<Option<DriverQueue>>,
}

impl Driver {
    /// A driver of the device behind `registers`, which may use the RAM from `heap` on.
    pub fn new(registers: Box<dyn Registers>, ram: GuestRam, heap: u64) -> Self {
        Self { registers, ram, next_free: heap, features: 0, queues: Vec::new() }
    }

    /// Goes on with other `registers` of the same device; its virtqueues are gone.
    pub fn reconnect(&mut self, registers: Box<dyn Registers>) {
        self.registers = registers;
        self.queues.clear();
    }

    /// Resets the device and agrees on the features that both it and `wanted` have, and the transport's.
    ///
    /// # Panics
    /// The device refuses what it offered.
    pub fn negotiate(&mut self, wanted: u64) -> u64 {
        self.negotiate_exactly(wanted | TRANSPORT_FEATURES)
    }

    /// As [`negotiate`](Self::negotiate), but without features of the transport that are not in `wanted`.
    ///
    /// # Panics
    /// The device refuses what it offered.
    pub fn negotiate_exactly(&mut self, wanted: u64) -> u64 {
        self.reset();
        self.add_status(Status::ACKNOWLEDGE);
        self.add_status(Status::DRIVER);
        self.features = self.registers.device_features() & wanted;
        self.registers.set_driver_features(self.features);
        self.add_status(Status::FEATURES_OK);
        assert!(self.status().contains(Status::FEATURES_OK), "device refused features {:#x}", self.features);
        self.features
    }

    /// Resets the device; its virtqueues are gone.
    ///
    /// # Panics
    /// The device does not.
    pub fn reset(&mut self) {
        self.registers.set_status(0);
        assert_eq!(self.registers.status(), 0, "device did not reset");
        self.queues.clear();
    }

    /// Makes a virtqueue of `size`, or of the device's largest size if that is less.
    ///
    /// # Panics
    /// The device has no such queue or does not enable it.
    pub fn set_up_queue(&mut self, queue: u16, size: u16) {
        let size = size.min(self.registers.queue_max_size(queue));
        assert_ne!(size, 0, "device has no virtqueue {queue}");
        let memory = self.allocate(DriverQueue::memory(size), 4096);
        let made = DriverQueue::new(self.ram.clone(), size, memory, self.features);
        self.registers.set_up_queue(queue, size, made.addresses());
        assert!(self.registers.queue_enabled(queue), "device did not enable virtqueue {queue}");
        self.queues.resize_with(self.queues.len().max(usize::from(queue) + 1), || None);
        self.queues[usize::from(queue)] = Some(made);
    }

    /// The driver is ready.
    pub fn start(&self) {
        self.add_status(Status::DRIVER_OK);
    }

    /// All of the above, with every virtqueue of the device at its largest size.
    ///
    /// # Panics
    /// As they do.
    pub fn start_with(&mut self, wanted: u64) -> u64 {
        let features = self.negotiate(wanted);
        for queue in (0..).take_while(|&queue| self.registers.queue_max_size(queue) != 0).collect::<Vec<_>>()
        {
            self.set_up_queue(queue, u16::MAX);
        }
        self.start();
        features
    }

    /// The device status.
    ///
    /// # Panics
    /// It has bits that VIRTIO does not know.
    pub fn status(&self) -> Status {
        Status::from_bits(self.registers.status()).expect("status has only the bits of VIRTIO")
    }

    fn add_status(&self, status: Status) {
        self.registers.set_status((self.status() | status).bits());
    }

    /// The device's registers.
    pub fn registers(&self) -> &dyn Registers {
        &*self.registers
    }

    /// One of the virtqueues.
    ///
    /// # Panics
    /// It was not set up.
    pub fn queue(&mut self, queue: u16) -> &mut DriverQueue {
        let made = self.queues.get_mut(usize::from(queue)).and_then(Option::as_mut);
        made.unwrap_or_else(|| panic!("virtqueue {queue} was not set up"))
    }

    /// Makes a chain available and answers with its head; the doorbell is [`kick`](Self::kick)'s.
    ///
    /// # Panics
    /// The virtqueue has no room.
    pub fn add(&mut self, queue: u16, buffers: &[Buffer]) -> u16 {
        self.queue(queue).add(buffers).expect("room in the virtqueue")
    }

    /// Rings the doorbell if the device wants that.
    pub fn kick(&mut self, queue: u16) {
        if self.queue(queue).wants_kick() {
            self.registers.notify(queue);
        }
    }

    /// Takes the next used chain, waiting for the device's interrupt if there is none yet.
    ///
    /// # Panics
    /// None comes, or it comes without an interrupt.
    pub fn wait_used(&mut self, queue: u16) -> Used {
        self.try_wait_used(queue).unwrap_or_else(|| {
            panic!("virtqueue {queue}: nothing used after {:?}, status {:?}", super::DEADLINE, self.status())
        })
    }

    /// As [`wait_used`](Self::wait_used), or nothing if no interrupt comes.
    ///
    /// # Panics
    /// It comes without an interrupt.
    pub fn try_wait_used(&mut self, queue: u16) -> Option<Used> {
        loop {
            if let Some(used) = self.queue(queue).take_used() {
                return Some(used);
            }
            if self.queue(queue).enable_interrupt() {
                continue;
            }
            if !self.registers.wait_queue_interrupt(queue) {
                assert!(
                    self.queue(queue).take_used().is_none(),
                    "virtqueue {queue}: used without an interrupt"
                );
                return None;
            }
        }
    }

    /// Adds a chain, kicks, waits and checks that the same chain came back; says how much was written.
    ///
    /// # Panics
    /// As the calls it makes.
    pub fn request(&mut self, queue: u16, buffers: &[Buffer]) -> u32 {
        let head = self.add(queue, buffers);
        self.kick(queue);
        let used = self.wait_used(queue);
        assert_eq!(used.head, head);
        used.written
    }

    /// RAM for `size` bytes at a multiple of `align`, a power of two. It is never given back.
    pub fn allocate(&mut self, size: u64, align: u64) -> u64 {
        let address = self.next_free.next_multiple_of(align);
        self.next_free = address + size;
        address
    }

    /// A buffer that the device reads, with these bytes.
    ///
    /// # Panics
    /// RAM is full.
    pub fn readable(&mut self, data: &[u8]) -> Buffer {
        let address = self.allocate(data.len() as u64, 16);
        self.ram.write_slice(data, GuestAddress(address)).expect("buffer lies in RAM");
        Buffer { address, len: u32::try_from(data.len()).expect("buffer is below 4 GiB"), writable: false }
    }

    /// A zeroed buffer of `len` bytes that the device writes.
    ///
    /// # Panics
    /// RAM is full.
    pub fn writable(&mut self, len: u32) -> Buffer {
        let buffer = self.readable(&vec![0; len as usize]);
        Buffer { writable: true, ..buffer }
    }

    /// The bytes in `buffer`.
    ///
    /// # Panics
    /// It is not in RAM.
    pub fn bytes(&self, buffer: Buffer) -> Vec<u8> {
        let mut data = vec![0; buffer.len as usize];
        self.ram.read_slice(&mut data, GuestAddress(buffer.address)).expect("buffer lies in RAM");
        data
    }

    /// Guest RAM.
    pub fn ram(&self) -> &GuestRam {
        &self.ram
    }
}
