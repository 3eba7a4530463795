//! `Clients`: processes of the host that ask for a port of the guest by a line, `CONNECT PORT`.

use std::{
    collections::VecDeque,
    io::{self, Read},
    os::{fd::AsRawFd, unix::net::UnixStream},
};

use mio::{Interest, Registry, Token, unix::SourceFd};

/// The most clients that have not said their line yet. One more takes the place of the one that dawdles longest.
const MAX_CLIENTS: usize = 64;

/// The longest line, with its end. The longest that makes sense has 19 bytes.
const MAX_LINE: usize = 32;

/// Clients that have not said their line yet, the oldest first.
#[derive(Debug)]
pub(super) struct Clients {
    /// Their tokens are from here on.
    first_token: usize,
    next: u16,
    waiting: VecDeque<Client>,
}

#[derive(Debug)]
struct Client {
    token: Token,
    stream: UnixStream,
    line: Vec<u8>,
}

/// What a client said so far.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    /// Not all of its line.
    Part,
    /// The port that it wants.
    Port(u32),
    /// It is gone, or says something else.
    Nonsense,
}

impl Clients {
    /// None yet. Their tokens will be `first_token` and the 65535 after it.
    pub(super) fn new(first_token: usize) -> Self {
        Self { first_token, next: 0, waiting: VecDeque::new() }
    }

    /// Waits for the line of one more.
    ///
    /// # Errors
    /// The host cannot watch it.
    pub(super) fn add(&mut self, stream: UnixStream, registry: &Registry) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        let token = Token(self.first_token + usize::from(self.next));
        registry.register(&mut SourceFd(&stream.as_raw_fd()), token, Interest::READABLE)?;
        self.next = self.next.wrapping_add(1);
        if self.waiting.len() == MAX_CLIENTS {
            self.waiting.pop_front();
        }
        self.waiting.push_back(Client { token, stream, line: Vec::new() });
        Ok(())
    }

    /// Hears the client with this token. One that is done is handed over, with the port that it wants, and watched no
    /// longer; one that says nonsense is dropped.
    pub(super) fn hear(&mut self, token: Token, registry: &Registry) -> Option<(UnixStream, u32)> {
        let place = self.waiting.iter().position(|client| client.token == token)?;
        let said = self.waiting.get_mut(place)?.hear();
        if said == Said::Part {
            return None;
        }
        let client = self.waiting.remove(place)?;
        let _ = registry.deregister(&mut SourceFd(&client.stream.as_raw_fd()));
        match said {
            Said::Port(port) => Some((client.stream, port)),
            _ => None,
        }
    }
}

impl Client {
    /// Reads byte by byte: what follows the line is for the guest.
    fn hear(&mut self) -> Said {
        let mut byte = [0];
        while self.line.len() < MAX_LINE {
            match (&self.stream).read(&mut byte) {
                Ok(1) if byte == *b"\n" => return port(&self.line).map_or(Said::Nonsense, Said::Port),
                Ok(1) => self.line.extend_from_slice(&byte),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Said::Part,
                _ => return Said::Nonsense,
            }
        }
        Said::Nonsense
    }
}

/// The port in a line without its end.
fn port(line: &[u8]) -> Option<u32> {
    let line = std::str::from_utf8(line).ok()?;
    let (word, number) = line.strip_suffix('\r').unwrap_or(line).split_once(' ')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    if is_number && word.eq_ignore_ascii_case("connect") { number.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_a_port() {
        for (line, expected) in [
            ("CONNECT 1024", Some(1024)),
            ("CONNECT 0", Some(0)),
            ("connect 4294967295\r", Some(u32::MAX)),
            ("CONNECT 4294967296", None),
            ("CONNECT +5", None),
            ("CONNECT -1", None),
            ("CONNECT ", None),
            ("CONNECT  5", None),
            ("CONNECT 5 ", None),
            ("CONNECT", None),
            ("CONNECTION 5", None),
            ("5", None),
            ("", None),
        ] {
            assert_eq!(port(line.as_bytes()), expected, "{line:?}");
        }
        assert_eq!(port(b"CONNECT \xff"), None);
    }
}
