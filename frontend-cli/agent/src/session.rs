//! Sessions: one command for the host, over one connection.
//!
//! One thread moves everything: it waits for the connection, the command's ends of standard input and output, and its
//! end, and never blocks on one of them while another could go on.

mod child;
mod command;
mod input;
mod output;
mod process;
mod program;

use std::{
    io::{self, ErrorKind},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use hv_agent_protocol::{AgentMessage, HostMessage, MOST_DATA, Outgoing, Reader, Size, Status, Stream};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    termios::{Winsize, tcsetwinsize},
};

use crate::Children;
use command::{Command, Failure};
use input::Input;
use output::Output;
use process::Process;

/// How long what the command left running may keep its output open. What is in the pipes then is still sent.
const LINGER: Duration = Duration::from_millis(500);

/// Bytes that wait for the host before the command's output is left in its pipes.
const OUTPUT_ROOM: usize = 2 * MOST_DATA;

/// Bytes that wait for the host before it is not listened to either.
const MOST_OUTGOING: usize = 8 * MOST_DATA;

/// Runs the command that the host asks for on `stream`, to its end. It is killed if the host goes away.
///
/// # Errors
/// The host went away, or said what it may not say.
pub fn serve(stream: &UnixStream, children: &Children) -> io::Result<()> {
    let mut reader = Reader::new(stream);
    let start = match reader.receive()? {
        Some(HostMessage::Start(start)) => start,
        Some(_) => return Err(io::Error::new(ErrorKind::InvalidData, "a session begins with Start")),
        None => return Ok(()),
    };
    let mut outgoing = Outgoing::default();
    let command = match command::start(&start, children) {
        Ok(command) => command,
        Err(Failure { code, reason }) => {
            // It is one line, and shorter than any frame.
            let reason: String = reason.chars().take(1024).collect();
            outgoing.push(&AgentMessage::Failed { code, reason: &reason })?;
            return outgoing.write_to(stream);
        }
    };
    outgoing.push(&AgentMessage::Started { pid: command.process.id() })?;
    let mut session = Session::new(stream, reader, outgoing, command);
    let ended = session.run();
    if ended.is_err() {
        session.hang_up();
    }
    ended
}

struct Session<'a> {
    stream: &'a UnixStream,
    reader: Reader<&'a UnixStream>,
    outgoing: Outgoing,
    process: Process<'a>,
    input: Input,
    outputs: [Output; 2],
    /// The host's end of the command's terminal.
    terminal: Option<OwnedFd>,
    buffer: Box<[u8]>,
    /// How the command ended, and until when its output is waited for.
    ended: Option<(Status, Instant)>,
    /// The host has left the command to itself: nothing comes from it, and what is for it is thrown away.
    detached: bool,
}

/// What can go on.
#[derive(Debug, Default)]
struct Ready {
    stream: bool,
    process: bool,
    input: bool,
    outputs: [bool; 2],
}

impl<'a> Session<'a> {
    fn new(
        stream: &'a UnixStream,
        reader: Reader<&'a UnixStream>,
        outgoing: Outgoing,
        command: Command<'a>,
    ) -> Self {
        let Command { process, input, outputs, terminal } = command;
        let buffer = vec![0; MOST_DATA].into_boxed_slice();
        Self {
            stream,
            reader,
            outgoing,
            process,
            input,
            outputs,
            terminal,
            buffer,
            ended: None,
            detached: false,
        }
    }

    fn run(&mut self) -> io::Result<()> {
        self.stream.set_nonblocking(true)?;
        // What came behind `Start` is in the reader already.
        self.obey()?;
        loop {
            self.send()?;
            if let Some((status, _)) = self.ended
                && self.outputs.iter().all(Output::is_done)
            {
                if self.detached {
                    return Ok(());
                }
                self.outgoing.push(&AgentMessage::Exited(status))?;
                self.stream.set_nonblocking(false)?;
                return self.outgoing.write_to(self.stream);
            }
            let ready = self.wait()?;
            if ready.process {
                self.note_end();
            }
            self.limit_outputs();
            for (output, ready) in self.outputs.iter_mut().zip(ready.outputs) {
                if ready {
                    output.read(&mut self.buffer, &mut self.outgoing)?;
                }
            }
            if ready.stream {
                self.listen()?;
            }
            if ready.input {
                self.input.feed();
            }
            self.input.tell(&mut self.outgoing)?;
        }
    }

