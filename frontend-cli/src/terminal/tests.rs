//! Tests that every way out puts the terminal back. Each way is taken by a child process on a pseudo-terminal: this
//! same test program, told by an environment variable which way to take.

use std::{
    env,
    fs::OpenOptions,
    os::fd::OwnedFd,
    process::{Child, Command, ExitStatus, Stdio, exit},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    process::{Pid, Signal, WaitOptions, ioctl_tiocsctty, kill_process, setsid, waitpid},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::LocalModes,
};

use super::*;
use crate::signals;

const WAY: &str = "HV_TEST_WAY_OUT";
/// So long a child may take that is not broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the child does: takes the terminal, as `hv run` does, and leaves it.
fn take_way_out(way: &str) {
    setsid().unwrap();
    ioctl_tiocsctty(stdin()).unwrap();
    signals::watch(|signal| {
        if signal != signals::Signal::Resize {
            restore();
            exit(7);
        }
    })
    .unwrap();
    let terminal = RawTerminal::enter().unwrap().unwrap();
    // The other end waits for raw mode and answers with a byte.
    rustix::io::read(stdin(), &mut [0; 1]).unwrap();
    match way {
        "return" => drop(terminal),
        "exit" => {
            restore();
            restore();
            exit(7)
        }
        "panic" => panic!("as told"),
        _ => loop {
            thread::park();
        },
    }
}

struct Session {
    host: OwnedFd,
    child: Child,
}

impl Session {
    /// Starts a child and waits until the terminal is raw.
    fn start(test: &str, way: &str) -> Self {
        let host = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        rustix::io::fcntl_setfd(&host, rustix::io::FdFlags::CLOEXEC).unwrap();
        grantpt(&host).unwrap();
        unlockpt(&host).unwrap();
        let name = ptsname(&host, Vec::new()).unwrap().into_string().unwrap();
        let guest = OpenOptions::new().read(true).write(true).open(name).unwrap();
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(WAY, way)
            .stdin(guest)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let session = Self { host, child };
        session.wait_until(true);
        session
    }

    fn wait_until(&self, raw: bool) {
        let start = Instant::now();
        while tcgetattr(&self.host).unwrap().local_modes.contains(LocalModes::ICANON) == raw {
            assert!(
                start.elapsed() < PATIENCE,
                "the terminal should become {}",
                if raw { "raw" } else { "cooked" }
            );
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn go_on(&self) {
        rustix::io::write(&self.host, b"x").unwrap();
    }

    /// The child's end, and that it left the terminal as it was.
    fn end(mut self) -> ExitStatus {
        let status = self.child.wait().unwrap();
        let modes = tcgetattr(&self.host).unwrap();
        assert!(modes.local_modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG));
        status
    }
}

#[test]
fn every_way_out_puts_the_terminal_back() {
    const TEST: &str = "terminal::tests::every_way_out_puts_the_terminal_back";
    if let Ok(way) = env::var(WAY) {
        return take_way_out(&way);
    }
    for (way, code) in [("return", Some(0)), ("exit", Some(7)), ("panic", Some(101))] {
        let session = Session::start(TEST, way);
        session.go_on();
        assert_eq!(session.end().code(), code, "{way}");
    }
    for (signal, code) in
        [(Signal::TERM, Some(7)), (Signal::INT, Some(7)), (Signal::HUP, Some(7)), (Signal::QUIT, None)]
    {
        if signals::ignored() >> (signal.as_raw() - 1) & 1 == 1 {
            println!("{signal:?} is not tried: whoever started the tests wants it ignored");
            continue;
        }
        let session = Session::start(TEST, "signal");
        session.send(signal);
        assert_eq!(session.end().code(), code, "{signal:?}");
    }
}

#[test]
fn a_stopped_hv_gives_the_terminal_back_until_it_goes_on() {
    const TEST: &str = "terminal::tests::a_stopped_hv_gives_the_terminal_back_until_it_goes_on";
    if let Ok(way) = env::var(WAY) {
        return take_way_out(&way);
    }
    let session = Session::start(TEST, "signal");
    for _ in 0..3 {
        session.send(Signal::TSTP);
        let (_, status) =
            waitpid(Some(Pid::from_child(&session.child)), WaitOptions::UNTRACED).unwrap().unwrap();
        assert!(status.stopped());
        session.wait_until(false);
        session.send(Signal::CONT);
        session.wait_until(true);
    }
    session.send(Signal::TERM);
    assert_eq!(session.end().code(), Some(7));
}
