//! Workers lose no ring, serve nothing while paused, and fail once.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::*;
use crate::{
    io::NoDoorbellHost,
    testing::{DEADLINE, SoftDoorbells},
    virtio::QueueError,
};

/// Takes over `made` into `seen` each time it is woken; fails on request.
#[derive(Default)]
struct Shared {
    made: AtomicU64,
    seen: AtomicU64,
    starts: AtomicU64,
    fail: Mutex<Option<&'static str>>,
}

struct Counting(Arc<Shared>);

impl QueueWorker for Counting {
    fn queues(&self) -> &[u16] {
        &[0, 5]
    }

    fn start(&mut self, _: &mut EventLoop) -> io::Result<()> {
        self.0.starts.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn serve(&mut self, ready: Ready, _: &mut EventLoop) -> Result<(), QueueError> {
        assert!(!ready.contains(STOP));
        if let Some(reason) = *self.0.fail.lock().unwrap() {
            return Err(QueueError { queue: 0, reason: reason.into() });
        }
        self.0.seen.store(self.0.made.load(Ordering::SeqCst), Ordering::SeqCst);
        Ok(())
    }
}

fn workers(shared: &Arc<Shared>) -> (Workers, Arc<Mutex<Vec<String>>>) {
    let failures = Arc::new(Mutex::new(Vec::new()));
    let failed: Failed = {
        let failures = failures.clone();
        Arc::new(move |error| failures.lock().unwrap().push(error.to_string()))
    };
    (
        Workers::new("test0", Threads::of_any_kind(), vec![Box::new(Counting(shared.clone()))], failed),
        failures,
    )
}

fn start(workers: &mut Workers) -> Bells {
    let mut given = None;
    workers.start(&NoDoorbellHost, |_| None, |bells| given = Some(bells));
    given.unwrap()
}

fn wait_for(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < DEADLINE, "a wake-up was lost");
        thread::yield_now();
    }
}

#[test]
fn no_ring_is_lost() {
    let shared = Arc::new(Shared::default());
    let (mut workers, _) = workers(&shared);
    let bells = start(&mut workers);
    for round in 1..=30_000 {
        shared.made.store(round, Ordering::SeqCst);
        bells.ring(if round % 2 == 0 { 0 } else { 5 });
        wait_for(|| shared.seen.load(Ordering::SeqCst) == round);
    }
}

#[test]
fn no_store_to_a_watched_doorbell_is_lost() {
    let shared = Arc::new(Shared::default());
    let (mut workers, _) = workers(&shared);
    let host = SoftDoorbells::default();
    let place = |queue| Some(Doorbell { address: 0x1000 + u64::from(queue) * 4, value: None });
    workers.start(&host, place, drop);
    assert_eq!(host.watched(), 2);
    for round in 1..=30_000 {
        shared.made.store(round, Ordering::SeqCst);
        assert!(host.store(if round % 2 == 0 { 0x1000 } else { 0x1014 }, 0));
        wait_for(|| shared.seen.load(Ordering::SeqCst) == round);
    }
    workers.pause();
    assert_eq!(host.watched(), 0);
}

#[test]
fn what_comes_during_a_pause_is_served_after_it() {
    let shared = Arc::new(Shared::default());
    let (mut workers, _) = workers(&shared);
    for round in 1..=1000 {
        shared.made.store(round, Ordering::SeqCst);
        start(&mut workers);
        wait_for(|| shared.seen.load(Ordering::SeqCst) == round);
        workers.pause();
        assert_eq!(shared.starts.load(Ordering::SeqCst), round);
    }
}

#[test]
fn a_paused_worker_serves_nothing() {
    let shared = Arc::new(Shared::default());
    let (mut workers, _) = workers(&shared);
    let bells = start(&mut workers);
    workers.pause();
    shared.made.store(1, Ordering::SeqCst);
    bells.ring(0);
    assert_eq!(shared.seen.load(Ordering::SeqCst), 0);
    assert_eq!(format!("{workers:?}"), "Workers(test0: 0 running, 1 paused)");
}

/// Has something to do a moment later, three times, and says when it is done.
struct Later {
    left: u32,
    done: Arc<AtomicU64>,
}

impl QueueWorker for Later {
    fn queues(&self) -> &[u16] {
        &[0]
    }

    fn serve(&mut self, _: Ready, _: &mut EventLoop) -> Result<(), QueueError> {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            self.done.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }

    fn patience(&self) -> Option<Duration> {
        // In between it would wait for ever, if nothing else came.
        (self.left > 0).then_some(Duration::from_millis(1))
    }
}

#[test]
fn a_worker_is_served_when_its_patience_is_over_and_not_beyond() {
    let done = Arc::new(AtomicU64::new(0));
    let worker = Later { left: 4, done: done.clone() };
    let mut workers = Workers::new("test0", Threads::of_any_kind(), vec![Box::new(worker)], Arc::new(|_| {}));
    start(&mut workers);
    wait_for(|| done.load(Ordering::SeqCst) == 1);
    thread::sleep(Duration::from_millis(20));
    assert_eq!(done.load(Ordering::SeqCst), 1, "nothing became ready");
    workers.pause();
    // A worker with all the patience of the world is stopped at once.
    struct Patient;
    impl QueueWorker for Patient {
        fn queues(&self) -> &[u16] {
            &[0]
        }
        fn serve(&mut self, _: Ready, _: &mut EventLoop) -> Result<(), QueueError> {
            Ok(())
        }
        fn patience(&self) -> Option<Duration> {
            Some(Duration::from_secs(1 << 40))
        }
    }
    let mut workers =
        Workers::new("test0", Threads::of_any_kind(), vec![Box::new(Patient)], Arc::new(|_| {}));
    start(&mut workers);
    workers.pause();
}

#[test]
fn a_worker_that_fails_says_so_once_and_is_gone() {
    let shared = Arc::new(Shared::default());
    let (mut workers, failures) = workers(&shared);
    let bells = start(&mut workers);
    *shared.fail.lock().unwrap() = Some("broken");
    bells.ring(0);
    bells.ring(5);
    wait_for(|| !failures.lock().unwrap().is_empty());
    workers.pause();
    start(&mut workers).ring(0);
    workers.pause();
    assert_eq!(*failures.lock().unwrap(), ["virtqueue 0: broken"]);
    assert_eq!(shared.starts.load(Ordering::SeqCst), 1);
}
