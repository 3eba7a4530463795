//! What the tests of several devices share: an interrupt line to look at, random accesses.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use proptest::prelude::*;

use super::PowerEvents;
use crate::{
    bus::BusDevice,
    irq::{IrqChip, IrqLine, Msi},
};

/// An interrupt controller with one input.
#[derive(Default)]
pub(super) struct Level(AtomicBool);

impl Level {
    /// The level and the line that drives it.
    pub(super) fn new() -> (Arc<Self>, IrqLine) {
        let level = Arc::new(Self::default());
        let line = IrqLine::new(level.clone(), 4);
        (level, line)
    }

    pub(super) fn is_high(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl IrqChip for Level {
    fn set_line(&self, _: u32, high: bool) {
        self.0.store(high, Ordering::SeqCst);
    }
    fn send_msi(&self, _: Msi) {}
}

/// Counts what the guest asked for.
#[derive(Default)]
pub(super) struct PowerCounter {
    pub(super) offs: AtomicU32,
    pub(super) resets: AtomicU32,
}

impl PowerCounter {
    /// How often the guest asked for power-off, and for a reset.
    pub(super) fn counts(&self) -> (u32, u32) {
        (self.offs.load(Ordering::SeqCst), self.resets.load(Ordering::SeqCst))
    }
}

impl PowerEvents for PowerCounter {
    fn power_off(&self) {
        self.offs.fetch_add(1, Ordering::SeqCst);
    }
    fn reset(&self) {
        self.resets.fetch_add(1, Ordering::SeqCst);
    }
}

/// One load (`None`) or store of 1, 2, 4 or 8 bytes.
#[derive(Debug, Clone)]
pub(super) struct Access {
    offset: u64,
    width: usize,
    store: Option<u64>,
}

/// Accesses of all widths, mostly in and about a window of this size.
pub(super) fn accesses(window: u64) -> impl Strategy<Value = Vec<Access>> {
    let offset = prop_oneof![8 => 0..window + 2, 1 => any::<u64>(), 1 => u64::MAX - 8..=u64::MAX];
    let width = prop_oneof![Just(1), Just(2), Just(4), Just(8)];
    let access = (offset, width, any::<Option<u64>>()).prop_map(|(offset, width, store)| Access {
        offset,
        width,
        store,
    });
    prop::collection::vec(access, 1..300)
}

/// Plays the accesses and checks that each load sets every byte: the devices here answer the same whatever the
/// buffer held before, which two buffers of opposite bits show.
pub(super) fn play(devices: [&dyn BusDevice; 2], accesses: &[Access]) {
    for Access { offset, width, store } in accesses {
        if let Some(value) = store {
            devices.iter().for_each(|device| device.write(*offset, &value.to_le_bytes()[..*width]));
        } else {
            let (mut zeros, mut ones) = ([0; 8], [0xff; 8]);
            devices[0].read(*offset, &mut zeros[..*width]);
            devices[1].read(*offset, &mut ones[..*width]);
            assert_eq!(zeros[..*width], ones[..*width], "{width} bytes at {offset:#x}");
        }
    }
}

/// What a device wrote to its sink.
#[derive(Clone, Default)]
pub(super) struct Written(pub(super) Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
