//! `Hand`: has a scripted core make single accesses, as code that a test writes as it goes.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Condvar, Mutex, PoisonError},
};

use super::{Step, lock};
use crate::{
    bus::BusDevice,
    testing::{DEADLINE, RecordingChip},
};

/// Makes a core act. One access at a time; each returns when the core has made it, which a core that is held does not.
///
/// As a [`BusDevice`] it is the whole memory as its core sees it, so a driver can work through it.
#[derive(Clone)]
pub struct Hand {
    hands: Arc<Hands>,
    chip: Arc<RecordingChip>,
    core: u32,
}

/// What cores are to do, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Hands {
    pulls: Mutex<BTreeMap<u32, Pull>>,
    done: Condvar,
}

#[derive(Debug)]
enum Pull {
    Asked(Step),
    Taken,
    Done(Vec<u8>),
}

impl Hand {
    pub(super) fn new(hands: Arc<Hands>, chip: Arc<RecordingChip>, core: u32) -> Self {
        Self { hands, chip, core }
    }

    /// Reads from a port.
    ///
    /// # Panics
    /// The core does not come to it.
    pub fn port_read<const N: usize>(&self, port: u16) -> [u8; N] {
        self.pull(Step::PortRead(port, vec![0; N])).try_into().expect("a read answers its own size")
    }

    /// Writes to a port.
    ///
    /// # Panics
    /// The core does not come to it.
    pub fn port_write(&self, port: u16, data: &[u8]) {
        self.pull(Step::PortWrite(port, data.to_vec()));
    }

    /// Has the core do `step` without waiting for it.
    pub fn begin(&self, step: Step) {
        lock(&self.hands.pulls).insert(self.core, Pull::Asked(step));
        self.chip.nudge();
    }

    fn pull(&self, step: Step) -> Vec<u8> {
        self.begin(step);
        let undone = |pulls: &mut BTreeMap<u32, Pull>| !matches!(pulls.get(&self.core), Some(Pull::Done(_)));
        let waited = self.hands.done.wait_timeout_while(lock(&self.hands.pulls), DEADLINE, undone);
        match waited.unwrap_or_else(PoisonError::into_inner).0.remove(&self.core) {
            Some(Pull::Done(answer)) => answer,
            _ => panic!("core {} does not run", self.core),
        }
    }
}

impl Hands {
    /// Whether `core` is asked for something.
    pub(super) fn asks(&self, core: u32) -> bool {
        matches!(lock(&self.pulls).get(&core), Some(Pull::Asked(_)))
    }

    /// Takes what `core` is asked for.
    pub(super) fn take(&self, core: u32) -> Option<Step> {
        let mut pulls = lock(&self.pulls);
        match pulls.insert(core, Pull::Taken) {
            Some(Pull::Asked(step)) => Some(step),
            _ => None,
        }
    }

    /// `core` has done what it was asked for.
    pub(super) fn done(&self, core: u32, answer: Vec<u8>) {
        lock(&self.pulls).insert(core, Pull::Done(answer));
        self.done.notify_all();
    }
}

/// Offsets are guest-physical addresses.
impl BusDevice for Hand {
    fn read(&self, address: u64, data: &mut [u8]) {
        data.copy_from_slice(&self.pull(Step::Read(address, vec![0; data.len()])));
    }

    fn write(&self, address: u64, data: &[u8]) {
        self.pull(Step::Write(address, data.to_vec()));
    }
}

impl fmt::Debug for Hand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hand({})", self.core)
    }
}
