//! MSI-X (PCI Local Bus 3.0, 6.8.2): a table of messages, masks, and bits for what was held back.

use std::{
    array,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, Ordering},
    },
};

use super::{Bar, lock};
use crate::irq::{IrqChip, Msi};

/// Capability id.
pub(super) const ID: u8 = 0x11;
/// Message Control, behind id and next pointer: where, and its writable bits.
pub(super) const CONTROL: usize = 2;
pub(super) const ENABLE: u16 = 1 << 15;
pub(super) const FUNCTION_MASK: u16 = 1 << 14;

const ENTRY_SIZE: usize = 16;
const VECTOR_CONTROL: usize = 12;
const MAX_VECTORS: u16 = 2048;

/// Where a function has its MSI-X table and pending bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MsixLayout {
    /// 1 to 2048.
    pub vectors: u16,
    /// The BAR that holds both.
    pub bar: u8,
    /// Offset of the table, 16 bytes a vector: a multiple of 8.
    pub table: u32,
    /// Offset of the pending bits, 8 bytes for each 64 vectors begun: a multiple of 8.
    pub pending: u32,
}

/// Whether messages go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Gate {
    /// MSI-X is not enabled: nobody expects a message.
    Off,
    /// All of the function's messages wait as pending bits.
    Held,
    /// Messages go out unless their vector is masked.
    Open,
}

/// A function's MSI-X state.
pub(super) struct Msix {
    layout: MsixLayout,
    chip: Arc<dyn IrqChip>,
    /// A [`Gate`]. Whoever changes it then takes each vector's lock, so that no older message is under way.
    gate: AtomicU8,
    vectors: Box<[Mutex<Vector>]>,
}

struct Vector {
    entry: [u8; ENTRY_SIZE],
    pending: bool,
}

impl MsixLayout {
    /// Whether table and pending bits fit into `bar`, apart from each other.
    pub(super) fn fits(&self, bar: &Bar) -> bool {
        let (table, pending) = (u64::from(self.table), u64::from(self.pending));
        let (table_end, pending_end) = (table + self.table_size(), pending + self.pending_size());
        (1..=MAX_VECTORS).contains(&self.vectors)
            && table.is_multiple_of(8)
            && pending.is_multiple_of(8)
            && table_end.max(pending_end) <= bar.size
            && (table_end <= pending || pending_end <= table)
    }

    /// The capability behind id and next pointer: Message Control, table and PBA with their BAR.
    pub(super) fn capability(&self) -> [u8; 10] {
        let [c0, c1] = self.vectors.saturating_sub(1).to_le_bytes();
        let [t0, t1, t2, t3] = (self.table | u32::from(self.bar)).to_le_bytes();
        let [p0, p1, p2, p3] = (self.pending | u32::from(self.bar)).to_le_bytes();
        [c0, c1, t0, t1, t2, t3, p0, p1, p2, p3]
    }

    fn table_size(&self) -> u64 {
        u64::from(self.vectors) * ENTRY_SIZE as u64
    }

    fn pending_size(&self) -> u64 {
        u64::from(self.vectors).div_ceil(64) * 8
    }
}

impl Msix {
    pub(super) fn new(layout: MsixLayout, chip: Arc<dyn IrqChip>) -> Self {
        let vectors = (0..layout.vectors).map(|_| Mutex::new(Vector::POWER_ON)).collect();
        Self { layout, chip, gate: AtomicU8::new(Gate::Off as u8), vectors }
    }

    pub(super) fn vectors(&self) -> u16 {
        self.layout.vectors
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.gate.load(Ordering::Acquire) != Gate::Off as u8
    }

    /// Sends message `vector`, or notes it as pending.
    pub(super) fn fire(&self, vector: u16) {
        let Some(vector) = self.vectors.get(usize::from(vector)) else { return };
        let mut vector = lock(vector);
        vector.pending = true;
        self.settle(&mut vector);
    }

    /// Opens or shuts the gate; when it returns, what was pending is sent, or nothing is being sent.
    pub(super) fn set_gate(&self, gate: Gate) {
        if self.gate.swap(gate as u8, Ordering::AcqRel) == gate as u8 {
            return;
        }
        for vector in &self.vectors {
            self.settle(&mut lock(vector));
        }
    }

