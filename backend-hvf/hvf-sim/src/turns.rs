//! `Turns`: who has the processor. First come, first served; a vCPU that others wait for leaves after a slice.
#![expect(unsafe_code, reason = "calls C")]

use std::{
    ops::Deref,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::engine::{self, Processor};

/// How long a vCPU has the processor while another waits.
const SLICE: Duration = Duration::from_millis(2);

/// The processor and those who wait for it.
#[derive(Debug)]
pub(crate) struct Turns {
    processor: Processor,
    queue: Mutex<Queue>,
    served: Condvar,
}

#[derive(Debug)]
struct Queue {
    next: u64,
    serving: u64,
    since: Instant,
}

/// The right to the processor.
pub(crate) struct Turn<'a>(&'a Turns);

impl Turns {
    pub(crate) fn new(processor: Processor) -> Self {
        let queue = Queue { next: 0, serving: 0, since: Instant::now() };
        Self { processor, queue: Mutex::new(queue), served: Condvar::new() }
    }

    /// Waits for the processor. `at_once`: whoever has it leaves as soon as it can.
    pub(crate) fn take(&self, at_once: bool) -> Turn<'_> {
        let slice = if at_once { Duration::ZERO } else { SLICE };
        let mut queue = self.queue();
        let mine = queue.next;
        queue.next += 1;
        while queue.serving != mine {
            let elapsed = queue.since.elapsed();
            let is_next = queue.serving + 1 == mine;
            if elapsed >= slice && (is_next || at_once) {
                self.stop();
            }
            // A stop that comes before the other has begun is lost, so it is said again.
            let wait = slice.checked_sub(elapsed).filter(|wait| !wait.is_zero()).unwrap_or(SLICE / 4);
            queue = if is_next || at_once {
                self.served.wait_timeout(queue, wait).unwrap_or_else(PoisonError::into_inner).0
            } else {
                self.served.wait(queue).unwrap_or_else(PoisonError::into_inner)
            };
        }
        queue.since = Instant::now();
        Turn(self)
    }

    /// Whoever has the processor leaves the guest.
    pub(crate) fn stop(&self) {
        // SAFETY: the processor is open as long as this.
        unsafe { engine::stop() };
    }

    /// Forgets calls of [`stop`](Self::stop).
    pub(crate) fn clear_stop(&self) {
        // SAFETY: the processor is open as long as this.
        unsafe { engine::clear_stop() };
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deref for Turn<'_> {
    type Target = Processor;

    fn deref(&self) -> &Processor {
        &self.0.processor
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.serving += 1;
        queue.since = Instant::now();
        if queue.next > queue.serving {
            self.0.served.notify_all();
        }
    }
}
