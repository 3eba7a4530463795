//! A named guest with a terminal of its own that its user may leave: `hv run` waits in front of this program once more,
//! which runs the guest and has the terminal, until the guest ends or is left.
//!
//! A shell waits for the process that it started, so that one must be able to end while the guest goes on. The two have a
//! socket: a byte of the child's says that the guest was left; its end says that the process in front is gone.

use std::{
    env,
    ffi::OsString,
    fs,
    io::{Read, Write},
    os::unix::{net::UnixStream, process::ExitStatusExt},
    path::Path,
    process::{self, Child, Command, ExitStatus},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
};

use anyhow::Context;
use rustix::{
    io::Errno,
    process::{Pid, Signal as ProcessSignal, getpid, getsid, kill_process, test_kill_process},
};

use crate::{
    background,
    exit_code::Code,
    folders,
    signals::{self, Signal},
    threads,
};

/// The hidden option that makes a run the child, and says where the socket is.
const OPTION: &str = "--attended=";

/// The socket's name goes before the number of the process in front; no guest's name begins with a dot.
const SOCKET: &str = ".attended-";

/// What ends the wait.
enum News {
    Ended(std::io::Result<ExitStatus>),
    Left,
}

/// Runs this command line in a child with the same terminal; the code is the child's, or 0 when its guest is left.
pub(crate) fn start() -> anyhow::Result<Code> {
    let path = folders::runtime()?.join(format!("{SOCKET}{}", process::id()));
    // Of a process that had this number and was killed.
    let _ = fs::remove_file(&path);
    let listener = folders::private_socket(&path).context("the guest's process cannot be spoken with")?;
    let program = env::current_exe().context("the path of hv itself is not known")?;
    let mut option = OsString::from(OPTION);
    option.push(&path);
    let mut command = Command::new(program);
    command.args(background::with_option(option, env::args_os().skip(1)));
    let child = command.spawn().context("hv cannot start itself");
    let child = child.inspect_err(|_| drop(fs::remove_file(&path)))?;
    pass_signals_on(&child)?;
    let (send, news) = mpsc::channel();
    let (left, socket) = (send.clone(), path.clone());
    threads::spawn("guest left", move || {
        let Ok((mut stream, _)) = listener.accept() else { return };
        let _ = fs::remove_file(&socket);
        if stream.read_exact(&mut [0]).is_ok() {
            let _ = left.send(News::Left);
        }
        // The child must not take its end for that of this process, which goes on to wait.
        thread::park();
    })?;
    let mut waited = child;
    threads::spawn("guest ended", move || send.send(News::Ended(waited.wait())))?;
    let news = news.recv().context("the guest's process is lost")?;
    let _ = fs::remove_file(&path);
    match news {
        News::Left => Ok(Code::SUCCESS),
        News::Ended(status) => {
            let status = status.context("the guest's process is lost")?;
            // A process that a signal ended, as a shell has it.
            let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
            Ok(Code(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)))
        }
    }
}

/// Removes the sockets of processes in front that were killed before the child had connected.
pub(crate) fn clean(runtime: &Path) {
    for entry in fs::read_dir(runtime).into_iter().flatten().filter_map(Result::ok) {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(SOCKET)?.parse().ok());
        if let Some(pid) = number.and_then(Pid::from_raw)
            && test_kill_process(pid) == Err(Errno::SRCH)
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Signals for this process are for the child. A terminal that hangs up tells its session's leader alone; a shell that leads it tells
/// all processes of a job, and so the child, too.
fn pass_signals_on(child: &Child) -> anyhow::Result<()> {
    let mut passed = vec![ProcessSignal::INT, ProcessSignal::TERM];
    if getsid(None).is_ok_and(|leader| leader == getpid()) {
        passed.push(ProcessSignal::HUP);
    }
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    signals::watch(move |signal| {
        let known = match signal {
            Signal::Stop(number) => passed.iter().copied().find(|known| known.as_raw() == number),
            Signal::Resize => None,
        };
        if let (Some(pid), Some(signal)) = (pid, known) {
            // It may be ending just now.
            let _ = kill_process(pid, signal);
        }
    })
    .context("cannot listen to signals")
}

/// The process in front, as the child knows it.
#[derive(Debug)]
pub(crate) struct Front {
    stream: UnixStream,
    /// It was told that the guest is left, and may go.
    is_done: Arc<AtomicBool>,
}

impl Front {
    /// Connects to the process that listens at `path`.
    ///
    /// # Errors
    /// It is gone.
    pub(crate) fn connect(path: &Path) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(path).context("the process that started this one is gone")?;
        Ok(Self { stream, is_done: Arc::default() })
    }

    /// Calls `on_gone` if the process in front ends before the guest is left, from a thread of its own.
    ///
    /// # Errors
    /// The host is out of threads or descriptors.
    pub(crate) fn watch(&self, on_gone: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
        let (mut stream, is_done) = (self.stream.try_clone()?, Arc::clone(&self.is_done));
        let watch = move || {
            // It says nothing.
            let _ = stream.read(&mut [0]);
            if !is_done.load(Ordering::SeqCst) {
                on_gone();
            }
        };
        threads::spawn("front", watch).context("cannot start a thread")?;
        Ok(())
    }

    /// Tells it that the guest is left.
    pub(crate) fn let_go(mut self) {
        self.is_done.store(true, Ordering::SeqCst);
        // One that is gone need not know.
        let _ = self.stream.write_all(&[1]);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// A process in front, and the child's end.
    fn pair() -> (UnixStream, Front) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let front = Front::connect(&path).unwrap();
        (listener.accept().unwrap().0, front)
    }

    #[test]
    fn the_end_of_the_process_in_front_is_noticed() {
        let (near, front) = pair();
        let (send, gone) = mpsc::channel();
        front.watch(move || send.send(()).unwrap()).unwrap();
        drop(near);
        gone.recv().unwrap();
    }

    #[test]
    fn sockets_of_dead_processes_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let mut dead = Command::new("true").spawn().unwrap();
        dead.wait().unwrap();
        let socket = |number: u32| folder.path().join(format!("{SOCKET}{number}"));
        let [own, dead] = [process::id(), dead.id()].map(|number| {
            UnixListener::bind(socket(number)).unwrap();
            socket(number)
        });
        fs::write(folder.path().join(".attended-by"), "").unwrap();
        clean(folder.path());
        assert!(own.exists() && !dead.exists() && folder.path().join(".attended-by").exists());
        clean(Path::new("/nonexistent"));
    }

    #[test]
    fn a_guest_that_was_left_does_not_mind() {
        let (mut near, front) = pair();
        let (send, gone) = mpsc::channel();
        front.watch(move || send.send(()).unwrap()).unwrap();
        front.let_go();
        near.read_exact(&mut [0]).unwrap();
        drop(near);
        assert!(gone.recv().is_err(), "nothing is said, and the thread ends");
        assert!(Front::connect(Path::new("/nonexistent")).is_err());
    }
}
