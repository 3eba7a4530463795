//! `Threads`: starts a machine's threads, all of them from one that does nothing else, and has each of them begin as its kind.
//!
//! Hosts may let a thread do less than the thread that made it, and never more. Workers are started when a driver is ready, at the
//! word of a core's thread, which can do least of all: so it is not the one that makes them.

use std::{
    fmt, io,
    sync::{
        Arc,
        mpsc::{self, Sender},
    },
    thread::{Builder, JoinHandle},
};

/// What a thread of a machine is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThreadKind {
    /// It runs a core.
    Core,
    /// It serves virtqueues with what their device holds.
    Worker,
    /// It serves those of a network card.
    Network,
    /// It serves those of a socket device.
    Sockets,
}

/// Starts threads. All clones are the same.
#[derive(Clone)]
pub struct Threads(Option<Arc<Starter>>);

struct Starter {
    requests: Sender<Request>,
    begin: Box<dyn Fn(ThreadKind) + Send + Sync>,
}

type Request = Box<dyn FnOnce() + Send>;

/// The thread that starts the others.
const NAME: &str = "threads";
const STACK: usize = 64 << 10;

impl Threads {
    /// Threads that are made by one of their own, which is made now. `begin` is called on each before anything else.
    ///
    /// # Errors
    /// The host cannot start a thread.
    pub fn new(begin: impl Fn(ThreadKind) + Send + Sync + 'static) -> io::Result<Self> {
        let (requests, asked) = mpsc::channel::<Request>();
        let serve = move || asked.into_iter().for_each(|start| start());
        Builder::new().name(NAME.to_owned()).stack_size(STACK).spawn(serve)?;
        Ok(Self(Some(Arc::new(Starter { requests, begin: Box::new(begin) }))))
    }

    /// Threads that are made by whoever asks for them, of no kind.
    pub fn of_any_kind() -> Self {
        Self(None)
    }

    /// Starts a thread that runs `body`; `name` is what the host's tools show.
    ///
    /// # Errors
    /// The host is out of threads or memory.
    pub fn start<T: Send + 'static>(
        &self,
        kind: ThreadKind,
        name: String,
        stack: usize,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<JoinHandle<T>> {
        let builder = Builder::new().name(name).stack_size(stack);
        let Some(starter) = &self.0 else { return builder.spawn(body) };
        let (made, result) = mpsc::sync_channel(1);
        let begun = Arc::clone(starter);
        let start = move || {
            let started = builder.spawn(move || {
                (begun.begin)(kind);
                // The starter must not live as long as a thread that it made.
                drop(begun);
                body()
            });
            // Whoever asked waits.
            let _ = made.send(started);
        };
        let is_over = |_| io::Error::other("the thread that starts others is gone");
        starter.requests.send(Box::new(start)).map_err(|error| is_over(error.to_string()))?;
        result.recv().map_err(|error| is_over(error.to_string()))?
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Threads({})", if self.0.is_some() { "by kind" } else { "of any kind" })
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, sync::Mutex, thread};

    use super::*;

    thread_local!(static KIND: Cell<Option<ThreadKind>> = const { Cell::new(None) });

    #[test]
    fn a_thread_begins_as_its_kind_and_is_made_by_none_of_another() {
        let threads = Threads::new(|kind| KIND.set(Some(kind))).unwrap();
        let of = |threads: &Threads, kind| {
            threads.start(kind, "test".to_owned(), STACK, || KIND.get()).unwrap().join().unwrap()
        };
        assert_eq!(of(&threads, ThreadKind::Worker), Some(ThreadKind::Worker));
        // What a thread of one kind has made is of the kind that was asked for.
        let inner = threads.clone();
        let nested = move || {
            inner
                .start(ThreadKind::Network, "inner".to_owned(), STACK, || KIND.get())
                .unwrap()
                .join()
                .unwrap()
        };
        let seen =
            threads.start(ThreadKind::Core, "outer".to_owned(), STACK, nested).unwrap().join().unwrap();
        assert_eq!(seen, Some(ThreadKind::Network));
        assert_eq!(of(&Threads::of_any_kind(), ThreadKind::Core), None);
    }

    #[test]
    fn threads_have_the_name_and_outlive_their_starter() {
        let threads = Threads::new(|_| {}).unwrap();
        let (send, held) = mpsc::channel::<()>();
        let held = Mutex::new(held);
        let body = move || {
            held.lock().unwrap().recv().unwrap_err();
            thread::current().name().unwrap().to_owned()
        };
        let thread = threads.start(ThreadKind::Core, "vcpu7".to_owned(), STACK, body).unwrap();
        drop(threads);
        drop(send);
        assert_eq!(thread.join().unwrap(), "vcpu7");
    }
}
