//! `Control`: what the machine tells its cores, and what the guest and its cores tell the machine.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use crate::{devices::PowerEvents, hypervisor::Kick, io::Bell};

/// What every core is told to do. A new order brings all of them back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Run the guest.
    Run,
    /// Stay out of the guest.
    Hold,
    /// Go back to the state at power-on. Only after [`Hold`](Self::Hold).
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

/// A core that orders are for.
pub(super) struct Enrolled<'a, K: Kick>(&'a Control<K>);

struct Inner<K> {
    order: Order,
    /// Counts orders.
    epoch: u64,
    /// Cores that live.
    cores: usize,
    /// Those of them that carried the current order out.
    done: usize,
    kicks: Vec<K>,
    events: VecDeque<Event>,
    /// An event came since the last reset: the guest must not go on.
    ended: bool,
}

/// At most this many events wait: the cores are held at the first, so more can only come from a race.
const MOST_EVENTS: usize = 16;

impl<K: Kick> Control<K> {
    /// Cores start out held.
    pub(super) fn new(bell: Bell) -> Self {
        let inner = Inner {
            order: Order::Hold,
            epoch: 0,
            cores: 0,
            done: 0,
            kicks: Vec::new(),
            events: VecDeque::new(),
            ended: false,
        };
        Self { inner: Mutex::new(inner), changed: Condvar::new(), bell }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<K>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A core joins, until what this returns is dropped on its thread.
    pub(super) fn enroll(&self, kick: K) -> Enrolled<'_, K> {
        let mut inner = self.lock();
        inner.cores += 1;
        inner.kicks.push(kick);
        Enrolled(self)
    }

    /// Gives `order` and returns when every core has carried it out ([`Order::Run`]: at once).
    ///
    /// A guest that has ended does not run, and a reset forgets all that happened before it.
    pub(super) fn command(&self, order: Order) {
        let mut inner = self.lock();
        match order {
            Order::Run if inner.ended => return,
            Order::Reset => {
                inner.ended = false;
                inner.events.clear();
            }
            _ => {}
        }
        inner.give(order);
        self.changed.notify_all();
        while order != Order::Run && inner.done < inner.cores {
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

    /// A core that carries out the order of epoch `seen` stays out of the guest for so long, or until there is another.
    pub(super) fn rest(&self, seen: u64, time: Duration) {
        let rested = self.changed.wait_timeout_while(self.lock(), time, |inner| inner.epoch == seen);
        drop(rested.unwrap_or_else(PoisonError::into_inner));
    }

    /// Brings all cores out of the guest for a moment; their order stays as it is.
    pub(super) fn bring_out(&self) {
        for kick in &self.lock().kicks {
            kick.kick();
        }
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
        inner.ended = true;
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

impl<K: Kick> Drop for Enrolled<'_, K> {
    /// Nobody waits for a core that is gone, were it by a panic.
    fn drop(&mut self) {
        self.0.lock().cores -= 1;
        self.0.changed.notify_all();
        if thread::panicking() {
            let name = thread::current().name().unwrap_or_default().to_owned();
            self.0.report(Event::Crash(format!("{name}: its thread panicked")));
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

#[cfg(test)]
mod tests;
