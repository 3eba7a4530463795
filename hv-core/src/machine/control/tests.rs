//! Orders and events alone: cores are threads that spin where a guest would run.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    thread::{JoinHandle, spawn, yield_now},
    time::Instant,
};

use proptest::prelude::*;

use super::*;
use crate::{io::EventLoop, testing::DEADLINE};

#[test]
fn a_core_that_rests_hears_an_order() {
    let events = EventLoop::new().unwrap();
    let control = Arc::new(Control::new(events.bell(0)));
    let (core, (enrolled, made)) = (control.clone(), mpsc::channel());
    let thread = spawn(move || {
        let _enrolled = core.enroll(Flag::default());
        enrolled.send(()).unwrap();
        let mut seen = 0;
        loop {
            match core.await_order(&mut seen) {
                Order::Run => core.rest(seen, Duration::MAX),
                Order::Hold | Order::Reset => core.done(seen),
                Order::End => break,
            }
        }
    });
    made.recv().unwrap();
    for _ in 0..100 {
        for order in [Order::Run, Order::Hold, Order::Reset] {
            control.command(order);
        }
    }
    control.command(Order::Run);
    control.command(Order::End);
    thread.join().unwrap();
}

#[derive(Clone, Default)]
struct Flag(Arc<AtomicBool>);

impl Kick for Flag {
    fn kick(&self) {
        self.0.store(true, SeqCst);
    }
}

/// Cores and what they are at.
struct Cores {
    control: Arc<Control<Flag>>,
    events: EventLoop,
    seen: Arc<Seen>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Seen {
    /// Cores in the guest.
    running: AtomicUsize,
    entries: AtomicU64,
    resets: AtomicUsize,
    /// The core that comes next to it reports an event.
    misfortune: AtomicBool,
}

impl Cores {
    fn new(count: usize) -> Self {
        let events = EventLoop::new().unwrap();
        let control = Arc::new(Control::new(events.bell(0)));
        let seen = Arc::<Seen>::default();
        let (enrolled, all) = mpsc::channel();
        let threads = (0..count)
            .map(|_| {
                let (control, seen, enrolled) = (control.clone(), seen.clone(), enrolled.clone());
                spawn(move || live(&control, &seen, &enrolled))
            })
            .collect();
        for _ in 0..count {
            all.recv().unwrap();
        }
        Self { control, events, seen, threads }
    }

    fn command(&self, order: Order) {
        self.control.command(order);
        if order != Order::Run {
            assert_eq!(self.seen.running.load(SeqCst), 0, "a core runs after {order:?}");
        }
    }

    fn running(&self) -> usize {
        self.seen.running.load(SeqCst)
    }

    /// Waits for an event as the session does: by the bell.
    fn event(&mut self) -> Event {
        loop {
            if let Some(event) = self.control.take_event() {
                return event;
            }
            let start = Instant::now();
            self.events.turn(Some(DEADLINE)).unwrap();
            assert!(start.elapsed() < DEADLINE, "no event");
        }
    }
}

impl Drop for Cores {
    fn drop(&mut self) {
        self.control.command(Order::End);
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking());
        }
    }
}

/// A core's thread, with a guest that does nothing until it is kicked or has bad luck.
fn live(control: &Control<Flag>, seen: &Seen, made: &mpsc::Sender<()>) {
    let kicked = Flag::default();
    let _enrolled = control.enroll(kicked.clone());
    made.send(()).unwrap();
    let mut epoch = 0;
    loop {
        match control.await_order(&mut epoch) {
            Order::Run => {
                seen.running.fetch_add(1, SeqCst);
                seen.entries.fetch_add(1, SeqCst);
                let mut event = None;
                while !kicked.0.swap(false, SeqCst) && event.is_none() {
                    event = seen.misfortune.swap(false, SeqCst).then_some(Event::PowerOff);
                    yield_now();
                }
                seen.running.fetch_sub(1, SeqCst);
                if let Some(event) = event {
                    control.report(event);
                }
            }
            Order::Hold => control.done(epoch),
            Order::Reset => {
                seen.resets.fetch_add(1, SeqCst);
                control.done(epoch);
            }
            Order::End => break,
        }
    }
}

