//! `Workers`: a device's queue workers, each on a thread with an event loop, and the bells that wake them.

#[cfg(test)]
mod tests;

use std::{fmt, io, sync::Arc, thread::JoinHandle};

use super::{FIRST_SOURCE, QueueWorker};
use crate::io::{Bell, Doorbell, DoorbellHost, EventLoop, Ready, ThreadKind, Threads, WatchedDoorbell};

/// The source that tells a worker's thread to end.
const STOP: u8 = 63;

/// The sources that a worker may use for its own, ready at each start in case they were rung in a pause.
const OWN_SOURCES: u64 = !0 << FIRST_SOURCE & !(1 << STOP);

/// Enough for an event loop and a device's buffers; a guest with many queues costs little.
const STACK_SIZE: usize = 256 << 10;

/// Told when a worker ends with an error: the device needs a reset. From the worker's thread, or from the caller's
/// if a thread cannot be started.
pub type Failed = Arc<dyn Fn(&dyn fmt::Display) + Send + Sync>;

/// The workers of an active device: all running or all paused.
///
/// A paused worker keeps its virtqueues and whatever it holds. When workers start, each serves all its sources once,
/// so what was rung meanwhile is never lost.
pub struct Workers {
    name: String,
    threads: Threads,
    failed: Failed,
    paused: Vec<Box<dyn QueueWorker>>,
    running: Vec<Running>,
}

/// A worker on its thread.
struct Running {
    stop: Bell,
    thread: JoinHandle<Option<Box<dyn QueueWorker>>>,
}

/// The bells of a device's virtqueues.
#[derive(Debug, Default)]
pub struct Bells(Vec<(u16, Bell)>);

impl Workers {
    /// The workers of device `name`, paused.
    pub fn new(
        name: impl Into<String>,
        threads: Threads,
        workers: Vec<Box<dyn QueueWorker>>,
        failed: Failed,
    ) -> Self {
        Self { name: name.into(), threads, failed, paused: workers, running: Vec::new() }
    }

    /// Starts all workers. `doorbell` says where each virtqueue's doorbell is, and `host` watches it if it can.
    /// `publish` gets the new bells before any worker looks at its queues, so no doorbell falls in between.
    pub fn start(
        &mut self,
        host: &dyn DoorbellHost,
        doorbell: impl Fn(u16) -> Option<Doorbell>,
        publish: impl FnOnce(Bells),
    ) {
        let mut bells = Bells::default();
        let mut posts = Vec::new();
        for worker in std::mem::take(&mut self.paused) {
            match Post::new(worker, host, &doorbell, &mut bells) {
                Ok(post) => posts.push(post),
                Err(error) => (self.failed)(&format_args!("cannot wait for doorbells: {error}")),
            }
        }
        publish(bells);
        for post in posts {
            let stop = post.event_loop.bell(STOP);
            let failed = Arc::clone(&self.failed);
            let kind = post.worker.thread();
            match self.threads.start(kind, self.name.clone(), STACK_SIZE, move || post.run(&*failed)) {
                Ok(thread) => self.running.push(Running { stop, thread }),
                Err(error) => (self.failed)(&format_args!("cannot start a thread: {error}")),
            }
        }
    }

    /// Stops all threads; each worker first finishes what it is at. Workers that failed are gone.
    pub fn pause(&mut self) {
        for running in &self.running {
            running.stop.ring();
        }
        for running in self.running.drain(..) {
            // A thread that panicked has told its story and left no worker.
            self.paused.extend(running.thread.join().ok().flatten());
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.pause();
        for worker in self.paused.drain(..) {
            // What it does at its end is for its own kind of thread: the caller may be a core's.
            let kind = worker.thread();
            if kind == ThreadKind::Worker {
                continue;
            }
            if let Ok(thread) = self.threads.start(kind, self.name.clone(), STACK_SIZE, move || drop(worker))
            {
                // A panic in it has been printed.
                let _ = thread.join();
            }
        }
    }
}

impl Bells {
    /// Has `queue` looked at, if a worker serves it.
    pub fn ring(&self, queue: u16) {
        if let Some((_, bell)) = self.0.iter().find(|(number, _)| *number == queue) {
            bell.ring();
        }
    }
}

/// A worker with all that its thread needs.
struct Post {
    worker: Box<dyn QueueWorker>,
    // Dropped before the descriptors that it watches.
    event_loop: EventLoop,
    doorbells: Vec<WatchedDoorbell>,
    /// All sources of the worker.
    all: Ready,
}

impl Post {
    fn new(
        worker: Box<dyn QueueWorker>,
        host: &dyn DoorbellHost,
        doorbell: impl Fn(u16) -> Option<Doorbell>,
        bells: &mut Bells,
    ) -> io::Result<Self> {
        let mut event_loop = EventLoop::new()?;
        let mut doorbells = Vec::new();
        let mut all = OWN_SOURCES;
        for &queue in worker.queues() {
            let Some(source) = u8::try_from(queue).ok().filter(|source| *source < FIRST_SOURCE) else {
                continue;
            };
            all |= 1 << source;
            bells.0.push((queue, event_loop.bell(source)));
            if let Some(doorbell) = doorbell(queue).and_then(|doorbell| host.watch(doorbell)) {
                event_loop.watch(&doorbell.fd, source)?;
                doorbells.push(doorbell);
            }
        }
        Ok(Self { worker, event_loop, doorbells, all: Ready::from_bits(all) })
    }

    /// The worker's thread: serves until told to stop, and gives the worker back unless it failed.
    fn run(self, failed: &dyn Fn(&dyn fmt::Display)) -> Option<Box<dyn QueueWorker>> {
        let Self { mut worker, mut event_loop, doorbells, all } = self;
        let served = serve(&mut *worker, &mut event_loop, all);
        drop(event_loop);
        drop(doorbells);
        served.map_err(|error| failed(&error)).ok().map(|()| worker)
    }
}

fn serve(worker: &mut dyn QueueWorker, event_loop: &mut EventLoop, all: Ready) -> anyhow::Result<()> {
    worker.start(event_loop)?;
    let mut ready = all;
    let mut patience = None;
    while !ready.contains(STOP) {
        if !ready.is_empty() || patience.is_some() {
            worker.serve(ready, event_loop)?;
        }
        patience = worker.patience();
        ready = event_loop.turn(patience)?;
    }
    Ok(())
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, paused, running, .. } = self;
        write!(f, "Workers({name}: {} running, {} paused)", running.len(), paused.len())
    }
}
