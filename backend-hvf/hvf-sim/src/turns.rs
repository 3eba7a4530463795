//! `Turns`: who has the processor. A vCPU that others wait for leaves after a slice. One that left by itself, as at each access
//! to a register of the GIC, comes first with what is left of its slice.
#![expect(unsafe_code, reason = "calls C")]

use std::{
    collections::VecDeque,
    ops::Deref,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::engine::{self, Processor};

/// How long a vCPU has the processor while another waits.
const SLICE: Duration = Duration::from_millis(2);

/// A stop that comes before the other has begun is lost, so it is said again.
const AGAIN: Duration = Duration::from_micros(100);

/// The processor and those who wait for it.
#[derive(Debug)]
pub(crate) struct Turns {
    processor: Processor,
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug)]
struct Queue {
    waiting: VecDeque<Waiting>,
    next: u64,
    is_taken: bool,
    /// Since when, and whether whoever has it was told to leave.
    since: Instant,
    is_told: bool,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    is_urgent: bool,
}

/// What a vCPU has left of its slice.
#[derive(Debug, Default)]
pub(crate) struct Rest(Duration);

/// The right to the processor.
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    rest: Option<&'a mut Rest>,
}

impl Turns {
    pub(crate) fn new(processor: Processor) -> Self {
        Self { processor, queue: Mutex::new(Queue::new()), changed: Condvar::new() }
    }

    /// Waits for the processor, for a vCPU that is to run.
    pub(crate) fn take<'a>(&'a self, rest: &'a mut Rest) -> Turn<'a> {
        let has_rest = !rest.0.is_zero();
        self.wait(has_rest);
        if !has_rest {
            rest.0 = SLICE;
        }
        Turn { turns: self, rest: Some(rest) }
    }

    /// Waits for the processor, which whoever has it leaves as soon as it can.
    pub(crate) fn take_at_once(&self) -> Turn<'_> {
        self.wait(true);
        Turn { turns: self, rest: None }
    }

    fn wait(&self, is_urgent: bool) {
        let slice = if is_urgent { Duration::ZERO } else { SLICE };
        let mut queue = self.queue();
        let mine = queue.join(is_urgent);
        while queue.is_taken || !queue.is_first(mine) {
            queue = if queue.is_first(mine) {
                let left = slice.saturating_sub(queue.since.elapsed());
                if left.is_zero() {
                    queue.is_told = true;
                    self.stop();
                }
                let wait = if left.is_zero() { AGAIN } else { left };
                self.changed.wait_timeout(queue, wait).unwrap_or_else(PoisonError::into_inner).0
            } else {
                self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner)
            };
        }
        queue.begin();
        // Another is the first of those who wait now.
        self.tell(&queue);
    }

    fn tell(&self, queue: &Queue) {
        if !queue.waiting.is_empty() {
            self.changed.notify_all();
        }
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

impl Queue {
    fn new() -> Self {
        Self { waiting: VecDeque::new(), next: 0, is_taken: false, since: Instant::now(), is_told: false }
    }

    /// Waits behind all others, or all that are as urgent. Answers with a number.
    fn join(&mut self, is_urgent: bool) -> u64 {
        let number = self.next;
        self.next += 1;
        let urgent = self.waiting.iter().take_while(|waiting| waiting.is_urgent).count();
        let place = if is_urgent { urgent } else { self.waiting.len() };
        self.waiting.insert(place, Waiting { number, is_urgent });
        number
    }

    fn is_first(&self, number: u64) -> bool {
        self.waiting.front().is_some_and(|first| first.number == number)
    }

    /// The first of those who wait has the processor.
    fn begin(&mut self) {
        self.waiting.pop_front();
        self.is_taken = true;
        self.since = Instant::now();
    }

    /// Nobody has it. Answers what is left of a slice of which there was `rest`.
    fn end(&mut self, rest: Duration) -> Duration {
        self.is_taken = false;
        let was_told = std::mem::take(&mut self.is_told);
        if was_told { Duration::ZERO } else { rest.saturating_sub(self.since.elapsed()) }
    }
}

impl Deref for Turn<'_> {
    type Target = Processor;

    fn deref(&self) -> &Processor {
        &self.turns.processor
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut queue = self.turns.queue();
        let rest = self.rest.as_deref().map_or(Duration::ZERO, |rest| rest.0);
        let left = queue.end(rest);
        if let Some(rest) = &mut self.rest {
            rest.0 = left;
        }
        self.turns.tell(&queue);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(queue: &mut Queue) -> Vec<u64> {
        let mut order = Vec::new();
        while let Some(first) = queue.waiting.front() {
            order.push(first.number);
            queue.begin();
            queue.end(SLICE);
        }
        order
    }

    /// One that left by itself would otherwise wait a slice of all others at each register of its timer's interrupt, and the
    /// next interrupt would come before it is through.
    #[test]
    fn whoever_left_by_itself_comes_before_those_whose_slice_is_over() {
        let mut queue = Queue::new();
        for is_urgent in [false, true, false, true] {
            queue.join(is_urgent);
        }
        assert_eq!(order(&mut queue), [1, 3, 0, 2]);
    }

    #[test]
    fn a_slice_is_used_up_or_taken_away() {
        let mut queue = Queue::new();
        queue.join(false);
        queue.begin();
        let left = queue.end(SLICE);
        assert!(left < SLICE, "{left:?}");
        queue.join(true);
        queue.begin();
        std::thread::sleep(Duration::from_millis(1));
        assert_eq!(queue.end(Duration::from_millis(1)), Duration::ZERO);
        queue.join(true);
        queue.begin();
        queue.is_told = true;
        assert_eq!(queue.end(Duration::from_secs(3600)), Duration::ZERO);
        assert!(!queue.is_told && !queue.is_taken);
    }
}
