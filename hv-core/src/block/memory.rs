//! `MemoryDisk`: a disk in RAM for tests, which records what was done to it and fails on demand.

use std::{
    io,
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::BlockBackend;
use crate::memory::GuestBuffer;

/// What was done to a [`MemoryDisk`]. Offsets and lengths in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Bytes were read.
    Read(Range<u64>),
    /// Bytes were written.
    Write(Range<u64>),
    /// Everything was flushed.
    Flush,
    /// A range was given back.
    Discard(Range<u64>),
    /// A range was zeroed, and given back if the flag says so.
    WriteZeroes(Range<u64>, bool),
}

/// A disk in RAM.
#[derive(Debug)]
pub struct MemoryDisk {
    read_only: bool,
    capacity: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    operations: Vec<Operation>,
    bad: Vec<(Range<u64>, io::ErrorKind)>,
    flush_fails: Option<io::ErrorKind>,
}

impl MemoryDisk {
    /// A writable disk of these bytes; the last sector is filled up with zeroes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self::with_mode(bytes, false)
    }

    /// A disk of these bytes that cannot be changed.
    pub fn read_only(bytes: Vec<u8>) -> Self {
        Self::with_mode(bytes, true)
    }

    fn with_mode(mut bytes: Vec<u8>, read_only: bool) -> Self {
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        let capacity = bytes.len() as u64;
        Self { read_only, capacity, state: Mutex::new(State { bytes, ..State::default() }) }
    }

    /// From now on every operation that touches `range` fails with `error`.
    pub fn break_range(&self, range: Range<u64>, error: io::ErrorKind) {
        self.state().bad.push((range, error));
    }

    /// From now on flushes fail with `error`, or succeed again.
    pub fn break_flush(&self, error: Option<io::ErrorKind>) {
        self.state().flush_fails = error;
    }

    /// What the disk holds.
    pub fn bytes(&self) -> Vec<u8> {
        self.state().bytes.clone()
    }

    /// What was done to it so far, failures too, in order.
    pub fn operations(&self) -> Vec<Operation> {
        self.state().operations.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records `operation` on `range`, then changes or reads its bytes unless they are broken or not there.
    fn apply(
        &self,
        operation: Operation,
        range: Range<u64>,
        change: impl FnOnce(&mut [u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut state = self.state();
        let State { bytes, operations, bad, .. } = &mut *state;
        operations.push(operation);
        if let Some((_, error)) = bad.iter().find(|(bad, _)| bad.start < range.end && range.start < bad.end) {
            return Err((*error).into());
        }
        let place = |at: u64| usize::try_from(at).map_err(|_| io::ErrorKind::InvalidInput);
        let place = place(range.start)?..place(range.end)?;
        change(bytes.get_mut(place).ok_or(io::ErrorKind::UnexpectedEof)?)
    }
}

impl BlockBackend for MemoryDisk {
    fn capacity(&self) -> u64 {
        self.capacity
    }

    fn read_only(&self) -> bool {
        self.read_only
    }

    fn read_at(&self, offset: u64, buffer: GuestBuffer<'_>) -> io::Result<()> {
        let range = offset..offset + buffer.len();
        self.apply(Operation::Read(range.clone()), range, |bytes| buffer.copy_from(bytes).map(drop))
    }

    fn write_at(&self, offset: u64, buffer: GuestBuffer<'_>) -> io::Result<()> {
        let range = offset..offset + buffer.len();
        self.apply(Operation::Write(range.clone()), range, |bytes| buffer.copy_to(bytes).map(drop))
    }

    fn flush(&self) -> io::Result<()> {
        let mut state = self.state();
        state.operations.push(Operation::Flush);
        state.flush_fails.map_or(Ok(()), |error| Err(error.into()))
    }

    fn discard(&self, range: Range<u64>) -> io::Result<()> {
        self.apply(Operation::Discard(range.clone()), range, zero)
    }

    fn write_zeroes(&self, range: Range<u64>, may_unmap: bool) -> io::Result<()> {
        self.apply(Operation::WriteZeroes(range.clone(), may_unmap), range, zero)
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the shape of `apply`'s argument")]
fn zero(bytes: &mut [u8]) -> io::Result<()> {
    bytes.fill(0);
    Ok(())
}
