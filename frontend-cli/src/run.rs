//! `hv run`: a guest from its first instruction to its exit code.

mod assembly;
mod keyboard;
mod remote;
mod tee;

use std::{
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use hv_control::{ConsoleTap, State};
use hv_core::{
    chardev::{ConsoleMerge, Output, TerminalSize},
    hypervisor::{Hypervisor, Vm},
    io::{Bell, EventLoop},
    machine::{Event, Machine, board::Board},
    virtio::console::ConsoleHandle,
};

use crate::{
    args::{OnReboot, RunArguments},
    backend, background,
    config::{self, Files},
    exit_code::{Code, ExitCode},
    guests::{self, Registration},
    message,
    signals::{self, Signal},
    terminal::{self, RawTerminal},
};

/// What the person or process in front of `hv` wants.
#[derive(Debug)]
enum Order {
    /// Press the power button, or end the guest if that was done before; the signal that asked.
    Stop(i32),
    /// End the guest at once.
    Leave,
    /// The terminal may have another size.
    Resize,
    /// What another process asks.
    Remote(remote::Request),
}

impl Order {
    /// Whoever gives it does not wait for the guest any more.
    fn is_last(&self) -> bool {
        match self {
            Self::Stop(_) | Self::Leave => true,
            Self::Remote(request) => request.order == hv_control::Order::End,
            Self::Resize => false,
        }
    }
}

/// Sources of the event loop.
const MACHINE: u8 = 0;
const ORDERS: u8 = 1;

/// How long the last words of a guest that is ended by force may take to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Runs a guest until it ends.
pub(crate) fn run(arguments: &RunArguments) -> anyhow::Result<Code> {
    if arguments.guest.in_background {
        background::enter()?;
    } else if arguments.guest.detach {
        return background::start();
    }
    let mut guest = guests::register(arguments)?;
    let ended = prepare(arguments, guest.as_mut());
    if let Some(guest) = guest {
        guest.end(ended.as_ref().map_or(ExitCode::Failed.into(), |code| *code).0);
    }
    ended
}

fn prepare(arguments: &RunArguments, guest: Option<&mut Registration>) -> anyhow::Result<Code> {
    let files = Files::open(arguments)?;
    config::check_memory(arguments.memory)?;
    backend::choose(arguments.accel)?.run(arguments, files, guest)
}

/// Runs a guest on the hypervisor `H` until it ends.
pub(crate) fn on<H: Hypervisor<Vm: Vm<Arch: Board>>>(
    arguments: &RunArguments,
    files: Files,
    mut guest: Option<&mut Registration>,
) -> anyhow::Result<Code> {
    let event_loop = EventLoop::new().context("out of file descriptors; raise `ulimit -n`")?;
    let log = guest.as_ref().map_or(Ok(None), |guest| guest.open_log())?;
    let messages = log.as_ref().and_then(|log| log.file().try_clone().ok());
    let listeners = tee::Listeners { tap: ConsoleTap::new(), log };
    let tap = listeners.tap.clone();
    let parts = assembly::assemble(&H::open()?, arguments, files, event_loop.bell(MACHINE), listeners)?;
    let (send, orders) = mpsc::channel();
    let ring = Ring { send, bell: event_loop.bell(ORDERS) };
    let remote = remote::Remote::new(&parts, ring.clone(), tap, guest.as_ref().map(|guest| guest.record()));
    if let Some(guest) = guest.as_mut() {
        guests::serve(arguments, guest, remote.clone())?;
    }
    let awaited = guest
        .filter(|_| arguments.guest.in_background)
        .map(|guest| background::Awaited { name: guest.name().to_owned(), log: messages });
    let deadline = arguments.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    Session { arguments, parts, event_loop, orders, remote, awaited, deadline, asked: false }.run(&ring)
}

/// Passes orders to the session, from any thread.
#[derive(Debug, Clone)]
struct Ring {
    send: Sender<Order>,
    bell: Bell,
}

impl Ring {
    fn order(&self, order: Order) {
        // A session that has ended needs no orders.
        let _ = self.send.send(order);
        self.bell.ring();
    }
}

/// A machine with all that is tied to it.
struct Parts<V: Vm<Arch: Board>> {
    machine: Machine<V>,
    /// The screen that both consoles share.
    screen: ConsoleMerge,
    output: Output,
    console: ConsoleHandle,
    consoles: keyboard::Consoles,
    keyboard: Option<keyboard::Keyboard>,
    /// The name of the console's pseudo-terminal.
    pty: Option<std::path::PathBuf>,
}

struct Session<'a, V: Vm<Arch: Board>> {
    arguments: &'a RunArguments,
    parts: Parts<V>,
    event_loop: EventLoop,
    orders: Receiver<Order>,
    remote: Arc<remote::Remote>,
    /// Somebody waits for the guest to run.
    awaited: Option<background::Awaited>,
    /// When `--timeout` is over.
    deadline: Option<Instant>,
    /// The power button was pressed.
    asked: bool,
}

