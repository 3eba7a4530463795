//! `Session`: a command in a guest, with the standard input and output of this process or others.
//!
//! One thread moves everything. It holds one message of the agent at most, and passes it on before it reads the next, so a
//! reader that is slow holds the command up and nothing grows.

mod sink;
mod source;

use std::{
    io::{self, ErrorKind},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::mpsc::{self, Receiver, Sender},
};

use anyhow::{Context, bail};
use hv_agent_protocol::{
    AgentMessage, HostMessage, MOST_DATA, Outgoing, Reader, Size, Start, Status, Stream,
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    stdio::{stderr, stdin, stdout},
};

use super::shown;
use crate::{
    detach_keys::{DetachKeys, Watch},
    message,
    signals::{self, Signal},
    terminal::{self, RawTerminal},
};
use sink::Sink;
use source::Source;

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The command ended with this exit code: its own, or 128 + N where signal N ended it.
    Exited(u8),
    /// The command could not be run: 126 or 127, and why.
    NotRun(u8, String),
    /// The command goes on in the guest without this session.
    Detached,
}

/// Where a command's standard input comes from and its output goes.
#[derive(Debug)]
pub(crate) struct Stdio {
    /// Read only if the session's `Start` asks for it.
    pub(crate) stdin: Option<OwnedFd>,
    /// What is written to it is lost if there is none.
    pub(crate) stdout: Option<OwnedFd>,
    /// The same.
    pub(crate) stderr: Option<OwnedFd>,
    /// Both outputs go here, too, as they come.
    pub(crate) copy: Option<OwnedFd>,
}

impl Stdio {
    /// None at all.
    pub(crate) fn none() -> Self {
        Self { stdin: None, stdout: None, stderr: None, copy: None }
    }

    /// Those of this process.
    pub(crate) fn own() -> Self {
        Self {
            stdin: stdin().try_clone_to_owned().ok(),
            stdout: stdout().try_clone_to_owned().ok(),
            stderr: stderr().try_clone_to_owned().ok(),
            copy: None,
        }
    }
}

/// Speaks to a session from any thread.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    orders: Sender<Order>,
    bell: std::sync::Arc<UnixStream>,
}

#[derive(Debug, Clone, Copy)]
enum Order {
    Signal(u8),
    Resize(Size),
}

impl Handle {
    /// Sends the command a signal, by its Linux number.
    pub(crate) fn signal(&self, number: u8) {
        self.order(Order::Signal(number));
    }

    /// Gives the command's terminal another size.
    pub(crate) fn resize(&self, size: Size) {
        self.order(Order::Resize(size));
    }

    fn order(&self, order: Order) {
        // A session that has ended needs no orders, and a bell that is full rings already.
        let _ = self.orders.send(order);
        let _ = rustix::io::write(&*self.bell, &[0]);
    }
}

/// What the detach keys do.
pub(crate) enum Leaving {
    /// The session ends, and the command goes on in the guest.
    Session,
    /// Standard input and output are let go of, and this is called; the session goes on.
    Stdio(Box<dyn Fn() + Send>),
    /// Nothing but that this is told.
    Refused(&'static str),
}

impl std::fmt::Debug for Leaving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Session => "Session",
            Self::Stdio(_) => "Stdio",
            Self::Refused(_) => "Refused",
        })
    }
}

/// A session that is about to run.
#[derive(Debug)]
pub(crate) struct Session {
    reader: Reader<UnixStream>,
    outgoing: Outgoing,
    source: Source,
    stdout: Sink,
    stderr: Sink,
    /// Both outputs once more.
    copy: Sink,
    leaving: Leaving,
    /// The agent was asked to let the command go on alone.
    detaching: bool,
    orders: Receiver<Order>,
    bell: UnixStream,
}

