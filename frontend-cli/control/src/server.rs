//! The server: answers each client on a thread of its own, so that none waits for another.

use std::{
    io::{self, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{SendFlags, send},
};
use serde_json::Value;

use crate::{
    line::Lines,
    peer,
    protocol::{Answer, Request, Status},
    tap::{ConsoleTap, Tail},
};

/// So many clients are answered at once, and so many wait for the end.
const MOST_CLIENTS: usize = 64;
/// So many of them may be consoles, which stay.
const MOST_CONSOLES: usize = 16;
/// A client that says nothing for so long, or takes no answer, is left: it may keep others out.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long to wait for room in the guest's input before the client is looked at again.
const ROOM: Duration = Duration::from_millis(500);
/// How long to wait after the host refused a connection, as when descriptors ran out.
const RETRY: Duration = Duration::from_millis(100);
/// A client's thread does nothing deep.
const STACK: usize = 256 << 10;

/// What a guest is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Press its power button.
    PowerButton,
    /// End it at once.
    End,
    /// Send its own command this signal, by its number in Linux; 0 and numbers that Linux does not have may come.
    Signal(u8),
    /// Hold it where it is.
    Pause,
    /// Let it go on.
    Resume,
    /// Its console's terminal has this size.
    Resize {
        /// Characters in a line.
        columns: u16,
        /// Lines.
        rows: u16,
    },
}

/// The guest as its control socket sees it. Calls come from any thread.
pub trait Handle: Send + Sync + 'static {
    /// What the guest is doing.
    fn status(&self) -> Status;
    /// What the guest was made of.
    fn inspect(&self) -> Value;
    /// Does what is asked and says what came of it. Bounded in time.
    fn order(&self, order: Order) -> Answer;
    /// What the guest shows.
    fn tap(&self) -> &ConsoleTap;
    /// Takes as many bytes for the guest's console as there is room for and says how many. Never blocks.
    fn type_in(&self, bytes: &[u8]) -> usize;
    /// Waits until the guest's console has room, or the time is over.
    fn wait_for_room(&self, timeout: Duration);
}

/// Answers clients until the process ends.
#[derive(Clone)]
pub struct Server(Arc<Shared>);

struct Shared {
    handle: Arc<dyn Handle>,
    clients: AtomicUsize,
    consoles: AtomicUsize,
    waiters: Mutex<Waiters>,
}

/// Who waits for the end: connections without a thread.
#[derive(Default)]
struct Waiters {
    ended: Option<u8>,
    streams: Vec<UnixStream>,
}

/// Answers on `listener`, from a thread of its own.
///
/// # Errors
/// The host cannot start a thread.
pub fn serve(listener: UnixListener, handle: Arc<dyn Handle>) -> io::Result<Server> {
    let server = Server(Arc::new(Shared {
        handle,
        clients: AtomicUsize::new(0),
        consoles: AtomicUsize::new(0),
        waiters: Mutex::default(),
    }));
    let shared = Arc::clone(&server.0);
    let accept = move || {
        loop {
            match listener.accept() {
                Ok((stream, _)) => shared.admit(stream),
                Err(error) => {
                    tracing::debug!("control socket: {error}");
                    thread::sleep(RETRY);
                }
            }
        }
    };
    thread::Builder::new().name("control".to_owned()).stack_size(STACK).spawn(accept)?;
    Ok(server)
}

impl Server {
    /// Tells all who wait that the guest has ended with this exit code; who asks later hears it at once. The first
    /// call counts.
    pub fn end(&self, code: u8) {
        let mut waiters = self.0.waiters();
        waiters.ended.get_or_insert(code);
        for stream in waiters.streams.drain(..) {
            say_ended(&stream, code);
        }
    }
}

/// A waiter who has no room for a line has not read for long, and is not waited for.
fn say_ended(stream: &UnixStream, code: u8) {
    let _ = send(stream, &Answer::Ended { code }.to_line(), SendFlags::DONTWAIT);
}

impl Shared {
    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts to answer a client, or refuses it.
    fn admit(self: &Arc<Self>, stream: UnixStream) {
        if !peer::is_trusted(&stream) {
            return;
        }
        // Nothing else looks after those who wait and have left: it is idle guests that are waited for.
        self.waiters().streams.retain(|waiting| !has_hung_up(waiting));
        let timeouts = stream
            .set_nonblocking(false)
            .and_then(|()| stream.set_read_timeout(Some(PATIENCE)))
            .and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
        let Some(place) = Place::take(self, |shared| &shared.clients, MOST_CLIENTS) else {
            let busy = Answer::error(format!("{MOST_CLIENTS} clients are too many; try again"));
            let _ = send(&stream, &busy.to_line(), SendFlags::DONTWAIT);
            return;
        };
        let converse = move || {
            // A client that left is no error.
            let _ = timeouts.and_then(|()| place.shared.converse(stream));
        };
        let started =
            thread::Builder::new().name("control client".to_owned()).stack_size(STACK).spawn(converse);
        if let Err(error) = started {
            tracing::debug!("control client: {error}");
        }
    }

