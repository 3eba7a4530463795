//! `Client`: the host's side of a session, as a test drives it.

use std::{
    io::Write,
    os::unix::net::UnixStream,
    sync::Arc,
    thread::{self, JoinHandle},
};

use hv_agent_protocol::{AgentMessage, HostMessage, MOST_DATA, Outgoing, Reader, Start, Status, WINDOW};
use hv_init::{Children, session};

/// How a session ended.
#[derive(Debug)]
pub(crate) struct Ending {
    /// The command's status, or why it did not run.
    pub(crate) status: Result<Status, (u8, String)>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

/// A session, and a thread that serves it.
pub(crate) struct Client {
    reader: Reader<UnixStream>,
    agent: Option<JoinHandle<std::io::Result<()>>>,
    pub(crate) stdout: Vec<u8>,
    stderr: Vec<u8>,
    pub(crate) stdin_closed: bool,
    pub(crate) detached: bool,
    taken: usize,
    status: Option<Result<Status, (u8, String)>>,
}

/// A command without anything else.
pub(crate) fn start(arguments: &[&str]) -> Start {
    Start { arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(), ..Start::default() }
}

impl Client {
    fn connect() -> Self {
        let (host, guest) = UnixStream::pair().unwrap();
        let agent = Some(thread::spawn(move || session::serve(&guest, &Arc::new(Children::default()))));
        Self {
            reader: Reader::new(host),
            agent,
            stdout: Vec::new(),
            stderr: Vec::new(),
            stdin_closed: false,
            detached: false,
            taken: 0,
            status: None,
        }
    }

    pub(crate) fn start(start: Start) -> Self {
        let mut client = Self::connect();
        client.send(&HostMessage::Start(start));
        client
    }

    pub(crate) fn run(start: Start) -> Ending {
        Self::start(start).finish()
    }

    /// Says `bytes` alone; whether the agent leaves with an error.
    pub(crate) fn raw(bytes: &[u8]) -> bool {
        let mut client = Self::connect();
        client.write(bytes);
        client.stream().shutdown(std::net::Shutdown::Write).unwrap();
        client.agent.take().unwrap().join().unwrap().is_err()
    }

    pub(crate) fn stream(&self) -> &UnixStream {
        self.reader.source()
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stream().write_all(bytes).unwrap();
    }

    pub(crate) fn send(&mut self, message: &HostMessage<'_>) {
        let mut outgoing = Outgoing::default();
        outgoing.push(message).unwrap();
        // An agent that has left need not hear it.
        let _ = outgoing.write_to(self.stream());
    }

    /// Sends standard input as the window allows.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.taken = 0;
        let mut sent = 0;
        for chunk in bytes.chunks(MOST_DATA) {
            self.wait_until(|client| sent + chunk.len() - client.taken <= WINDOW);
            self.send(&HostMessage::Stdin(chunk));
            sent += chunk.len();
        }
    }

    pub(crate) fn send_all_at_once(&mut self, bytes: &[u8]) {
        bytes.chunks(MOST_DATA).for_each(|chunk| self.send(&HostMessage::Stdin(chunk)));
    }

    pub(crate) fn wait_for(&mut self, output: &[u8]) {
        self.wait_until(|client| client.stdout == output);
    }

    pub(crate) fn wait_until(&mut self, condition: impl Fn(&Self) -> bool) {
        while !condition(self) {
            assert!(self.next(), "the session ended: {:?}", String::from_utf8_lossy(&self.stdout));
        }
    }

    /// Takes the next message; whether there was one.
    fn next(&mut self) -> bool {
        let Some(message) = self.reader.receive().unwrap() else { return false };
        assert!(self.status.is_none(), "{message:?} came after the end");
        match message {
            AgentMessage::Started { pid } => assert_ne!(pid, 0),
            AgentMessage::Stdout(bytes) => self.stdout.extend(bytes),
            AgentMessage::Stderr(bytes) => self.stderr.extend(bytes),
            AgentMessage::StdinTaken(count) => self.taken += usize::try_from(count).unwrap(),
            AgentMessage::StdinClosed => self.stdin_closed = true,
            AgentMessage::Detached => self.detached = true,
            AgentMessage::Exited(status) => self.status = Some(Ok(status)),
            AgentMessage::Failed { code, reason } => self.status = Some(Err((code, reason.to_owned()))),
            other => panic!("{other:?} is not for a session"),
        }
        true
    }

    pub(crate) fn finish(mut self) -> Ending {
        while self.next() {}
        self.agent.take().unwrap().join().unwrap().unwrap();
        let status = self.status.expect("the agent says how the command ended");
        Ending { status, stdout: self.stdout, stderr: self.stderr }
    }

    /// Goes away from a command that goes on alone; waits until that has ended.
    pub(crate) fn leave_alone(mut self) {
        let agent = self.agent.take().unwrap();
        drop(self);
        agent.join().unwrap().unwrap();
    }

    /// Goes away, and waits until the agent has seen to it.
    pub(crate) fn leave(mut self) {
        let agent = self.agent.take().unwrap();
        drop(self);
        assert!(agent.join().unwrap().is_err());
    }
}
