//! Which bytes of two consoles reach the screen: the merge as a state machine without clock or lock.

use std::{
    mem,
    time::{Duration, Instant},
};

use super::Port;
use records::{Shape, shape};

mod records;

use self::records::Records;

/// The most bytes that are held back. Linux cuts its records at about this length.
const HELD_MAX: usize = 1024;

/// How long a port that stopped within a line keeps the screen from the other's unfinished line.
const YIELD_AFTER: Duration = Duration::from_millis(20);

/// The merge.
#[derive(Default)]
pub(super) struct Lines {
    ports: [PortLine; 2],
    records: Records,
    screen: ScreenLine,
    active: Option<Port>,
}

/// The line that a port is at.
#[derive(Default)]
struct PortLine {
    state: State,
    /// The start of a line that may be a log record.
    held: Vec<u8>,
    /// The start of another line, while the other port is within one of its own.
    waiting: Vec<u8>,
}

/// What a port's line is.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// Not begun.
    #[default]
    Start,
    /// A log record, or not known yet.
    Held,
    /// The rest of an over-long record: shown or not.
    Rest { shown: bool },
    /// Something else.
    Text,
}

/// The line that the screen is at.
#[derive(Default)]
struct ScreenLine {
    /// The port whose line is unfinished, and when it last added to it.
    unfinished: Option<(Port, Instant)>,
}

impl Lines {
    /// Takes what `port` wrote at `now`, and adds to `out` what the screen shows of it.
    pub(super) fn write(&mut self, port: Port, mut bytes: &[u8], now: Instant, out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            bytes = match self.line(port).state {
                State::Start => {
                    let line = self.line(port);
                    line.state = if bytes.starts_with(b"[") { State::Held } else { State::Text };
                    bytes
                }
                State::Held => self.hold(port, bytes, now, out),
                State::Rest { shown } => {
                    let (piece, rest) = to_line_end(bytes, usize::MAX);
                    if shown {
                        self.screen.show(port, piece, now, out);
                    }
                    self.line(port).state =
                        if piece.ends_with(b"\n") { State::Start } else { State::Rest { shown } };
                    rest
                }
                State::Text => {
                    let (piece, rest) = to_line_end(bytes, usize::MAX);
                    self.text(port, piece, now, out);
                    self.line(port).state = if piece.ends_with(b"\n") { State::Start } else { State::Text };
                    rest
                }
            };
        }
    }

    /// Adds to a line that may be a record; decides once it is complete, too long, or clearly none.
    fn hold<'a>(&mut self, port: Port, bytes: &'a [u8], now: Instant, out: &mut Vec<u8>) -> &'a [u8] {
        let line = self.line(port);
        let (piece, rest) = to_line_end(bytes, HELD_MAX - line.held.len());
        line.held.extend_from_slice(piece);
        let complete = piece.ends_with(b"\n");
        match shape(&line.held) {
            Shape::Record if complete || line.held.len() == HELD_MAX => {
                let mut record = mem::take(&mut line.held);
                let shown = self.records.is_news(port, &record);
                if shown {
                    self.screen.show(port, &record, now, out);
                }
                record.clear();
                let line = self.line(port);
                line.held = record;
                line.state = if complete { State::Start } else { State::Rest { shown } };
                self.release(now, out);
            }
            Shape::Record => {}
            Shape::Unknown if !complete => {}
            Shape::Unknown | Shape::Text => {
                line.state = if complete { State::Start } else { State::Text };
                let text = mem::take(&mut line.held);
                self.text(port, &text, now, out);
            }
        }
        rest
    }

    /// Shows bytes that are no record, unless the other port is within a line.
    fn text(&mut self, port: Port, bytes: &[u8], now: Instant, out: &mut Vec<u8>) {
        self.active = Some(port);
        let line = self.line(port);
        line.waiting.extend_from_slice(bytes);
        self.show_waiting(port, now, out);
        self.release(now, out);
    }

    /// Shows what waits of `port`, as far as it may.
    fn show_waiting(&mut self, port: Port, now: Instant, out: &mut Vec<u8>) {
        let Self { ports, screen, .. } = self;
        let waiting = &mut ports[port as usize].waiting;
        let complete = waiting.ends_with(b"\n") || waiting.len() >= HELD_MAX;
        if !waiting.is_empty() && (complete || screen.is_free_for(port, now)) {
            screen.show(port, waiting, now, out);
            waiting.clear();
        }
    }

    /// Shows what waited for the end of a line that just ended.
    fn release(&mut self, now: Instant, out: &mut Vec<u8>) {
        if self.screen.unfinished.is_none() {
            self.show_waiting(Port::Uart, now, out);
            self.show_waiting(Port::Virtio, now, out);
        }
    }

    /// Shows all that is held back.
    pub(super) fn flush(&mut self, out: &mut Vec<u8>) {
        let now = Instant::now();
        for port in [Port::Uart, Port::Virtio] {
            let line = self.line(port);
            let (held, waiting) = (mem::take(&mut line.held), mem::take(&mut line.waiting));
            if line.state == State::Held {
                line.state = State::Text;
            }
            for bytes in [waiting, held] {
                self.screen.show(port, &bytes, now, out);
            }
        }
    }

    /// Shows all that is held back, ends the line, and forgets everything.
    pub(super) fn reset(&mut self, out: &mut Vec<u8>) {
        self.flush(out);
        if self.screen.unfinished.is_some() {
            out.extend_from_slice(b"\r\n");
        }
        *self = Self::default();
    }

    /// The port that last wrote something other than records.
    pub(super) fn active(&self) -> Option<Port> {
        self.active
    }

    fn line(&mut self, port: Port) -> &mut PortLine {
        &mut self.ports[port as usize]
    }
}

impl ScreenLine {
    /// Whether `port` would not break into a line that the other is still writing.
    fn is_free_for(&self, port: Port, now: Instant) -> bool {
        self.unfinished
            .is_none_or(|(other, at)| other == port || now.saturating_duration_since(at) > YIELD_AFTER)
    }

    fn show(&mut self, port: Port, bytes: &[u8], now: Instant, out: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        if self.unfinished.is_some_and(|(other, _)| other != port) {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(bytes);
        self.unfinished = (!bytes.ends_with(b"\n")).then_some((port, now));
    }
}

/// Splits after the first end of line, or after `most` bytes.
fn to_line_end(bytes: &[u8], most: usize) -> (&[u8], &[u8]) {
    let bytes_in_reach = &bytes[..bytes.len().min(most)];
    let end = memchr::memchr(b'\n', bytes_in_reach).map_or(bytes_in_reach.len(), |at| at + 1);
    bytes.split_at(end)
}