fn wait_until(what: &str, mut come: impl FnMut() -> bool) {
    let start = Instant::now();
    while !come() {
        assert!(start.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        yield_now();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the orders, each reaches every core before `command` returns, and none is waited for in vain.
    #[test]
    fn every_core_carries_out_every_order(
        count in 1_usize..6,
        orders in prop::collection::vec(
            prop_oneof![Just(Order::Run), Just(Order::Hold), Just(Order::Reset)], 1..40,
        ),
    ) {
        let cores = Cores::new(count);
        let mut resets = 0;
        for order in orders {
            if order == Order::Reset {
                cores.command(Order::Hold);
                resets += count;
            }
            cores.command(order);
            prop_assert_eq!(cores.seen.resets.load(SeqCst), resets);
            if order == Order::Run {
                wait_until("all cores run", || cores.running() == count);
            }
        }
    }

    /// An event that comes at any time is heard, and after it no core runs until a reset.
    #[test]
    fn an_event_is_heard_and_holds_all_cores(
        count in 1_usize..6,
        between in prop::collection::vec(prop_oneof![Just(Order::Run), Just(Order::Hold)], 0..4),
    ) {
        let mut cores = Cores::new(count);
        cores.command(Order::Run);
        cores.seen.misfortune.store(true, SeqCst);
        for order in &between {
            cores.command(*order);
        }
        // A guest that was held before its misfortune meets it now.
        if cores.seen.misfortune.load(SeqCst) {
            cores.command(Order::Run);
        }
        prop_assert_eq!(cores.event(), Event::PowerOff);
        wait_until("all cores are held", || cores.running() == 0);
        // A core that was about to enter when the event came still does, to leave at once.
        cores.command(Order::Hold);
        let entries = cores.seen.entries.load(SeqCst);
        cores.command(Order::Run);
        cores.command(Order::Hold);
        prop_assert_eq!(cores.seen.entries.load(SeqCst), entries, "a core ran after the end");
        cores.command(Order::Hold);
        cores.command(Order::Reset);
        cores.command(Order::Run);
        wait_until("all cores run", || cores.running() == count);
        prop_assert_eq!(cores.control.take_event(), None);
    }
}

#[test]
fn orders_race_with_events_without_a_deadlock() {
    let mut cores = Cores::new(4);
    for round in 0..2000_u32 {
        cores.command(Order::Run);
        cores.seen.misfortune.store(true, SeqCst);
        if round % 3 == 0 {
            assert_eq!(cores.event(), Event::PowerOff);
        }
        cores.command(Order::Hold);
        if round % 2 == 0 {
            cores.command(Order::Run);
            cores.command(Order::Hold);
        }
        cores.command(Order::Reset);
        assert_eq!(cores.control.take_event(), None, "a reset forgets what was before");
    }
    assert_eq!(cores.seen.resets.load(SeqCst), 4 * 2000);
}

#[test]
fn events_are_kept_in_order_and_in_bounds() {
    let cores = Cores::new(0);
    for number in 0..1000 {
        cores.control.report(Event::Crash(number.to_string()));
    }
    for number in 0..MOST_EVENTS {
        assert_eq!(cores.control.take_event(), Some(Event::Crash(number.to_string())));
    }
    assert_eq!(cores.control.take_event(), None);
}

#[test]
fn a_reset_that_a_core_fails_is_followed_by_no_run() {
    let cores = Cores::new(2);
    let before = cores.seen.entries.load(SeqCst);
    // As a core does between its order and `done`.
    cores.command(Order::Reset);
    cores.control.report(Event::Crash("no".to_owned()));
    cores.command(Order::Run);
    cores.command(Order::Hold);
    assert_eq!(cores.seen.entries.load(SeqCst), before);
}

#[test]
fn nobody_waits_for_a_core_that_panicked() {
    let mut cores = Cores::new(2);
    let control = cores.control.clone();
    let panicked = thread::Builder::new().name("vcpu7".to_owned()).spawn(move || {
        let _enrolled = control.enroll(Flag::default());
        panic!("as a broken device would");
    });
    assert!(panicked.unwrap().join().is_err());
    cores.command(Order::Hold);
    assert_eq!(cores.event(), Event::Crash("vcpu7: its thread panicked".to_owned()));
}

#[test]
fn a_core_that_joins_late_gets_the_order_that_stands() {
    let cores = Cores::new(1);
    cores.command(Order::Run);
    let (control, seen) = (cores.control.clone(), cores.seen.clone());
    let (made, _made) = mpsc::channel();
    let late = spawn(move || live(&control, &seen, &made));
    wait_until("both run", || cores.running() == 2);
    cores.command(Order::Hold);
    drop(cores);
    late.join().unwrap();
}
