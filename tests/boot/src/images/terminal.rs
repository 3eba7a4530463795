//! `Terminal`: a pseudo-terminal with a program in front of it.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    process::{Child, Command},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Mode, OFlags, open},
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Termios, Winsize, tcgetattr, tcsetwinsize},
};

use crate::PATIENCE;

/// The program is killed when it is dropped.
#[derive(Debug)]
pub struct Terminal {
    near: File,
    far: OwnedFd,
    child: Child,
    before: Termios,
    shown: Arc<Mutex<String>>,
    is_closed: Arc<AtomicBool>,
    reader: Option<thread::JoinHandle<()>>,
}

/// How often the reader looks whether the terminal is closed.
const LOOK_AGAIN: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

impl Terminal {
    /// Runs `command` in a new terminal of that many columns and rows, as its controlling one.
    ///
    /// # Errors
    /// There is no pseudo-terminal, or the command cannot be run.
    pub fn run(command: &Command, columns: u16, rows: u16) -> Result<Self> {
        let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&near)?;
        unlockpt(&near)?;
        let name = ptsname(&near, Vec::new())?;
        let far = open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
        let before = tcgetattr(&far)?;
        tcsetwinsize(&near, size(columns, rows))?;

        // It executes the command in its own place, in a session of which this is the terminal, and whose end it hears
        // of also where these tests run under nohup.
        let mut session = Command::new("setsid");
        session.args(["--ctty", "env", "--default-signal=HUP"]);
        session.arg(command.get_program()).args(command.get_args());
        session.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        session.stdin(far.try_clone()?).stdout(far.try_clone()?).stderr(far.try_clone()?);
        let child = session.spawn().context("cannot run setsid")?;

        let near = File::from(near);
        let shown = Arc::<Mutex<String>>::default();
        let is_closed = Arc::<AtomicBool>::default();
        let (mut source, to, closed) = (near.try_clone()?, Arc::clone(&shown), Arc::clone(&is_closed));
        let reader = thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !closed.load(Ordering::SeqCst) {
                let ready = poll(&mut [PollFd::new(&source, PollFlags::IN)], Some(&LOOK_AGAIN));
                if matches!(ready, Ok(0) | Err(rustix::io::Errno::INTR)) {
                    continue;
                }
                let Ok(count @ 1..) = source.read(&mut buffer) else { return };
                let text = String::from_utf8_lossy(&buffer[..count]);
                to.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
            }
        });
        Ok(Self { near, far, child, before, shown, is_closed, reader: Some(reader) })
    }

    /// Closes the terminal while the program has it, as whoever closes its window does.
    ///
    /// # Errors
    /// There is no `/dev/null`.
    pub fn hang_up(&mut self) -> Result<()> {
        self.is_closed.store(true, Ordering::SeqCst);
        // Its copy is the last but one.
        let _ = self.reader.take().map(thread::JoinHandle::join);
        self.near = File::open("/dev/null")?;
        Ok(())
    }

    /// All that was shown so far.
    pub fn shown(&self) -> String {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until `text` is shown.
    ///
    /// # Errors
    /// The program ended or took too long.
    pub fn wait_for(&mut self, text: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.shown().contains(text) {
            if Instant::now() > deadline || self.child.try_wait()?.is_some() {
                // What it said last may be on its way.
                thread::sleep(Duration::from_millis(200));
                if !self.shown().contains(text) {
                    bail!("the terminal does not show {text:?}, but {:?}", self.shown());
                }
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Types `text`.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn type_text(&mut self, text: &str) -> Result<()> {
        Ok(self.near.write_all(text.as_bytes())?)
    }

    /// Gives it another size.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        Ok(tcsetwinsize(&self.near, size(columns, rows))?)
    }

    /// Whether keys go to the program as they are, unseen.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn is_raw(&self) -> Result<bool> {
        let cooked = LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        Ok(!tcgetattr(&self.far)?.local_modes.intersects(cooked))
    }

    /// Whether its modes are those that it had before the program came.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn is_as_before(&self) -> Result<bool> {
        let now = tcgetattr(&self.far)?;
        let modes = |termios: &Termios| {
            (termios.input_modes, termios.output_modes, termios.control_modes, termios.local_modes)
        };
        Ok(modes(&now) == modes(&self.before))
    }

    /// Sends the program a signal.
    ///
    /// # Errors
    /// It has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?).context("0 is no process")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Waits for the program's end; its exit code.
    ///
    /// # Errors
    /// It takes too long, or a signal ended it.
    pub fn wait(&mut self) -> Result<i32> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return status.code().with_context(|| format!("it ended with {status}"));
            }
            thread::sleep(Duration::from_millis(10));
        }
        bail!("the program does not end; the terminal shows {:?}", self.shown())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }
}