    /// Answers requests until the client leaves.
    fn converse(self: &Arc<Self>, stream: UnixStream) -> io::Result<()> {
        let mut lines = Lines::new(stream);
        loop {
            let line = match lines.next_line() {
                Ok(Some(line)) => line,
                Ok(None) => return Ok(()),
                Err(error) => {
                    if error.kind() == io::ErrorKind::InvalidData {
                        say(lines.source(), &Answer::error(error.to_string()))?;
                    }
                    return Err(error);
                }
            };
            let order = match Request::parse(&line) {
                Err(message) => {
                    say(lines.source(), &Answer::error(message))?;
                    continue;
                }
                Ok(Request::Wait) => return self.wait(lines.into_parts().0),
                Ok(Request::Console) => {
                    let (stream, typed) = lines.into_parts();
                    return self.console(&stream, typed);
                }
                Ok(Request::Status) => {
                    say(lines.source(), &Answer::Status(self.handle.status()))?;
                    continue;
                }
                Ok(Request::Inspect) => {
                    say(lines.source(), &Answer::Inspect { guest: self.handle.inspect() })?;
                    continue;
                }
                Ok(Request::PowerButton) => Order::PowerButton,
                Ok(Request::End) => Order::End,
                Ok(Request::Signal { number }) => Order::Signal(number),
                Ok(Request::Pause) => Order::Pause,
                Ok(Request::Resume) => Order::Resume,
                Ok(Request::Resize { columns, rows }) => Order::Resize { columns, rows },
            };
            say(lines.source(), &self.handle.order(order))?;
        }
    }

    /// Keeps the connection until the guest has ended.
    fn wait(&self, stream: UnixStream) -> io::Result<()> {
        let mut waiters = self.waiters();
        if let Some(code) = waiters.ended {
            say_ended(&stream, code);
            return Ok(());
        }
        if waiters.streams.len() >= MOST_CLIENTS {
            drop(waiters);
            return say(&stream, &Answer::error(format!("{MOST_CLIENTS} clients wait already")));
        }
        waiters.streams.push(stream);
        Ok(())
    }

    /// Joins the connection to the guest's console until one of them ends.
    fn console(self: &Arc<Self>, stream: &UnixStream, typed: Vec<u8>) -> io::Result<()> {
        let Some(_place) = Place::take(self, |shared| &shared.consoles, MOST_CONSOLES) else {
            return say(stream, &Answer::error(format!("{MOST_CONSOLES} consoles are too many")));
        };
        // Somebody who only looks says nothing, and one who stopped their terminal may come back.
        stream.set_read_timeout(None)?;
        stream.set_write_timeout(None)?;
        let tail = self.handle.tap().attach();
        let closer = tail.closer();
        let history = u64::try_from(tail.history()).unwrap_or(u64::MAX);
        say(stream, &Answer::Console { history })?;
        let far = stream.try_clone()?;
        thread::Builder::new()
            .name("control console".to_owned())
            .stack_size(STACK)
            .spawn(move || show(tail, &far))?;
        let ended = self.type_in(stream, typed);
        closer.close();
        ended
    }

    /// Carries what the client types to the guest.
    fn type_in(&self, stream: &UnixStream, mut typed: Vec<u8>) -> io::Result<()> {
        let mut buffer = [0; 1024];
        loop {
            let mut bytes = typed.as_slice();
            while !bytes.is_empty() {
                let sent = self.handle.type_in(bytes);
                bytes = bytes.get(sent..).unwrap_or_default();
                if sent == 0 {
                    // A guest that never reads must not keep the thread of a client that has left.
                    if has_hung_up(stream) {
                        return Ok(());
                    }
                    self.handle.wait_for_room(ROOM);
                }
            }
            let count = match (&*stream).read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                count => count?,
            };
            if count == 0 {
                return self.look_on(stream);
            }
            typed = buffer[..count].to_vec();
        }
    }

    /// A client that has nothing more to type may still look: waits until it leaves or the guest ends.
    fn look_on(&self, stream: &UnixStream) -> io::Result<()> {
        while !has_hung_up(stream) {
            match poll(&mut [PollFd::new(stream, PollFlags::empty())], None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Gives what the guest shows to the client until one of them ends.
fn show(mut tail: Tail, mut stream: &UnixStream) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = tail.read(&mut buffer) {
        if stream.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    // Wakes the thread that reads; a client that left has nothing to be told.
    let _ = stream.shutdown(std::net::Shutdown::Both);
}

fn say(mut stream: &UnixStream, answer: &Answer) -> io::Result<()> {
    stream.write_all(&answer.to_line())
}

fn has_hung_up(stream: &UnixStream) -> bool {
    let mut state = [PollFd::new(stream, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut state, Some(&now)).is_ok() && state[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}

/// One of a bounded number of places, given back when it is dropped.
struct Place {
    shared: Arc<Shared>,
    count: fn(&Shared) -> &AtomicUsize,
}

impl Place {
    fn take(shared: &Arc<Shared>, count: fn(&Shared) -> &AtomicUsize, most: usize) -> Option<Self> {
        let more = |taken: usize| (taken < most).then_some(taken + 1);
        count(shared).fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).ok()?;
        Some(Self { shared: Arc::clone(shared), count })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        (self.count)(&self.shared).fetch_sub(1, Ordering::SeqCst);
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("clients", &self.0.clients).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
