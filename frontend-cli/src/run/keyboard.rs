//! `Keyboard`: carries what is typed to the console that the guest listens on.

use std::{io, os::fd::OwnedFd, thread, time::Duration};

use hv_core::{
    chardev::{ConsoleMerge, Input, Output, Port},
    devices::uart::UartInput,
};

use super::{Order, Ring};
use crate::{
    escape::{HELP, Key},
    input::{self, GuestInput},
    message, threads,
};

/// What is typed, and the two consoles it may be for.
pub(super) struct Keyboard {
    pub(super) source: OwnedFd,
    /// A person types: keys may be for `hv`, and none is a signal.
    pub(super) is_terminal: bool,
    pub(super) guest: Consoles,
}

/// The input of both consoles as one.
#[derive(Clone)]
pub(super) struct Consoles {
    pub(super) serial: UartInput,
    pub(super) console: Input,
    /// The console that the guest was told to use.
    pub(super) known: Option<Port>,
    pub(super) screen: ConsoleMerge,
}

impl Keyboard {
    /// Carries until the source ends, on a thread of its own that ends with the process.
    pub(super) fn start(self, ring: Ring, output: Output) -> io::Result<()> {
        let carry = move || {
            let ended = if self.is_terminal {
                input::carry_keys(&self.source, &self.guest, |key| match key {
                    Key::Leave => {
                        output.close();
                        ring.order(Order::Leave);
                    }
                    Key::Help => message::line(HELP),
                    Key::Guest(_) | Key::Nothing => {}
                })
            } else {
                input::carry(&self.source, &self.guest)
            };
            if let Err(error) = ended {
                message::line(&format!("the console's input ended: {error}"));
            }
        };
        threads::spawn("keyboard", carry).map(drop)
    }
}

impl Consoles {
    /// Where the guest listens: the console it was told to use, else where it last wrote something of its own.
    fn port(&self) -> Option<Port> {
        self.known.or_else(|| self.screen.active_port())
    }
}

impl GuestInput for Consoles {
    fn send(&self, bytes: &[u8]) -> usize {
        match self.port() {
            Some(Port::Virtio) => self.console.offer(bytes),
            Some(Port::Uart) => self.serial.send(bytes),
            None => 0,
        }
    }

    fn wait_for_room(&self, timeout: Duration) {
        match self.port() {
            Some(Port::Virtio) => drop(self.console.wait_for_room(timeout)),
            Some(Port::Uart) => drop(self.serial.wait_for_room(timeout)),
            None => thread::sleep(timeout),
        }
    }
}
