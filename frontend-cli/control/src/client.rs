//! The client: one connection to a guest's control socket.

use std::{
    io::{self, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use crate::{
    line::Lines,
    protocol::{Answer, Request},
};

/// A process that does not answer for so long is stopped or broken.
const PATIENCE: Duration = Duration::from_secs(15);

/// Asks and tells a guest's process.
#[derive(Debug)]
pub struct Client {
    lines: Lines<UnixStream>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The connection failed or was left without an answer.
    #[error("its control socket fails: {0}")]
    Io(#[from] io::Error),
    /// The guest's process does not do it.
    #[error("{0}")]
    Refused(String),
    /// What came is no answer.
    #[error("its control socket does not speak this protocol: {0}")]
    Protocol(String),
}

/// A guest's console.
#[derive(Debug)]
pub struct ConsoleConnection {
    /// What the guest shows comes from here, what is written is for the guest.
    pub stream: UnixStream,
    /// What already came.
    pub shown: Vec<u8>,
    /// So many of the first bytes were shown before.
    pub history: u64,
}

impl Client {
    /// Connects to the socket at `path`.
    ///
    /// # Errors
    /// There is none, or nobody listens.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { lines: Lines::new(stream) })
    }

    /// From now on waits so long for an answer.
    ///
    /// # Errors
    /// The host refuses.
    pub fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.lines.source().set_read_timeout(Some(patience))
    }

    /// Asks, and waits for the answer, for a bounded time.
    ///
    /// # Errors
    /// There is no answer, or it is an [error](Answer::Error).
    pub fn request(&mut self, request: &Request) -> Result<Answer, ClientError> {
        let mut stream = self.lines.source();
        stream.write_all(&request.to_line())?;
        let line = self.lines.next_line()?.ok_or(io::ErrorKind::UnexpectedEof).map_err(io::Error::from)?;
        match Answer::parse(&line).map_err(ClientError::Protocol)? {
            Answer::Error { message } => Err(ClientError::Refused(message)),
            answer => Ok(answer),
        }
    }

    /// Waits until the guest has ended, for ever or for `timeout`; its exit code, or nothing if it has not.
    ///
    /// # Errors
    /// There is no answer: the process may have died.
    pub fn wait(mut self, timeout: Option<Duration>) -> Result<Option<u8>, ClientError> {
        self.lines.source().set_read_timeout(timeout)?;
        match self.request(&Request::Wait) {
            Ok(Answer::Ended { code }) => Ok(Some(code)),
            Ok(other) => Err(unexpected(&other)),
            Err(ClientError::Io(error)) if is_timeout(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes the connection the guest's console.
    ///
    /// # Errors
    /// There is no answer, or there are too many consoles.
    pub fn console(mut self) -> Result<ConsoleConnection, ClientError> {
        match self.request(&Request::Console)? {
            Answer::Console { history } => {
                let (stream, shown) = self.lines.into_parts();
                stream.set_read_timeout(None)?;
                stream.set_write_timeout(None)?;
                Ok(ConsoleConnection { stream, shown, history })
            }
            other => Err(unexpected(&other)),
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn unexpected(answer: &Answer) -> ClientError {
    ClientError::Protocol(format!("unexpected answer {answer:?}"))
}