    fn send(&mut self) -> io::Result<()> {
        if self.detached {
            self.outgoing = Outgoing::default();
            return Ok(());
        }
        match self.outgoing.write_to(self.stream) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            written => written,
        }
    }

    fn wait(&self) -> io::Result<Ready> {
        let mut stream = PollFlags::empty();
        stream.set(PollFlags::IN, self.outgoing.len() < MOST_OUTGOING);
        stream.set(PollFlags::OUT, !self.outgoing.is_empty());
        let host = (!self.detached).then(|| (self.stream.as_fd(), stream));
        let room = self.outgoing.len() < OUTPUT_ROOM;
        let [stdout, stderr] = &self.outputs;
        let process = self.ended.is_none().then(|| (self.process.as_fd(), PollFlags::IN));
        let input = self.input.wants().map(|fd| (fd, PollFlags::OUT));
        let sources: [Option<(BorrowedFd<'_>, PollFlags)>; 5] =
            [host, process, input, source(stdout, room), source(stderr, room)];
        let mut fds: Vec<_> =
            sources.iter().flatten().map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)).collect();
        match poll(&mut fds, self.time_left().as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut results = fds.iter().map(|fd| !fd.revents().is_empty());
        let mut ready = sources.map(|source| source.is_some() && results.next().unwrap_or(false));
        // Room to write alone is for `send`, which the next turn begins with.
        ready[0] = ready[0] && fds.first().is_some_and(|fd| fd.revents() != PollFlags::OUT);
        let [stream, process, input, stdout, stderr] = ready;
        Ok(Ready { stream, process, input, outputs: [stdout, stderr] })
    }

    /// How long to wait for the end of the outputs.
    fn time_left(&self) -> Option<Timespec> {
        let (_, until) = self.ended?;
        let waiting = self.outputs.iter().any(|output| output.source().is_some() && !output.is_limited());
        let left = until.saturating_duration_since(Instant::now());
        // A little more than what is left, so that it is over on the next look.
        waiting.then(|| Timespec::try_from(left + Duration::from_millis(1)).ok()).flatten()
    }

    fn note_end(&mut self) {
        if let Some(status) = self.process.take_status() {
            let until = Instant::now() + LINGER;
            self.ended = Some((status, until));
            self.input.close();
        }
    }

    /// Once the time is over, the outputs end with what is in them now.
    fn limit_outputs(&mut self) {
        if self.ended.is_some_and(|(_, until)| until <= Instant::now()) {
            self.outputs.iter_mut().for_each(Output::limit);
        }
    }

    fn listen(&mut self) -> io::Result<()> {
        match self.reader.fill() {
            Ok(true) => self.obey(),
            Ok(false) => Err(ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Does what the messages that are here ask for.
    fn obey(&mut self) -> io::Result<()> {
        while self.reader.has_message()? {
            let Some(message) = self.reader.receive()? else { break };
            match message {
                HostMessage::Stdin(bytes) => self.input.add(bytes)?,
                HostMessage::StdinEnd => self.input.end(),
                // The number of a process that has ended may be another's.
                HostMessage::Signal(number) if self.ended.is_none() => {
                    self.process.signal(number, self.terminal.as_ref());
                }
                HostMessage::Signal(_) => {}
                HostMessage::Resize(size) => {
                    if let Some(terminal) = &self.terminal {
                        // A terminal that has hung up needs no size.
                        let _ = tcsetwinsize(terminal, window(size));
                    }
                }
                HostMessage::OutputClosed(stream) => {
                    self.outputs
                        .iter_mut()
                        .filter(|output| output.stream() == stream)
                        .for_each(Output::close);
                    if stream == Stream::Stdout && self.terminal.take().is_some() {
                        // Nobody looks at the terminal: it hangs up.
                        self.input.close();
                    }
                }
                HostMessage::Detach => {
                    self.outgoing.push(&AgentMessage::Detached)?;
                    self.stream.set_nonblocking(false)?;
                    // A host that has left by now has left the command to itself, too.
                    let _ = self.outgoing.write_to(self.stream);
                    self.detached = true;
                    break;
                }
                _ => return Err(io::Error::new(ErrorKind::InvalidData, "not a message for a session")),
            }
        }
        self.input.feed();
        self.input.tell(&mut self.outgoing)
    }

    /// Ends the command, for whose host nobody is left.
    fn hang_up(&mut self) {
        self.terminal = None;
        self.input.close();
        self.outputs.iter_mut().for_each(Output::close);
        if self.ended.is_none() {
            self.process.hang_up();
        }
    }
}

fn source(output: &Output, room: bool) -> Option<(BorrowedFd<'_>, PollFlags)> {
    output.source().filter(|_| room).map(|fd| (fd, PollFlags::IN))
}

fn window(size: Size) -> Winsize {
    Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 }
}
