//! What `hv` and the agent in a guest say to each other, read by either.

use std::{
    fmt::Debug,
    io::{self, ErrorKind, Read},
};

use hv_agent_protocol::{AgentMessage, BootConfig, HostMessage, MOST_FRAME, Outgoing, Reader};

use crate::Input;

/// Messages of the agent.
///
/// They mean the same whatever pieces they come in, and when written again; refusals are one line.
///
/// # Panics
/// One of these is not so.
pub fn agent_messages(data: &[u8]) {
    play(data, |reader| Ok(reader.receive::<AgentMessage<'_>>()?.map(|message| again(&message))));
}

/// Messages of the host, with the same rules.
///
/// # Panics
/// One of these is not so.
pub fn host_messages(data: &[u8]) {
    play(data, |reader| Ok(reader.receive::<HostMessage<'_>>()?.map(|message| again(&message))));
}

/// The agent's configuration.
///
/// It means the same when written again; refusals are one line.
///
/// # Panics
/// One of these is not so.
pub fn boot_config(data: &[u8]) {
    match BootConfig::decode(data) {
        Ok(config) => {
            let file = config.encode().expect("what was read can be written");
            assert_eq!(BootConfig::decode(&file).expect("what was written can be read"), config);
        }
        Err(error) => one_line(&error),
    }
}

/// Gives what it has in pieces, and says `WouldBlock` before each.
struct Pieces<'a> {
    data: &'a [u8],
    sizes: Input<'a>,
    ready: bool,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.ready = !self.ready;
        if self.ready {
            return Err(ErrorKind::WouldBlock.into());
        }
        let size = usize::from(self.sizes.u8()).max(1).min(buffer.len());
        self.data.read(&mut buffer[..size])
    }
}

/// A message, written again as a frame, and shown.
type Again = (Vec<u8>, String);

fn again(message: &(impl serde::Serialize + Debug)) -> Again {
    let (mut outgoing, mut frame) = (Outgoing::default(), Vec::new());
    outgoing.push(message).expect("what was read can be written");
    outgoing.write_to(&mut frame).expect("a vector takes all");
    assert!(frame.len() <= 4 + MOST_FRAME && outgoing.is_empty());
    (frame, format!("{message:?}"))
}

/// Reads all messages at once and in pieces, and what was written again.
fn play(data: &[u8], receive: fn(&mut Reader<&mut dyn Read>) -> io::Result<Option<Again>>) {
    let read = |source: &mut dyn Read| {
        let (mut reader, mut messages) = (Reader::new(source), Vec::new());
        loop {
            match receive(&mut reader) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => return (messages, None),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return (messages, Some(error)),
            }
        }
    };
    let (messages, error) = read(&mut &*data);
    let (in_pieces, other) = read(&mut Pieces { data, sizes: Input::new(data), ready: false });
    assert_eq!(messages, in_pieces);
    assert_eq!(error.as_ref().map(io::Error::kind), other.map(|error| error.kind()));
    error.iter().for_each(one_line);
    let written: Vec<u8> = messages.iter().flat_map(|(frame, _)| frame.clone()).collect();
    // A number may come in more bytes than it needs, never the other way round.
    assert!(written.len() <= data.len() && messages.len() <= data.len() / 4);
    let (rewritten, error) = read(&mut &*written);
    assert!(error.is_none());
    assert_eq!(rewritten, messages);
}

fn one_line(error: &io::Error) {
    assert!(!error.to_string().contains('\n'), "{error}");
}
