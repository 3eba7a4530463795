//! Control messages of a console with several ports (VIRTIO 1.2, 5.3.6.2): a dialogue without queues.

use std::collections::VecDeque;

use crate::chardev::TerminalSize;

/// Bytes of a message without its payload: port, event, value.
pub(super) const MESSAGE_LEN: usize = 8;

/// Answers that wait for the driver's buffers; from here on it must take some before it may ask more.
const OUTBOX: usize = 64;

const DEVICE_READY: u16 = 0;
const PORT_ADD: u16 = 1;
const PORT_READY: u16 = 3;
const CONSOLE_PORT: u16 = 4;
const RESIZE: u16 = 5;
const PORT_OPEN: u16 = 6;
const PORT_NAME: u16 = 7;

/// The device's side of the dialogue.
#[derive(Debug, Default)]
pub(super) struct Dialogue {
    outbox: VecDeque<Vec<u8>>,
    /// The terminal's port is set up: its size is of use.
    terminal_ready: bool,
}

/// What a message changes beside the dialogue.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    None,
    /// The guest opened or closed a port.
    Open(usize, bool),
}

impl Dialogue {
    /// Whether another message may be heard.
    pub(super) fn has_room(&self) -> bool {
        self.outbox.len() < OUTBOX
    }

    /// The next message for the driver.
    pub(super) fn next(&self) -> Option<&[u8]> {
        self.outbox.front().map(Vec::as_slice)
    }

    /// The driver has the next message.
    pub(super) fn sent(&mut self) {
        self.outbox.pop_front();
    }

    /// Hears a message of the driver. `names` are those of all ports.
    pub(super) fn hear(&mut self, message: [u8; MESSAGE_LEN], names: &[&str], size: TerminalSize) -> Effect {
        let [p0, p1, p2, p3, e0, e1, v0, v1] = message;
        let (port, value) = (u32::from_le_bytes([p0, p1, p2, p3]), u16::from_le_bytes([v0, v1]));
        let index = usize::try_from(port).unwrap_or(usize::MAX);
        match (u16::from_le_bytes([e0, e1]), names.get(index)) {
            (DEVICE_READY, _) if value == 1 => {
                self.terminal_ready = false;
                for (port, _) in (0..).zip(names) {
                    self.say(port, PORT_ADD, 0, &[]);
                }
            }
            (PORT_READY, Some(name)) if value == 1 => self.introduce(port, name, size),
            (PORT_OPEN, Some(_)) => return Effect::Open(index, value != 0),
            // What a driver says that nobody listens to, or about ports that are not there, is no harm.
            _ => {}
        }
        Effect::None
    }

    /// Says what a port is that the driver just set up.
    fn introduce(&mut self, port: u32, name: &str, size: TerminalSize) {
        if port == 0 {
            self.say(port, CONSOLE_PORT, 1, &[]);
            self.terminal_ready = true;
            self.resize(size);
        } else {
            self.say(port, PORT_NAME, 1, name.as_bytes());
        }
        self.say(port, PORT_OPEN, 1, &[]);
    }

    /// The terminal has another size.
    pub(super) fn resize(&mut self, size: TerminalSize) {
        if self.terminal_ready && size != TerminalSize::default() && self.has_room() {
            let payload = [size.columns.to_le_bytes(), size.rows.to_le_bytes()].concat();
            self.say(0, RESIZE, 0, &payload);
        }
    }

    fn say(&mut self, port: u32, event: u16, value: u16, payload: &[u8]) {
        let message = [&port.to_le_bytes()[..], &event.to_le_bytes(), &value.to_le_bytes(), payload];
        self.outbox.push_back(message.concat());
    }
}
