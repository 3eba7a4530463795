//! `hv run`: a guest from its first instruction to its exit code.

mod assembly;
mod command;
mod keyboard;
mod last_words;
mod remote;
mod tee;

use std::{
    fs::File,
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
use rustix::process::{Resource, Rlimit, Signal as ProcessSignal, getrlimit, setrlimit};

use crate::{
    args::{OnReboot, RunArguments, Sandbox},
    attended::{self, Front},
    backend, background,
    config::{self, Files},
    exit_code::{Code, ExitCode},
    guests::{self, Registration},
    image, message, network, sandbox,
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
    /// What is heard of the command of a guest from an image.
    Command(command::News),
}

impl Order {
    /// Whoever gives it does not wait for the guest any more.
    fn is_last(&self) -> bool {
        match self {
            Self::Stop(_) | Self::Leave => true,
            Self::Remote(request) => request.order == hv_control::Order::End,
            Self::Resize | Self::Command(_) => false,
        }
    }
}

/// Sources of the event loop.
const MACHINE: u8 = 0;
const ORDERS: u8 = 1;

/// Descriptors that a process may have: more than a guest's sockets take.
const DESCRIPTORS: u64 = 8192;

/// How long the last words of a guest that is ended by force may take to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Runs a guest until it ends.
pub(crate) fn run(arguments: &RunArguments) -> anyhow::Result<Code> {
    if arguments.sandbox != Sandbox::Off {
        hv_sandbox::ready();
    }
    if arguments.guest.in_background {
        background::enter()?;
    } else if arguments.guest.detach {
        return background::start();
    } else if arguments.guest.attended.is_none() && arguments.can_be_left() {
        return attended::start();
    }
    let mut guest = guests::register(arguments)?;
    let ended = prepare(arguments, guest.as_mut());
    if let Some(guest) = guest {
        guest.end(ended.as_ref().map_or(ExitCode::Failed.into(), |code| *code).0);
    }
    ended
}

fn prepare(arguments: &RunArguments, guest: Option<&mut Registration>) -> anyhow::Result<Code> {
    raise_descriptor_limit();
    let network = network::open(arguments, guest.as_deref())?;
    let Some(image) = &arguments.image else {
        let files = Files::open(arguments, network)?;
        config::check_memory(arguments.memory)?;
        return backend::choose(arguments.accel)?.run(arguments, files, guest);
    };
    config::check_memory(arguments.memory)?;
    let choice = backend::choose(arguments.accel)?;
    let files = image::open(arguments, image, choice.architecture(), guest.as_deref(), network)?;
    choice.run(arguments, files, guest)
}

/// Each socket of a guest takes descriptors, and hosts let a process raise its limit itself.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(DESCRIPTORS, |most| most.min(DESCRIPTORS));
    if limit.current.is_some_and(|current| current < wanted) {
        // Without it the guest has fewer sockets.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
    }
}

/// Runs a guest on the hypervisor `H` until it ends.
pub(crate) fn on<H: Hypervisor<Vm: Vm<Arch: Board>>>(
    arguments: &RunArguments,
    files: Files,
    mut guest: Option<&mut Registration>,
    runs_on: hv_sandbox::Hypervisor,
) -> anyhow::Result<Code> {
    let event_loop = EventLoop::new().context("out of file descriptors; raise `ulimit -n`")?;
    let log = guest.as_ref().map_or(Ok(None), |guest| guest.open_log())?;
    let messages = log.as_ref().and_then(|log| log.file().try_clone().ok());
    let front = arguments.guest.attended.as_deref().map(Front::connect).transpose()?;
    let listeners = tee::Listeners { tap: ConsoleTap::new(), log };
    let tap = listeners.tap.clone();
    let hypervisor = H::open()?;
    let mut vsock = None;
    if let Some(guest) = guest.as_mut() {
        guests::listen(arguments, guest)?;
        vsock = files.image.as_ref().map(|_| guest.vsock_listener()).transpose()?;
    }
    let places = sandbox::places(guest.as_deref(), files.network.as_ref());
    let opened = assembly::open::<H>(arguments, files)?;
    // All is open, and this thread is the only one.
    let threads = sandbox::close(arguments, runs_on, places)?;
    let parts =
        assembly::assemble(&hypervisor, arguments, opened, event_loop.bell(MACHINE), listeners, threads)?;
    let (send, orders) = mpsc::channel();
    let ring = Ring { send, bell: event_loop.bell(ORDERS) };
    let remote =
        remote::Remote::new(&parts, ring.clone(), tap.clone(), guest.as_ref().map(|guest| guest.record()));
    if let Some(guest) = guest.as_mut() {
        guests::serve(arguments, guest, remote.clone())?;
        if let Some(command) = &parts.command {
            guest.set_process(&command.start)?;
            vsock.map_or(Ok(()), |listener| command.serve_sockets(listener))?;
        }
    }
    let (awaited, log) = match guest.filter(|_| arguments.guest.in_background) {
        Some(guest) => (Some(background::Awaited { name: guest.name().to_owned(), log: messages }), None),
        None => (None, messages),
    };
    let deadline = arguments.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let session = Session {
        arguments,
        parts,
        event_loop,
        orders,
        remote,
        tap,
        awaited,
        command: None,
        terminal: None,
        front,
        log,
        deadline,
        asked: false,
    };
    session.run(&ring)
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
    /// What passes through the network card.
    network: Option<network::Counters>,
    /// What a guest from an image is there for.
    command: Option<command::Command>,
}