/// Runs a command with this process's standard input and output; its terminal is the command's if `start` asks for one.
/// SIGINT, SIGTERM and SIGHUP are the command's too.
///
/// The keys end the session, and the command goes on.
pub(crate) fn run(stream: UnixStream, start: &Start, keys: &DetachKeys) -> anyhow::Result<Ended> {
    let (mut session, handle) = Session::new(stream, start, Stdio::own())?;
    let terminal = match start.terminal {
        Some(_) if start.stdin => RawTerminal::enter().context("the terminal refuses raw mode")?,
        _ => None,
    };
    if terminal.is_some() {
        session.watch(keys, Leaving::Session);
    }
    signals::watch(move |signal| match signal {
        Signal::Stop(number) => handle.signal(u8::try_from(number).unwrap_or(0)),
        Signal::Resize => {
            if let Some((columns, rows)) = terminal::size() {
                handle.resize(Size { columns, rows });
            }
        }
    })
    .context("signals cannot be heard")?;
    session.run()
}

/// Starts a command that goes on in the guest without this process.
pub(crate) fn run_detached(stream: UnixStream, start: &Start) -> anyhow::Result<Ended> {
    let (mut session, _handle) = Session::new(stream, start, Stdio::none())?;
    session.ask_to_detach()?;
    session.run()
}

/// What can go on.
struct Ready {
    stream: bool,
    bell: bool,
    source: bool,
    stdout: bool,
    stderr: bool,
    copy: bool,
}

impl Session {
    /// A session on a connection to the agent's port, for a command that is started when it runs.
    pub(crate) fn new(stream: UnixStream, start: &Start, stdio: Stdio) -> anyhow::Result<(Self, Handle)> {
        let mut outgoing = Outgoing::default();
        outgoing
            .push(&HostMessage::Start(start.clone()))
            .context("the command with its environment is too long; pass less, or a file")?;
        let (bell, ring) = UnixStream::pair().context("out of file descriptors; raise `ulimit -n`")?;
        for socket in [&stream, &bell, &ring] {
            socket.set_nonblocking(true).context("the guest's agent cannot be reached")?;
        }
        let (send, orders) = mpsc::channel();
        let session = Self {
            reader: Reader::new(stream),
            outgoing,
            source: Source::new(stdio.stdin.filter(|_| start.stdin)),
            stdout: Sink::new(Stream::Stdout, stdio.stdout),
            stderr: Sink::new(Stream::Stderr, stdio.stderr),
            copy: Sink::new(Stream::Stdout, stdio.copy),
            leaving: Leaving::Session,
            detaching: false,
            orders,
            bell,
        };
        Ok((session, Handle { orders: send, bell: ring.into() }))
    }

    /// Looks for the detach keys in standard input.
    pub(crate) fn watch(&mut self, keys: &DetachKeys, leaving: Leaving) {
        let goes_on = matches!(leaving, Leaving::Refused(_));
        self.source.watch(Watch::new(keys), goes_on);
        self.leaving = leaving;
    }

    /// The detach keys were pressed.
    fn leave(&mut self) -> io::Result<()> {
        match &self.leaving {
            Leaving::Session => {
                self.source.close();
                return self.ask_to_detach();
            }
            Leaving::Stdio(tell) => {
                self.source.close();
                self.stdout.close();
                self.stderr.close();
                tell();
            }
            Leaving::Refused(why) => message::line(why),
        }
        Ok(())
    }

    fn ask_to_detach(&mut self) -> io::Result<()> {
        self.detaching = true;
        self.outgoing.push(&HostMessage::Detach)
    }

