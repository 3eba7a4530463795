//! `Command`: the command of a guest from an image, from the agent's first word to the exit code.

use std::{
    io::{self, PipeReader},
    os::unix::net::{UnixListener, UnixStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::Context;
use hv_agent_protocol::{PORT, Size, Start};
use hv_core::{
    chardev::{Output, WaitingSink},
    virtio::vsock::VsockHandle,
};
use rustix::termios::isatty;

use super::{Order, Ring};
use crate::{
    agent::{
        control::{self, Control, ControlHandle},
        session::{self, Ended, Leaving, Session, Stdio},
    },
    detach_keys::DetachKeys,
    exit_code::Code,
    threads,
};

/// So long may the agent take from its first word to being ready: it loads modules and mounts disks.
const BRING_UP: Duration = Duration::from_secs(120);
/// So long may what a command left running take to end when the guest powers off after it.
const GRACE_AFTER: Duration = Duration::from_secs(1);
/// So long may processes take to end when the guest is asked to power off.
const GRACE: Duration = Duration::from_secs(10);
/// So long may a guest take to power off when its command has ended.
const POWER_OFF: Duration = Duration::from_secs(20);
/// So long may the machine take to tell why its agent is gone.
const EXPLANATION: Duration = Duration::from_secs(3);

/// A command that is to run in a guest.
pub(super) struct Command {
    pub(super) start: Start,
    /// The signal that asks it to end, if it is another than that of powering off.
    pub(super) stop_signal: Option<u8>,
    pub(super) sockets: VsockHandle,
    /// What it writes must outlive the guest.
    pub(super) writes: bool,
}

/// What is heard of it.
#[derive(Debug)]
pub(super) enum News {
    /// The guest is up, and the command starts.
    Ready,
    /// The guest resets or powers off because it was told to.
    Ending,
    /// The command has ended, or its guest did before it.
    Ended(anyhow::Result<Ended>),
    /// The guest did not come up.
    Failed(anyhow::Error),
    /// Whoever was at its terminal has left it to itself.
    Left,
}

/// Where the command's input comes from and its output goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surroundings<'a> {
    /// This process has no standard input and output.
    pub(super) in_background: bool,
    /// What the command says is kept with what the guest shows.
    pub(super) is_logged: bool,
    /// Keys that leave the command to itself.
    pub(super) keys: &'a DetachKeys,
    /// The guest goes on when they are pressed.
    pub(super) can_be_left: bool,
}

/// The command as the session knows it.
pub(super) struct Running {
    speakers: Arc<Speakers>,
    writes: bool,
    stop_signal: Option<u8>,
    pub(super) has_terminal: bool,
    is_up: bool,
    announced: bool,
    code: Option<Code>,
    failure: Option<anyhow::Error>,
    deadline: Option<Instant>,
}

/// Those that speak to the guest.
#[derive(Debug, Default)]
struct Speakers {
    control: Mutex<Option<ControlHandle>>,
    command: Mutex<Option<session::Handle>>,
}

/// What is to be done at some news.
#[derive(Debug)]
pub(super) enum Then {
    /// Nothing.
    GoOn,
    /// Whoever waits for the guest to run is told.
    TellThatItRuns,
    /// The terminal is let go of.
    LeaveTerminal,
    /// The guest is ended, with this exit code.
    End(Code),
}

impl Command {
    /// Lets other processes connect to the guest's sockets by `listener`.
    ///
    /// # Errors
    /// The host is out of descriptors.
    pub(super) fn serve_sockets(&self, listener: UnixListener) -> anyhow::Result<()> {
        self.sockets.serve(listener).context("the guest's vsock socket cannot be served")
    }

    /// Waits for the agent from now on, and has it run the command. What it says goes to `output`, too, where that is
    /// kept, and there alone in the background.
    ///
    /// # Errors
    /// The host is out of threads or descriptors.
    pub(super) fn begin(
        self,
        ring: Ring,
        surroundings: Surroundings<'_>,
        output: &Output,
    ) -> anyhow::Result<Running> {
        let Self { start, stop_signal, sockets, writes } = self;
        let Surroundings { in_background, is_logged, keys, can_be_left } = surroundings;
        let mut stdio = if in_background { Stdio::none() } else { Stdio::own() };
        let is_terminal = start.terminal.is_some() && start.stdin && stdio.stdin.as_ref().is_some_and(isatty);
        let copier = if in_background || is_logged { Some(copy_to(output, &mut stdio)?) } else { None };
        let keys = is_terminal.then(|| (keys.clone(), can_be_left));
        let speakers = Arc::<Speakers>::default();
        let running = Running {
            speakers: Arc::clone(&speakers),
            writes,
            stop_signal,
            has_terminal: start.terminal.is_some(),
            is_up: false,
            announced: false,
            code: None,
            failure: None,
            deadline: None,
        };
        let (send, streams) = mpsc::channel();
        let taken = AtomicBool::new(false);
        let greet = move |stream| {
            // The agent is the guest's first process, so it comes first; others are refused.
            if !taken.swap(true, Ordering::Relaxed) {
                let _ = send.send(stream);
            }
        };
        sockets.listen(PORT, Box::new(greet));
        let host = Host { ring, sockets, speakers };
        let attend = move || {
            let Ok(stream) = streams.recv() else { return };
            if let Err(error) = host.attend(stream, &start, stdio, copier, keys) {
                host.ring.order(Order::Command(News::Failed(error)));
            }
        };
        threads::spawn("agent", attend).context("cannot start a thread")?;
        Ok(running)
    }
}

/// Lets both outputs go to `output` as well: through a pipe, so that the session waits for it as for any other.
fn copy_to(output: &Output, stdio: &mut Stdio) -> anyhow::Result<JoinHandle<()>> {
    let pipe = || -> io::Result<_> {
        let (reader, writer) = io::pipe()?;
        let output = output.clone();
        let copier = threads::spawn("command output", move || copy(reader, output))?;
        Ok((writer, copier))
    };
    let (writer, copier) = pipe().context("out of threads or file descriptors; raise `ulimit -n`")?;
    stdio.copy = Some(writer.into());
    Ok(copier)
}

fn copy(mut reader: PipeReader, output: Output) {
    // The sink waits for room and drops what comes after the end: neither side fails.
    let _ = io::copy(&mut reader, &mut WaitingSink::new(output));
}

/// The host's side, on a thread of its own.
struct Host {
    ring: Ring,
    sockets: VsockHandle,
    speakers: Arc<Speakers>,
}

impl Host {
    /// Listens to the agent until the guest is gone.
    fn attend(
        &self,
        stream: UnixStream,
        start: &Start,
        stdio: Stdio,
        copier: Option<JoinHandle<()>>,
        keys: Option<(DetachKeys, bool)>,
    ) -> anyhow::Result<()> {
        let mut control = Control::accept(stream, BRING_UP)?;
        tracing::debug!("the agent runs on Linux {}", control.release());
        *locked(&self.speakers.control) = Some(control.handle());
        control.wait_until_ready(BRING_UP)?;
        self.ring.order(Order::Command(News::Ready));
        let connection = self.sockets.connect(PORT).context("the guest's agent cannot be reached")?;
        let (mut session, handle) = Session::new(connection, start, stdio)?;
        if let Some((keys, can_be_left)) = keys {
            session.watch(&keys, self.leaving(can_be_left));
        }
        *locked(&self.speakers.command) = Some(handle);
        let ring = self.ring.clone();
        let run = move || {
            let ended = session.run();
            // Its end of the pipe is closed by now.
            if let Some(copier) = copier {
                let _ = copier.join();
            }
            ring.order(Order::Command(News::Ended(ended)));
        };
        threads::spawn("command", run).context("cannot start a thread")?;
        let mut announced = false;
        while let Some(news) = control.next(None)? {
            let ends = matches!(news, control::News::PoweringOff | control::News::Rebooting);
            // Said once it is known: an agent that goes on saying it must not keep the session busy.
            if ends && !std::mem::replace(&mut announced, true) {
                self.ring.order(Order::Command(News::Ending));
            }
        }
        Ok(())
    }

    /// What the detach keys do.
    fn leaving(&self, can_be_left: bool) -> Leaving {
        if !can_be_left {
            return Leaving::Refused("a guest without a --name cannot be left; it goes on here");
        }
        let ring = self.ring.clone();
        Leaving::Stdio(Box::new(move || ring.order(Order::Command(News::Left))))
    }
}

impl Running {
    /// Takes some news in.
    pub(super) fn hear(&mut self, news: News) -> Then {
        match news {
            News::Ready => {
                self.is_up = true;
                return Then::TellThatItRuns;
            }
            News::Ending => self.announced = true,
            News::Left => return Then::LeaveTerminal,
            News::Ended(Ok(ended)) => {
                let code = crate::agent::code(ended);
                self.code = Some(code);
                if !self.writes || !self.power_off(GRACE_AFTER) {
                    return Then::End(code);
                }
                self.deadline = Some(Instant::now() + POWER_OFF);
            }
            News::Failed(error) => {
                self.is_up = false;
                self.fail(error);
            }
            News::Ended(Err(error)) => self.fail(error),
        }
        Then::GoOn
    }

    fn fail(&mut self, error: anyhow::Error) {
        if self.code.is_none() && self.failure.is_none() {
            // Most often the machine has just reset or crashed, and says so.
            self.failure = Some(error);
            self.deadline = Some(Instant::now() + EXPLANATION);
        }
    }

    /// When the guest is ended if nothing happens before.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// What the run comes to where the deadline has passed: a code, if the command has ended.
    ///
    /// # Errors
    /// The agent failed.
    pub(super) fn give_up(&mut self) -> anyhow::Result<Code> {
        self.deadline = None;
        match (self.code, self.failure.take()) {
            (Some(code), _) => {
                crate::message::line("the guest did not power off after its command, and was ended");
                Ok(code)
            }
            (None, Some(error)) => Err(error),
            (None, None) => Ok(Code::SUCCESS),
        }
    }

    /// The exit code of a guest that powered off, or that reset itself because it was told to; none if it crashed.
    ///
    /// # Errors
    /// It powered off because it could not be brought up.
    pub(super) fn code_at_end(&mut self, is_reset: bool) -> anyhow::Result<Option<Code>> {
        match (self.code, self.failure.take()) {
            (Some(code), _) => Ok(Some(code)),
            (None, _) if is_reset && !self.announced => Ok(None),
            (None, Some(error)) if !self.is_up => Err(error),
            (None, _) => Ok(Some(Code::SUCCESS)),
        }
    }

    /// Asks the command to end by its stop signal, or the guest to power off if it has none or does not run; says
    /// whether there is somebody to ask.
    pub(super) fn ask_to_end(&self) -> bool {
        self.stop_signal.is_some_and(|number| self.signal_if_it_runs(number)) || self.power_off(GRACE)
    }

    fn power_off(&self, grace: Duration) -> bool {
        self.tell(|agent| agent.power_off(grace))
    }

    /// Sets the guest's clock after it stood still.
    pub(super) fn set_clock(&self) {
        self.tell(ControlHandle::set_clock);
    }

    fn tell(&self, say: impl FnOnce(&ControlHandle) -> anyhow::Result<()>) -> bool {
        locked(&self.speakers.control).as_ref().is_some_and(|agent| say(agent).is_ok())
    }

    /// Sends the command a signal, unless it has ended or does not run yet; says whether it was sent.
    pub(super) fn signal_if_it_runs(&self, number: u8) -> bool {
        self.code.is_none() && self.signal(i32::from(number))
    }

    /// Sends the command a signal; says whether it has begun to run.
    pub(super) fn signal(&self, number: i32) -> bool {
        let command = locked(&self.speakers.command);
        let (Some(command), Ok(number)) = (&*command, u8::try_from(number)) else { return false };
        command.signal(number);
        true
    }

    /// Gives the command's terminal another size.
    pub(super) fn resize(&self, columns: u16, rows: u16) {
        if let Some(command) = &*locked(&self.speakers.command) {
            command.resize(Size { columns, rows });
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    fn running(writes: bool) -> Running {
        Running {
            speakers: Arc::default(),
            writes,
            stop_signal: None,
            has_terminal: false,
            is_up: false,
            announced: false,
            code: None,
            failure: None,
            deadline: None,
        }
    }

    fn ended(code: u8) -> News {
        News::Ended(Ok(Ended::Exited(code)))
    }

    #[test]
    fn the_exit_code_is_the_commands() {
        let mut command = running(false);
        assert!(matches!(command.hear(News::Ready), Then::TellThatItRuns));
        assert!(matches!(command.hear(ended(42)), Then::End(Code(42))));
    }

    #[test]
    fn what_is_kept_is_written_before_the_end() {
        let (host, agent) = UnixStream::pair().unwrap();
        let hello =
            hv_agent_protocol::AgentMessage::Hello { version: hv_agent_protocol::VERSION, release: "7" };
        let mut outgoing = hv_agent_protocol::Outgoing::default();
        outgoing.push(&hello).unwrap();
        outgoing.write_to(&agent).unwrap();
        let control = Control::accept(host, Duration::from_secs(30)).unwrap();
        let mut command = running(true);
        *locked(&command.speakers.control) = Some(control.handle());
        command.hear(News::Ready);
        assert!(matches!(command.hear(ended(1)), Then::GoOn), "the guest powers off first");
        assert!(command.deadline().is_some());
        assert_eq!(command.code_at_end(false).unwrap(), Some(Code(1)));
        assert_eq!(command.give_up().unwrap(), Code(1));
    }

    #[test]
    fn the_stop_signal_is_for_a_command_that_runs() {
        let (host, _agent) = UnixStream::pair().unwrap();
        let (session, handle) = Session::new(host, &Start::default(), Stdio::none()).unwrap();
        let mut command = Running { stop_signal: Some(10), ..running(false) };
        assert!(!command.ask_to_end(), "there is nobody to ask yet");
        *locked(&command.speakers.command) = Some(handle);
        assert!(command.ask_to_end());
        command.hear(ended(0));
        assert!(!command.ask_to_end() && !command.signal_if_it_runs(10), "it has ended");
        drop(session);
    }

    #[test]
    fn a_reset_that_nobody_announced_is_a_crash() {
        let mut command = running(false);
        command.hear(News::Ready);
        command.hear(News::Ended(Err(anyhow!("the guest ended before the command did"))));
        assert_eq!(command.code_at_end(true).unwrap(), None);
        let mut command = running(false);
        command.hear(News::Ready);
        command.hear(News::Ending);
        assert_eq!(command.code_at_end(true).unwrap(), Some(Code::SUCCESS));
        assert_eq!(running(false).code_at_end(true).unwrap(), None, "a kernel that panics as it starts");
    }

    #[test]
    fn a_guest_that_does_not_come_up_is_an_error() {
        let mut command = running(false);
        assert!(matches!(command.hear(News::Failed(anyhow!("no disk"))), Then::GoOn));
        assert!(command.code_at_end(false).unwrap_err().to_string().contains("no disk"));
        let mut command = running(false);
        command.hear(News::Failed(anyhow!("no disk")));
        assert!(command.give_up().unwrap_err().to_string().contains("no disk"));
    }
}
