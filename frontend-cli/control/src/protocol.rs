//! What is said on a control socket: one JSON object a line, each request with one answer.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The most bytes of a line, its newline included.
pub const LINE_LIMIT: usize = 64 << 10;

/// How much of a wrong request is shown in the answer to it.
const SHOWN: usize = 200;

/// What a client asks for. Fields that are not known are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    /// What the guest is doing.
    Status,
    /// What the guest was made of.
    Inspect,
    /// Press the power button.
    PowerButton,
    /// End the guest at once.
    End,
    /// Send the guest's own command a signal.
    Signal {
        /// Its number in Linux.
        number: u8,
    },
    /// Hold the guest where it is.
    Pause,
    /// Let a paused guest go on.
    Resume,
    /// Answer when the guest has ended. The last request of a connection.
    Wait,
    /// After the answer the connection is the guest's console. The last request of a connection.
    Console,
    /// The terminal of the console has this size, in characters.
    Resize {
        /// Characters in a line.
        columns: u16,
        /// Lines.
        rows: u16,
    },
}

impl Request {
    /// Reads a request from a line.
    ///
    /// # Errors
    /// It is none: one line that says what is wrong, and where.
    pub fn parse(line: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(line).map_err(|error| one_line(&format!("not a request: {error}")))
    }

    /// The request as a line with its newline.
    pub fn to_line(&self) -> Vec<u8> {
        to_line(self)
    }
}

/// What the guest's process answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// It is done.
    Done,
    /// It was not done.
    Error {
        /// What is wrong, in one line.
        message: String,
    },
    /// What the guest is doing.
    Status(Status),
    /// What the guest was made of.
    Inspect {
        /// The guest's record, as in its `guest.json`.
        guest: Value,
    },
    /// The power button was pressed.
    PowerButton {
        /// The guest listens to it now.
        listens: bool,
    },
    /// The guest has ended.
    Ended {
        /// The exit code of its `hv run`.
        code: u8,
    },
    /// The connection is the console from here on.
    Console {
        /// So many bytes were shown before.
        history: u64,
    },
}

impl Answer {
    /// An answer to what cannot be done.
    pub fn error(message: impl AsRef<str>) -> Self {
        Self::Error { message: one_line(message.as_ref()) }
    }

    /// Reads an answer from a line.
    ///
    /// # Errors
    /// It is none: one line that says what is wrong.
    pub fn parse(line: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(line).map_err(|error| one_line(&format!("not an answer: {error}")))
    }

    /// The answer as a line with its newline.
    pub fn to_line(&self) -> Vec<u8> {
        to_line(self)
    }
}

/// What a guest is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The guest's name.
    pub name: String,
    /// What its machine is doing.
    pub state: State,
    /// The process that runs it.
    pub pid: u32,
}

/// What a guest's machine is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is made ready.
    Starting,
    /// It runs.
    Running,
    /// It is held, and can go on.
    Paused,
    /// It has ended; its process is about to.
    Ended,
}

impl State {
    /// The word for it, as in the protocol.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Ended => "ended",
        }
    }
}

/// JSON escapes control characters, so the text is one line.
fn to_line(message: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    if line.len() > LINE_LIMIT {
        return Answer::error("the answer is too long for a line").to_line();
    }
    line
}

fn one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests_read_as_they_are_documented() {
        for (line, expected) in [
            (&br#"{"request":"status"}"#[..], Request::Status),
            (br#"{"request":"inspect"}"#, Request::Inspect),
            (br#" {"request" : "power-button"} "#, Request::PowerButton),
            (br#"{"request":"end","why":"not known, so ignored"}"#, Request::End),
            (br#"{"request":"signal","number":15}"#, Request::Signal { number: 15 }),
            (br#"{"request":"pause"}"#, Request::Pause),
            (br#"{"request":"resume"}"#, Request::Resume),
            (br#"{"request":"wait"}"#, Request::Wait),
            (br#"{"request":"console"}"#, Request::Console),
            (br#"{"request":"resize","columns":80,"rows":24}"#, Request::Resize { columns: 80, rows: 24 }),
        ] {
            assert_eq!(Request::parse(line).unwrap(), expected);
            assert_eq!(Request::parse(&expected.to_line()).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_no_request_is_told_in_one_line() {
        for line in [
            &b""[..],
            b"status",
            b"{}",
            br#"{"request":"explode"}"#,
            br#"{"request":"resize","columns":80}"#,
            br#"{"request":"signal","number":256}"#,
            br#"{"request":"signal","number":"TERM"}"#,
            br#"{"request":"resize","columns":80,"rows":65536}"#,
            b"\xff\xfe",
            br#"{"request":"a\u000ab"}"#,
        ] {
            let told = Request::parse(line).unwrap_err();
            assert!(!told.contains('\n') && told.starts_with("not a request: "), "{told}");
        }
        assert!(Request::parse("[".repeat(LINE_LIMIT).as_bytes()).is_err());
    }

    #[test]
    fn answers_come_back_as_they_were_sent() {
        let status = Status { name: "a".to_owned(), state: State::Paused, pid: 7 };
        for answer in [
            Answer::Done,
            Answer::error("a\nb"),
            Answer::Status(status),
            Answer::PowerButton { listens: true },
            Answer::Ended { code: 137 },
            Answer::Console { history: 5 },
        ] {
            let line = answer.to_line();
            assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            assert_eq!(Answer::parse(&line).unwrap(), answer);
        }
    }

    #[test]
    fn an_answer_that_is_too_long_becomes_an_error() {
        let guest = Value::String("x".repeat(LINE_LIMIT));
        let line = Answer::Inspect { guest }.to_line();
        assert!(matches!(Answer::parse(&line), Ok(Answer::Error { .. })));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_request_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Request::parse(&bytes);
            let _ = Answer::parse(&bytes);
        }
    }
}
