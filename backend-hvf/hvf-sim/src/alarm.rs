//! `Alarm`: leaves the guest when its virtual timer is due.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    thread,
    time::Instant,
};

use crate::vm::Vm;

/// The deadline of who is in the guest.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    deadline: Option<Instant>,
    /// When the thread looks by itself; never, if none.
    looks: Option<Instant>,
    over: bool,
}

impl Alarm {
    /// Rings at `deadline` from now on. A thread that is to wake up earlier anyway is left asleep.
    pub(crate) fn set(&self, deadline: Option<Instant>) {
        let mut state = self.lock();
        state.deadline = deadline;
        if deadline.is_some_and(|deadline| state.looks.is_none_or(|looks| deadline < looks)) {
            self.changed.notify_one();
        }
    }

    /// Ends the thread.
    pub(crate) fn end(&self) {
        self.lock().over = true;
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self, vm: &Weak<Vm>) {
        let mut state = self.lock();
        while !state.over {
            let now = Instant::now();
            match state.deadline {
                Some(deadline) if deadline <= now => {
                    state.deadline = None;
                    drop(state);
                    let Some(vm) = vm.upgrade() else { return };
                    vm.turns.stop();
                    state = self.lock();
                }
                Some(deadline) => {
                    state.looks = Some(deadline);
                    state = self
                        .changed
                        .wait_timeout(state, deadline - now)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0;
                }
                None => {
                    state.looks = None;
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

/// Starts the thread. It ends with [`Alarm::end`].
pub(crate) fn start(alarm: Arc<Alarm>, vm: Weak<Vm>) -> std::io::Result<()> {
    thread::Builder::new().name("hvf-sim alarm".into()).spawn(move || alarm.watch(&vm)).map(drop)
}