struct Session<'a, V: Vm<Arch: Board>> {
    arguments: &'a RunArguments,
    parts: Parts<V>,
    event_loop: EventLoop,
    orders: Receiver<Order>,
    remote: Arc<remote::Remote>,
    /// What the guest shows.
    tap: ConsoleTap,
    /// The command of a guest from an image.
    command: Option<command::Running>,
    /// Somebody waits for the guest to run.
    awaited: Option<background::Awaited>,
    /// The terminal, while it is the guest's.
    terminal: Option<RawTerminal>,
    /// The process that waits in front of this one.
    front: Option<Front>,
    /// The guest's log, for messages when nobody is at the terminal any more.
    log: Option<File>,
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
        let is_images = self.parts.command.is_some();
        if let Some(command) = self.parts.command.take() {
            let surroundings = command::Surroundings {
                in_background: self.arguments.guest.in_background,
                is_logged: self.log.is_some(),
                keys: &self.arguments.process.detach_keys,
                can_be_left: self.front.is_some(),
            };
            self.command = Some(command.begin(ring.clone(), surroundings, &self.parts.output)?);
        }
        let process = &self.arguments.process;
        let raw = self.parts.keyboard.as_ref().is_some_and(|keyboard| keyboard.is_terminal)
            || is_images && process.tty && process.interactive;
        if raw {
            self.terminal = RawTerminal::enter().context("the terminal refuses raw mode")?;
        }
        self.watch(ring)?;
        self.resize();

        self.parts.machine.start()?;
        tracing::info!("the guest runs");
        let up = if is_images { Ok(()) } else { self.tell_that_it_runs() };
        #[cfg(target_os = "linux")]
        crate::own_pages::give_back();
        let ended = up.and_then(|()| self.serve());
        self.remote.set_state(State::Ended);
        match ended {
            Ok(_) => self.finish(),
            Err(_) => self.end(),
        }
        tracing::info!("exits: {}", self.parts.machine.exit_counts());
        ended
    }

    /// Leaves the terminal to whoever started this process: the guest goes on in the background.
    fn leave_terminal(&mut self) -> anyhow::Result<()> {
        let Some(front) = self.front.take() else { return Ok(()) };
        self.terminal = None;
        let name = self.arguments.guest.name.as_deref().unwrap_or_default();
        message::line(&format!(
            "guest {name} goes on; `hv logs`, `hv exec` and `hv stop` find it by its name"
        ));
        background::enter()?;
        background::let_go(self.log.as_ref())?;
        front.let_go();
        Ok(())
    }

    /// Lets whoever started this process in the background go on.
    fn tell_that_it_runs(&mut self) -> anyhow::Result<()> {
        self.remote.set_state(State::Running);
        self.awaited.take().map_or(Ok(()), background::Awaited::tell)
    }

    /// Serves events and orders until the guest has ended; the exit code.
    fn serve(&mut self) -> anyhow::Result<Code> {
        loop {
            let left = self.time_left();
            if left == Some(Duration::ZERO) {
                return self.time_out();
            }
            self.event_loop.turn(left).context("cannot wait for the guest")?;
            if let Some(code) = self.turn()? {
                return Ok(code);
            }
        }
    }

    fn time_left(&self) -> Option<Duration> {
        let own = self.command.as_ref().and_then(command::Running::deadline);
        let deadline = self.deadline.into_iter().chain(own).min();
        deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
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
        if let Some(front) = &self.front {
            let orders = ring.clone();
            front.watch(move || orders.order(Order::Stop(ProcessSignal::HUP.as_raw())))?;
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
                Order::Command(news) => {
                    if let Some(code) = self.hear(news)? {
                        return Ok(Some(code));
                    }
                }
                Order::Stop(signal) if !self.asked && self.pass_on(signal) => self.asked = true,
                Order::Stop(signal) => {
                    self.end();
                    return Ok(Some(Code(u8::try_from(128 + signal).unwrap_or(u8::MAX))));
                }
            }
        }
        while let Some(event) = self.parts.machine.take_event() {
            let is_reset = matches!(event, Event::Reset);
            match event {
                Event::Reset if self.command.is_none() && self.ends_at_panic() && self.has_panicked() => {
                    return Ok(Some(self.crash("its kernel panicked")));
                }
                Event::Reset if self.command.is_none() && self.arguments.on_reboot == OnReboot::Restart => {
                    self.parts.screen.reset();
                    self.parts.machine.reset()?;
                }
                Event::Reset | Event::PowerOff => {
                    let code = match &mut self.command {
                        Some(command) => command.code_at_end(is_reset)?,
                        None => Some(Code::SUCCESS),
                    };
                    return Ok(Some(code.unwrap_or_else(|| self.crash("its kernel panicked"))));
                }
                Event::Crash(why) => return Ok(Some(self.crash(&why.to_string()))),
            }
        }
        Ok(None)
    }

    /// Passes a signal on to the guest: its command, or its power button. False if that is of no use.
    fn pass_on(&mut self, signal: i32) -> bool {
        match &self.command {
            Some(command) => command.signal(signal),
            None => {
                if !self.parts.machine.press_power_button() {
                    message::line("the guest does not listen to its power button yet; once more ends it");
                }
                true
            }
        }
    }

    /// Takes in what is heard of the command; the exit code if that is the end.
    fn hear(&mut self, news: command::News) -> anyhow::Result<Option<Code>> {
        let Some(command) = &mut self.command else { return Ok(None) };
        match command.hear(news) {
            command::Then::GoOn => Ok(None),
            command::Then::TellThatItRuns => self.tell_that_it_runs().map(|()| None),
            command::Then::LeaveTerminal => self.leave_terminal().map(|()| None),
            command::Then::End(code) => {
                self.end();
                Ok(Some(code))
            }
        }
    }

    /// Whether a kernel's panic is the end: not where the user has a restart follow it.
    fn ends_at_panic(&self) -> bool {
        let append = self.arguments.append.as_deref().unwrap_or_default();
        self.arguments.on_reboot == OnReboot::Exit || !last_words::chooses_panic(append)
    }

    /// Whether the reset that the machine has just told of is the end of a panic: no device tells of that, but the console does.
    fn has_panicked(&self) -> bool {
        // A reader who is slow is not waited for: the guest may have been reset by somebody's wish.
        let _ = self.parts.screen.flush();
        let _ = self.parts.output.finish(LAST_WORDS);
        last_words::tell_of_panic(&self.tap.history())
    }

    /// Tells of a crash, after what the guest said.
    fn crash(&mut self, why: &str) -> Code {
        self.finish();
        message::line(&format!("the guest crashed: {why}"));
        if self.command.is_some() {
            // Nobody saw its console.
            let lines = last_words::excerpt(&self.tap.history());
            lines.iter().for_each(|line| message::line(&format!("  {line}")));
        }
        ExitCode::GuestCrashed.into()
    }

    fn resize(&self) {
        if let Some((columns, rows)) = terminal::size() {
            match &self.command {
                Some(command) if command.has_terminal => command.resize(columns, rows),
                Some(_) => {}
                None => self.parts.console.resize(TerminalSize { columns, rows }),
            }
        }
    }

    /// A time is over: that of `--timeout`, or one of the command's.
    fn time_out(&mut self) -> anyhow::Result<Code> {
        self.end();
        if self.deadline.is_none_or(|deadline| Instant::now() < deadline)
            && let Some(command) = &mut self.command
        {
            return command.give_up();
        }
        let timeout = self.arguments.timeout.unwrap_or_default();
        message::line(&format!("the guest did not end within {timeout:?} (--timeout) and was stopped"));
        Ok(ExitCode::TimedOut.into())
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
