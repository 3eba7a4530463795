//! `Control`: what the machine tells its cores, and what the guest and its cores tell the machine.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use crate::{devices::PowerEvents, hypervisor::Kick, io::Bell};

/// What every core is told to do. A new order brings all of them back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Run the guest.
    Run,
    /// Stay out of the guest.
    Hold,
    /// Go back to the state at power-on.
    Reset,
    /// End the thread.
    End,
}

/// What happened to the guest. After each of them, every core is out of the guest until the machine is told what
/// to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The guest switched itself off.
    PowerOff,
    /// The guest asked for a reset.
    Reset,
    /// The guest cannot go on; one line that says why.
    Crash(String),
}

/// Shared by the machine, its cores and the devices that end it.
pub(super) struct Control<K> {
    inner: Mutex<Inner<K>>,
    changed: Condvar,
    /// Rings when an [`Event`] waits.
    bell: Bell,
}

struct Inner<K> {
    order: Order,
    /// Counts orders.
    epoch: u64,
    /// Cores that carried the current order out.
    done: usize,
    kicks: Vec<K>,
    events: VecDeque<Event>,
}

/// At most this many events wait: the cores are held at the first, so more can only come from a race.
const MOST_EVENTS: usize = 16;

impl<K: Kick> Control<K> {
    /// Cores start out held.
    pub(super) fn new(bell: Bell) -> Self {
        let inner =
            Inner { order: Order::Hold, epoch: 0, done: 0, kicks: Vec::new(), events: VecDeque::new() };
        Self { inner: Mutex::new(inner), changed: Condvar::new(), bell }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<K>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A core joins.
    pub(super) fn enroll(&self, kick: K) {
        self.lock().kicks.push(kick);
    }

    /// Gives `order` and returns when every core has carried it out ([`Order::Run`]: at once).
    pub(super) fn command(&self, order: Order) {
        let mut inner = self.lock();
        inner.give(order);
        self.changed.notify_all();
        while order != Order::Run && inner.done < inner.kicks.len() {
            inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The next order for a core that has carried out the one of epoch `seen`.
    pub(super) fn await_order(&self, seen: &mut u64) -> Order {
        let mut inner = self.lock();
        while inner.epoch == *seen && inner.order != Order::Run {
            inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        *seen = inner.epoch;
        inner.order
    }

    /// A core has carried out the order of epoch `seen`.
    pub(super) fn done(&self, seen: u64) {
        let mut inner = self.lock();
        if inner.epoch == seen {
            inner.done += 1;
            self.changed.notify_all();
        }
    }

    /// Holds every core and tells the machine why.
    pub(super) fn report(&self, event: Event) {
        let mut inner = self.lock();
        if inner.order == Order::Run {
            inner.give(Order::Hold);
        }
        if inner.events.len() < MOST_EVENTS {
            inner.events.push_back(event);
        }
        drop(inner);
        self.changed.notify_all();
        self.bell.ring();
    }

    /// The oldest event that the machine has not heard of.
    pub(super) fn take_event(&self) -> Option<Event> {
        self.lock().events.pop_front()
    }

    /// Forgets events of the time before a reset.
    pub(super) fn clear_events(&self) {
        self.lock().events.clear();
    }
}

impl<K: Kick> Inner<K> {
    fn give(&mut self, order: Order) {
        self.order = order;
        self.epoch += 1;
        self.done = 0;
        for kick in &self.kicks {
            kick.kick();
        }
    }
}

impl<K: Kick> PowerEvents for Control<K> {
    fn power_off(&self) {
        self.report(Event::PowerOff);
    }

    fn reset(&self) {
        self.report(Event::Reset);
    }
}

impl<K> fmt::Debug for Control<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Control")
    }
}
