//! `hv console`: this terminal becomes that of a running guest.

use std::{
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    time::Duration,
};

use anyhow::Context;
use hv_control::Request;
use rustix::{stdio::stdin, termios::isatty};

use crate::{
    escape::{HELP, Key},
    exit_code::Code,
    guests::Guest,
    input::{self, GuestInput},
    message,
    signals::{self, Signal},
    terminal::{self, RawTerminal},
    threads,
};

/// Joins this terminal to the guest's console until somebody leaves.
pub(super) fn console(guest: &Guest) -> anyhow::Result<Code> {
    let console = guest.control()?.console().with_context(|| format!("guest {}", guest.name))?;
    let _terminal = RawTerminal::enter().context("the terminal refuses raw mode")?;
    resize(guest);
    let (watched, stream) = (guest.clone(), console.stream.try_clone()?);
    signals::watch(move |signal| match signal {
        Signal::Resize => resize(&watched),
        // The guest's process is not this one: leaving is all that there is to do.
        Signal::Stop(_) => leave(&stream),
    })
    .context("cannot listen to signals")?;
    carry(Typed(console.stream.try_clone()?)).context("cannot start a thread")?;

    super::show(&console.shown);
    let (mut stream, mut buffer) = (console.stream, [0; 8192]);
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        if !super::show(&buffer[..count]) {
            break;
        }
    }
    Ok(Code::SUCCESS)
}

/// Tells the guest how large this terminal is.
fn resize(guest: &Guest) {
    if let Some((columns, rows)) = terminal::size() {
        // A size that does not get there does no harm.
        let _ = guest.control().map(|mut client| client.request(&Request::Resize { columns, rows }));
    }
}

/// Carries what is typed on a thread that ends with the process.
fn carry(guest: Typed) -> std::io::Result<()> {
    let carry = move || {
        let ended = if isatty(stdin()) {
            input::carry_keys(stdin(), &guest, |key| match key {
                Key::Leave => leave(&guest.0),
                Key::Help => message::line(HELP),
                Key::Guest(_) | Key::Nothing => {}
            })
        } else {
            input::carry(stdin(), &guest)
        };
        if let Err(error) = ended {
            message::line(&format!("the console's input ended: {error}"));
        }
    };
    threads::spawn("keyboard", carry).map(drop)
}

fn leave(stream: &UnixStream) {
    // One that is closed already has been left.
    let _ = stream.shutdown(Shutdown::Both);
}

/// What is typed, for a guest at the other end of a socket.
struct Typed(UnixStream);

impl GuestInput for Typed {
    /// Bytes for a guest that has gone are dropped.
    fn send(&self, bytes: &[u8]) -> usize {
        (&self.0).write(bytes).unwrap_or(bytes.len())
    }

    fn wait_for_room(&self, _: Duration) {}
}