impl<V: Vm<Arch: Board>> Session<'_, V> {
    fn run(mut self, ring: &Ring) -> anyhow::Result<Code> {
        if let Some(name) = &self.parts.pty {
            message::line(&format!("the console is at {}", name.display()));
        }
        let raw = self.parts.keyboard.as_ref().is_some_and(|keyboard| keyboard.is_terminal);
        let _terminal =
            if raw { RawTerminal::enter().context("the terminal refuses raw mode")? } else { None };
        self.watch(ring)?;
        self.resize();

        self.parts.machine.start()?;
        self.remote.set_state(State::Running);
        let ended = self.tell_that_it_runs().and_then(|()| self.serve());
        self.remote.set_state(State::Ended);
        match ended {
            Ok(_) => self.finish(),
            Err(_) => self.end(),
        }
        tracing::info!("exits: {}", self.parts.machine.exit_counts());
        ended
    }

    /// Lets whoever started this process in the background go on.
    fn tell_that_it_runs(&mut self) -> anyhow::Result<()> {
        self.awaited.take().map_or(Ok(()), background::Awaited::tell)
    }

    /// Serves events and orders until the guest has ended; the exit code.
    fn serve(&mut self) -> anyhow::Result<Code> {
        loop {
            let left = self.time_left();
            if left == Some(Duration::ZERO) {
                return Ok(self.time_out());
            }
            self.event_loop.turn(left).context("cannot wait for the guest")?;
            if let Some(code) = self.turn()? {
                return Ok(code);
            }
        }
    }

    fn time_left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Starts to listen to signals and keys.
    fn watch(&mut self, ring: &Ring) -> anyhow::Result<()> {
        let (orders, output, mut asked) = (ring.clone(), self.parts.output.clone(), false);
        signals::watch(move |signal| match signal {
            Signal::Stop(number) => {
                // The second one must be heard even if the guest waits for somebody to read its output.
                if std::mem::replace(&mut asked, true) {
                    output.close();
                }
                orders.order(Order::Stop(number));
            }
            Signal::Resize => orders.order(Order::Resize),
        })
        .context("cannot listen to signals")?;
        if let Some(keyboard) = self.parts.keyboard.take() {
            keyboard.start(ring.clone(), self.parts.output.clone()).context("cannot start a thread")?;
        }
        Ok(())
    }

    /// Serves what happened; the exit code if that is the end.
    fn turn(&mut self) -> anyhow::Result<Option<Code>> {
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Resize => self.resize(),
                Order::Remote(request) => {
                    if let Some(code) = self.obey(&request) {
                        return Ok(Some(code));
                    }
                }
                Order::Leave => {
                    self.end();
                    return Ok(Some(Code::SUCCESS));
                }
                Order::Stop(_) if !self.asked => {
                    self.asked = true;
                    if !self.parts.machine.press_power_button() {
                        message::line("the guest does not listen to its power button yet; once more ends it");
                    }
                }
                Order::Stop(signal) => {
                    self.end();
                    return Ok(Some(Code(u8::try_from(128 + signal).unwrap_or(u8::MAX))));
                }
            }
        }
        while let Some(event) = self.parts.machine.take_event() {
            match event {
                Event::Reset if self.arguments.on_reboot == OnReboot::Restart => {
                    self.parts.screen.reset();
                    self.parts.machine.reset()?;
                }
                Event::Reset | Event::PowerOff => return Ok(Some(Code::SUCCESS)),
                Event::Crash(why) => {
                    // First what the guest said.
                    self.finish();
                    message::line(&format!("the guest crashed: {why}"));
                    return Ok(Some(ExitCode::GuestCrashed.into()));
                }
            }
        }
        Ok(None)
    }

    fn resize(&self) {
        if let Some((columns, rows)) = terminal::size() {
            self.parts.console.resize(TerminalSize { columns, rows });
        }
    }

    fn time_out(&mut self) -> Code {
        self.end();
        let timeout = self.arguments.timeout.unwrap_or_default();
        message::line(&format!("the guest did not end within {timeout:?} (--timeout) and was stopped"));
        ExitCode::TimedOut.into()
    }

    /// Ends a guest that may be running, or waiting for a reader of its output.
    fn end(&mut self) {
        self.parts.output.finish(LAST_WORDS);
        self.parts.output.close();
        self.finish();
    }

    /// Ends a guest that has ended itself, or whose output is closed, and shows what it said last.
    fn finish(&mut self) {
        // A core may be waiting for room in the output, and the machine would wait for the core.
        self.show();
        self.parts.machine.stop();
        self.show();
    }

    /// Waits until the reader has all that the guest said, or nobody wants to wait for it any more.
    fn show(&self) {
        loop {
            // What has no room now is shown as soon as the reader makes some.
            let taken = self.parts.screen.flush().is_ok();
            if self.parts.output.finish(LAST_WORDS) && taken {
                return;
            }
            let told = self.orders.try_iter().any(|order| order.is_last());
            if told || self.time_left() == Some(Duration::ZERO) {
                message::line("nobody reads what the guest said last; the rest of it is dropped");
                self.parts.output.close();
            }
        }
    }
}