    /// Runs the command to its end.
    pub(crate) fn run(mut self) -> anyhow::Result<Ended> {
        let mut buffer = vec![0; MOST_DATA].into_boxed_slice();
        loop {
            if let Some(ended) = self.hear()? {
                return Ok(ended);
            }
            let ready = self.wait().context("cannot wait for the guest's command")?;
            if ready.bell {
                self.obey_orders()?;
            }
            if ready.source && self.source.read(&mut buffer, &mut self.outgoing)? {
                self.leave()?;
            }
            if ready.copy {
                // Who reads it has no say in what the command does.
                self.copy.write();
            }
            for (sink, ready) in [(&mut self.stdout, ready.stdout), (&mut self.stderr, ready.stderr)] {
                if ready && sink.write() {
                    self.outgoing.push(&HostMessage::OutputClosed(sink.stream()))?;
                }
            }
            if ready.stream {
                match self.reader.fill() {
                    Ok(true) => {}
                    Ok(false) => bail!("the guest ended before the command did"),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error).context("the guest ended before the command did"),
                }
            }
            self.send();
        }
    }

    /// What it has to say. An agent that has left is noticed where it is listened to, behind its last words.
    fn send(&mut self) {
        match self.outgoing.write_to(self.reader.source()) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => self.outgoing = Outgoing::default(),
            _ => {}
        }
    }

    fn obey_orders(&mut self) -> io::Result<()> {
        let mut rings = [0; 64];
        // It does not block; that there was something is enough.
        let _ = rustix::io::read(&self.bell, &mut rings);
        for order in self.orders.try_iter() {
            let message = match order {
                Order::Signal(number) => HostMessage::Signal(number),
                Order::Resize(size) => HostMessage::Resize(size),
            };
            self.outgoing.push(&message)?;
        }
        Ok(())
    }

    /// Does what the agent's messages say, as far as the outputs take it; how the session ended, if it has.
    fn hear(&mut self) -> anyhow::Result<Option<Ended>> {
        const BROKEN: &str = "the guest's agent is not understood";
        while self.has_passed_on() && self.reader.has_message().context(BROKEN)? {
            let Some(message) = self.reader.receive().context(BROKEN)? else { break };
            match message {
                AgentMessage::Started { .. } => {}
                AgentMessage::Stdout(bytes) => {
                    self.stdout.add(bytes);
                    self.copy.add(bytes);
                }
                AgentMessage::Stderr(bytes) => {
                    self.stderr.add(bytes);
                    self.copy.add(bytes);
                }
                AgentMessage::StdinTaken(count) => self.source.note_taken(count),
                AgentMessage::StdinClosed => self.source.close(),
                AgentMessage::Exited(Status::Code(code)) => return Ok(Some(Ended::Exited(code))),
                AgentMessage::Exited(Status::Signal(signal)) => {
                    return Ok(Some(Ended::Exited(signal.saturating_add(128))));
                }
                AgentMessage::Failed { code: code @ (126 | 127), reason } => {
                    return Ok(Some(Ended::NotRun(code, shown(reason))));
                }
                AgentMessage::Detached if self.detaching => return Ok(Some(Ended::Detached)),
                _ => bail!("{BROKEN}: it says what is not for a session"),
            }
        }
        Ok(None)
    }

    /// Whether nothing of the last message waits.
    fn has_passed_on(&self) -> bool {
        [&self.stdout, &self.stderr, &self.copy].into_iter().all(Sink::is_empty)
    }

    fn wait(&self) -> io::Result<Ready> {
        let mut stream = PollFlags::empty();
        let takes = self.has_passed_on();
        stream.set(PollFlags::IN, takes);
        stream.set(PollFlags::OUT, !self.outgoing.is_empty());
        let sources = [
            (!stream.is_empty()).then(|| (self.reader.source().as_fd(), stream)),
            Some((self.bell.as_fd(), PollFlags::IN)),
            self.source.wants(&self.outgoing).map(|fd| (fd, PollFlags::IN)),
            self.stdout.wants().map(|fd| (fd, PollFlags::OUT)),
            self.stderr.wants().map(|fd| (fd, PollFlags::OUT)),
            self.copy.wants().map(|fd| (fd, PollFlags::OUT)),
        ];
        let mut fds: Vec<_> =
            sources.iter().flatten().map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)).collect();
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut results = fds.iter().map(|fd| !fd.revents().is_empty());
        let [stream, bell, source, stdout, stderr, copy] =
            sources.map(|source| source.is_some() && results.next().unwrap_or(false));
        Ok(Ready { stream: stream && takes, bell, source, stdout, stderr, copy })
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