    /// Back to the state at power-on: all vectors masked, none pending.
    pub(super) fn reset(&self) {
        self.set_gate(Gate::Off);
        for vector in &self.vectors {
            *lock(vector) = Vector::POWER_ON;
        }
    }

    /// Answers a load from `bar` that begins in the table or the pending bits; false if it does not.
    pub(super) fn read_bar(&self, bar: u8, offset: u64, data: &mut [u8]) -> bool {
        if let Some(at) = self.in_table(bar, offset) {
            for (byte, at) in data.iter_mut().zip(at..) {
                let vector = self.vectors.get(at / ENTRY_SIZE);
                *byte = vector.map_or(0xff, |vector| lock(vector).entry[at % ENTRY_SIZE]);
            }
            return true;
        }
        let Some(at) = self.in_pending(bar, offset) else { return false };
        for (byte, at) in data.iter_mut().zip(at..) {
            *byte = self.pending_byte(at);
        }
        true
    }

    /// Takes a store to `bar` that begins in the table or the pending bits, which are read-only; false if it
    /// does not.
    pub(super) fn write_bar(&self, bar: u8, offset: u64, data: &[u8]) -> bool {
        let Some(mut at) = self.in_table(bar, offset) else { return self.in_pending(bar, offset).is_some() };
        let mut rest = data;
        while let Some(vector) = self.vectors.get(at / ENTRY_SIZE).filter(|_| !rest.is_empty()) {
            // All of a store to one entry becomes visible at once.
            let (bytes, next) = rest.split_at(rest.len().min(ENTRY_SIZE - at % ENTRY_SIZE));
            let mut vector = lock(vector);
            vector.store(at % ENTRY_SIZE, bytes);
            self.settle(&mut vector);
            (rest, at) = (next, at + bytes.len());
        }
        true
    }

    fn in_table(&self, bar: u8, offset: u64) -> Option<usize> {
        self.within(bar, offset, self.layout.table, self.layout.table_size())
    }

    fn in_pending(&self, bar: u8, offset: u64) -> Option<usize> {
        self.within(bar, offset, self.layout.pending, self.layout.pending_size())
    }

    fn within(&self, bar: u8, offset: u64, start: u32, size: u64) -> Option<usize> {
        let at = offset.checked_sub(start.into()).filter(|at| bar == self.layout.bar && *at < size)?;
        usize::try_from(at).ok()
    }

    fn pending_byte(&self, at: usize) -> u8 {
        let vectors = self.vectors.iter().skip(at.saturating_mul(8)).take(8);
        vectors.zip(0..).fold(0, |byte, (vector, bit)| byte | u8::from(lock(vector).pending) << bit)
    }

    /// Sends what is pending if nothing holds it back.
    ///
    /// The vector stays locked while the chip takes the message. So, as on a real bus, no message with the
    /// old address or data comes after a guest has masked or changed the vector.
    fn settle(&self, vector: &mut Vector) {
        let gate = self.gate.load(Ordering::Acquire);
        if gate == Gate::Off as u8 {
            vector.pending = false;
        } else if gate == Gate::Open as u8 && vector.pending && !vector.is_masked() {
            vector.pending = false;
            self.chip.send_msi(vector.message());
        }
    }
}

impl Vector {
    const POWER_ON: Self = Self { entry: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], pending: false };

    fn is_masked(&self) -> bool {
        self.entry[VECTOR_CONTROL] & 1 != 0
    }

    /// A store into the entry. Of Vector Control only the mask bit exists.
    fn store(&mut self, at: usize, bytes: &[u8]) {
        for (entry, byte) in self.entry.iter_mut().skip(at).zip(bytes) {
            *entry = *byte;
        }
        self.entry[VECTOR_CONTROL] &= 1;
        self.entry[VECTOR_CONTROL + 1..].fill(0);
    }

    fn message(&self) -> Msi {
        let address = u64::from_le_bytes(array::from_fn(|at| self.entry[at]));
        let data = u32::from_le_bytes(array::from_fn(|at| self.entry[8 + at]));
        Msi { address, data }
    }
}
