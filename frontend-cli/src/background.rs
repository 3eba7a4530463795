//! `hv run --detach`: this program once more, in a session of its own, until its guest runs.
//!
//! The child's standard output and error are a pipe to the parent. What comes through it are messages, until a line that
//! begins with a NUL says that the guest runs, and its name. Then the child lets go of the pipe.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
};

use anyhow::{Context, bail};
use rustix::{
    process::setsid,
    stdio::{dup2_stderr, dup2_stdin, dup2_stdout, stdout},
};

use crate::exit_code::Code;

/// The hidden option that makes a run the child.
const OPTION: &str = "--in-background";
/// Begins the line that says that the guest runs.
const READY: u8 = 0;
/// The most bytes of a guest's name.
const NAME_LIMIT: u64 = 256;

/// Starts this command line in the background; the code is 0 when its guest runs, or the child's own.
pub(crate) fn start() -> anyhow::Result<Code> {
    let program = env::current_exe().context("the path of hv itself is not known")?;
    let (mut messages, far) = io::pipe().context("out of file descriptors; raise `ulimit -n`")?;
    let mut command = Command::new(program);
    let errors = far.try_clone().context("out of file descriptors; raise `ulimit -n`")?;
    command
        .args(with_option(OPTION.into(), env::args_os().skip(1)))
        .stdin(Stdio::null())
        .stdout(far)
        .stderr(errors);
    let mut child = command.spawn().context("hv cannot start itself in the background")?;
    // It holds the near copies of the far end.
    drop(command);
    if let Some(name) =
        follow(&mut messages, &mut io::stderr()).context("the guest's process cannot be heard")?
    {
        // A reader that left, as `head` does, knows enough.
        let _ = writeln!(io::stdout(), "{name}");
        return Ok(Code::SUCCESS);
    }
    let status = child.wait().context("the guest's process is lost")?;
    match (status.code().and_then(|code| u8::try_from(code).ok()), status.signal()) {
        (Some(0), _) => bail!("the guest ended before it ran"),
        (Some(code), _) => Ok(Code(code)),
        (None, signal) => bail!("the guest's process was ended by signal {}", signal.unwrap_or_default()),
    }
}

/// The words of a child: these, with the option after the first `run`.
pub(crate) fn with_option(option: OsString, words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = words.collect();
    let at = words.iter().position(|word| word == OsStr::new("run")).map_or(words.len(), |at| at + 1);
    words.insert(at, option);
    words
}

/// Passes messages on until the guest runs; its name, or nothing if it does not come to that.
fn follow(messages: &mut impl Read, to: &mut impl Write) -> io::Result<Option<String>> {
    let mut buffer = [0; 1024];
    loop {
        let count = match messages.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            count => count?,
        };
        let bytes = &buffer[..count];
        if count == 0 {
            return Ok(None);
        }
        let at = bytes.iter().position(|byte| *byte == READY);
        // Messages are lost where standard error is.
        let _ = to.write_all(&bytes[..at.unwrap_or(count)]);
        if let Some(at) = at {
            let mut name = bytes[at + 1..].to_vec();
            if !name.contains(&b'\n') {
                messages.take(NAME_LIMIT).read_to_end(&mut name)?;
            }
            let name = String::from_utf8_lossy(&name);
            return Ok(Some(name.lines().next().unwrap_or_default().to_owned()));
        }
    }
}

/// Leaves the session of whoever started the parent.
pub(crate) fn enter() -> anyhow::Result<()> {
    setsid().context("a session of its own cannot be had").map(drop)
}

/// A guest in the background that the parent waits for.
#[derive(Debug)]
pub(crate) struct Awaited {
    pub(crate) name: String,
    /// Where messages go when nobody waits any more.
    pub(crate) log: Option<File>,
}

impl Awaited {
    /// Tells the parent that the guest runs.
    pub(crate) fn tell(self) -> anyhow::Result<()> {
        // A parent that was killed does not want to know.
        let _ = rustix::io::write(stdout(), format!("\0{}\n", self.name).as_bytes());
        let_go(self.log.as_ref())
    }
}

/// Lets go of standard input and output; what is still told goes to `log`.
pub(crate) fn let_go(log: Option<&File>) -> anyhow::Result<()> {
    let nowhere =
        OpenOptions::new().read(true).write(true).open("/dev/null").context("/dev/null cannot be opened")?;
    dup2_stdin(&nowhere)?;
    dup2_stdout(&nowhere)?;
    dup2_stderr(log.unwrap_or(&nowhere))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_passed_on_until_the_guest_runs() {
        let mut told = Vec::new();
        let name = follow(&mut &b"hv: emulated\n\0web\n"[..], &mut told).unwrap();
        assert_eq!((name.as_deref(), told.as_slice()), (Some("web"), &b"hv: emulated\n"[..]));
        let mut pieces = (&b"\0we"[..]).chain(&b"b\n"[..]);
        assert_eq!(follow(&mut pieces, &mut Vec::new()).unwrap().as_deref(), Some("web"));
        let mut told = Vec::new();
        assert_eq!(follow(&mut &b"hv: no such kernel\n"[..], &mut told).unwrap(), None);
        assert_eq!(told, b"hv: no such kernel\n");
    }

    #[test]
    fn the_child_is_told_by_an_option_of_run() {
        let words = ["-v", "run", "-d", "image", "--", "run"].map(OsString::from);
        let words = with_option(OPTION.into(), words.into_iter());
        assert_eq!(words[..3], ["-v", "run", "--in-background"]);
        assert_eq!(words.len(), 7);
    }
}
