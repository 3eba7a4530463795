//! Starts a command as the host describes it.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, ErrorKind},
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{self, Stdio},
};

use hv_agent_protocol::{Size, Start, Stream};
use rustix::{
    fs::{OFlags, fchown, fcntl_getfl, fcntl_setfl},
    process::{Uid, geteuid},
    pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt},
    system::uname,
    termios::tcsetwinsize,
};

use super::{child, input::Input, output::Output, process::Process, program, window};
use crate::{
    Children, file,
    users::{self, Identity},
};

/// Where programs are looked for if nobody says otherwise, as with OCI runtimes.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command that runs.
pub(super) struct Command<'a> {
    pub(super) process: Process<'a>,
    pub(super) input: Input,
    pub(super) outputs: [Output; 2],
    pub(super) terminal: Option<OwnedFd>,
}

/// Why a command does not run.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) code: u8,
    pub(super) reason: String,
}

impl Failure {
    pub(super) const NOT_FOUND: u8 = 127;
    const CANNOT: u8 = 126;

    pub(super) fn cannot(reason: String) -> Self {
        Self { code: Self::CANNOT, reason }
    }

    /// Of a program that the kernel does not start.
    pub(super) fn of(error: &io::Error, program: &str) -> Self {
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => Self {
                code: Self::NOT_FOUND,
                reason: format!("{program:?} was not found in the guest, or what runs it was not"),
            },
            _ => Self::cannot(format!("{program:?} cannot be executed: {error}")),
        }
    }
}

/// The ends of a command's standard descriptors.
struct Ends {
    /// Given to the command: standard input, output, error.
    inner: [Stdio; 3],
    input: Option<OwnedFd>,
    stdout: OwnedFd,
    /// With a terminal there is none apart.
    stderr: Option<OwnedFd>,
    terminal: Option<OwnedFd>,
}

/// Starts the command.
pub(super) fn start<'a>(start: &Start, children: &'a Children) -> Result<Command<'a>, Failure> {
    let [name, arguments @ ..] = &*start.arguments else {
        return Err(Failure::cannot("there is no command".to_owned()));
    };
    let identity = identity(start.user.as_deref())?;
    let directory = working_directory(&start.working_directory)?;
    let environment = environment(start, &identity);
    let search = environment.get("PATH").map_or("", |path| path);
    let program = program::find(name, search, &directory)?;
    let ends = match start.terminal {
        Some(size) => on_terminal(size, &identity),
        None => on_pipes(start.stdin),
    };
    let Ends { inner: [stdin, stdout, stderr], input, stdout: output, stderr: errors, terminal } =
        ends.map_err(|error| Failure::cannot(format!("the guest has no terminal or pipe to give: {error}")))?;

    let mut command = process::Command::new(program);
    command.arg0(name).args(arguments).env_clear().envs(&environment).current_dir(directory);
    command.stdin(stdin).stdout(stdout).stderr(stderr);
    child::prepare(&mut command, &identity, start.terminal.is_some());
    let (pid, pidfd) = children.spawn(&mut command).map_err(|error| Failure::of(&error, name))?;
    Ok(Command {
        process: Process::new(children, pid, pidfd),
        input: Input::new(input, terminal.is_some()),
        outputs: [Output::new(Stream::Stdout, Some(output)), Output::new(Stream::Stderr, errors)],
        terminal,
    })
}

fn identity(user: Option<&str>) -> Result<Identity, Failure> {
    // An image need not have either file.
    let passwd = file::text("/etc/passwd").unwrap_or_default();
    let group = file::text("/etc/group").unwrap_or_default();
    users::resolve(user.unwrap_or_default(), &passwd, &group)
        .map_err(|unknown| Failure::cannot(unknown.to_string()))
}

fn working_directory(wanted: &str) -> Result<PathBuf, Failure> {
    let directory = Path::new("/").join(wanted);
    let failed = |error| Failure::cannot(format!("the working directory {wanted:?} cannot be made: {error}"));
    if !directory.is_dir() {
        fs::create_dir_all(&directory).map_err(failed)?;
    }
    Ok(directory)
}

fn environment(start: &Start, identity: &Identity) -> BTreeMap<String, String> {
    let mut environment: BTreeMap<_, _> = start.environment.iter().cloned().collect();
    let mut default = |name: &str, value: &str| {
        environment.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    };
    default("PATH", PATH);
    default("HOME", &identity.home);
    default("HOSTNAME", &uname().nodename().to_string_lossy());
    if let Some(name) = &identity.name {
        default("USER", name);
    }
    if start.terminal.is_some() {
        default("TERM", "xterm");
    }
    environment
}

fn on_pipes(stdin: bool) -> io::Result<Ends> {
    let (output, stdout) = io::pipe()?;
    let (errors, stderr) = io::pipe()?;
    let (stdin, input) = if stdin {
        let (stdin, input) = io::pipe()?;
        (Stdio::from(stdin), Some(without_blocking(input.into())?))
    } else {
        (Stdio::from(File::open("/dev/null")?), None)
    };
    Ok(Ends {
        inner: [stdin, stdout.into(), stderr.into()],
        input,
        stdout: without_blocking(output.into())?,
        stderr: Some(without_blocking(errors.into())?),
        terminal: None,
    })
}

fn on_terminal(size: Size, identity: &Identity) -> io::Result<Ends> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let terminal = openpt(flags)?;
    grantpt(&terminal)?;
    unlockpt(&terminal)?;
    tcsetwinsize(&terminal, window(size))?;
    let inner = ioctl_tiocgptpeer(&terminal, flags)?;
    if geteuid().is_root() {
        // The user may open the terminal by its name.
        fchown(&inner, Some(Uid::from_raw(identity.uid)), None)?;
    }
    let terminal = without_blocking(terminal)?;
    Ok(Ends {
        inner: [inner.try_clone()?.into(), inner.try_clone()?.into(), inner.into()],
        input: Some(terminal.try_clone()?),
        stdout: terminal.try_clone()?,
        stderr: None,
        terminal: Some(terminal),
    })
}

fn without_blocking(end: OwnedFd) -> io::Result<OwnedFd> {
    fcntl_setfl(&end, fcntl_getfl(&end)? | OFlags::NONBLOCK)?;
    Ok(end)
}
