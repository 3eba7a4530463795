//! The host's end of the guest's console: where its output goes, where its input comes from.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{OFlags, fcntl_setfl},
    io::{Errno, FdFlags, fcntl_setfd},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    stdio::{stdin, stdout},
    termios::{OptionalActions, tcgetattr, tcsetattr},
};

use crate::args::Console;

/// Both directions of a console.
#[derive(Debug)]
pub(crate) struct Ends {
    /// Takes what the guest shows.
    pub(crate) output: Output,
    /// Gives what the guest is told; nothing where nobody can type.
    pub(crate) input: Option<OwnedFd>,
    /// The name of the pseudo-terminal, to be told.
    pub(crate) pty: Option<PathBuf>,
}

/// Takes what the guest shows.
#[derive(Debug)]
pub(crate) enum Output {
    /// Standard output, unbuffered.
    Stdout,
    /// A file.
    File(File),
    /// A pseudo-terminal. What nobody reads is lost, as on a serial line without a cable: it must not stop the guest.
    /// This process holds the guest's end open too, so that coming and going at the far end is no error.
    Pty { host: OwnedFd, _guest: File },
    /// Nowhere.
    None,
}

/// Opens both directions.
pub(crate) fn open(console: &Console) -> anyhow::Result<Ends> {
    let (output, input, pty) = match console {
        Console::Stdio => (Output::Stdout, stdin().try_clone_to_owned().ok(), None),
        Console::File(path) => (Output::File(create(path)?), None, None),
        Console::None => (Output::None, None, None),
        Console::Pty => {
            let (host, guest, name) =
                open_pty().context("no pseudo-terminal could be opened; use --console stdio")?;
            let input = host.try_clone().context("out of file descriptors; raise `ulimit -n`")?;
            (Output::Pty { host, _guest: guest }, Some(input), Some(name))
        }
    };
    Ok(Ends { output, input, pty })
}

fn create(path: &Path) -> anyhow::Result<File> {
    let shown = path.display();
    if path.is_dir() {
        bail!("console file {shown} is a directory; name a file");
    }
    File::create(path).with_context(|| format!("console file {shown} cannot be written; name another"))
}

fn open_pty() -> io::Result<(OwnedFd, File, PathBuf)> {
    let host = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    // Not every host takes this flag when it opens.
    fcntl_setfd(&host, FdFlags::CLOEXEC)?;
    grantpt(&host)?;
    unlockpt(&host)?;
    let name = PathBuf::from(ptsname(&host, Vec::new())?.to_string_lossy().into_owned());
    let flags = i32::try_from(OFlags::NOCTTY.bits()).unwrap_or(0);
    let guest =
        std::os::unix::fs::OpenOptionsExt::custom_flags(OpenOptions::new().read(true).write(true), flags)
            .open(&name)?;
    let mut modes = tcgetattr(&guest)?;
    modes.make_raw();
    tcsetattr(&guest, OptionalActions::Now, &modes)?;
    fcntl_setfl(&host, OFlags::RDWR | OFlags::NONBLOCK)?;
    Ok((host, guest, name))
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout => write_or_wait(stdout(), bytes),
            Self::File(file) => file.write(bytes),
            Self::Pty { host, .. } => match rustix::io::write(host, bytes) {
                Err(Errno::AGAIN | Errno::IO) => Ok(bytes.len()),
                written => Ok(written?),
            },
            Self::None => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes; a descriptor that others made non-blocking is waited for.
fn write_or_wait(output: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match rustix::io::write(&output, bytes) {
            Err(Errno::AGAIN) => {
                poll(&mut [PollFd::new(&output, PollFlags::OUT)], None)?;
            }
            written => return Ok(written?),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_pty_carries_bytes_unchanged_both_ways() {
        let Ends { mut output, input, pty } = open(&Console::Pty).unwrap();
        let mut far = OpenOptions::new().read(true).write(true).open(pty.unwrap()).unwrap();
        output.write_all(b"one\ntwo\r\n").unwrap();
        let mut shown = [0; 9];
        far.read_exact(&mut shown).unwrap();
        assert_eq!(&shown, b"one\ntwo\r\n");
        far.write_all(b"\x03\r\x04").unwrap();
        let mut typed = [0; 3];
        let input = input.unwrap();
        poll(&mut [PollFd::new(&input, PollFlags::IN)], None).unwrap();
        assert_eq!(rustix::io::read(&input, &mut typed), Ok(3));
        assert_eq!(&typed, b"\x03\r\x04");
    }

    #[test]
    fn a_pty_that_nobody_reads_does_not_block() {
        let mut output = open(&Console::Pty).unwrap().output;
        for _ in 0..100 {
            output.write_all(&[b'x'; 4096]).unwrap();
        }
    }

    #[test]
    fn a_file_is_written_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut output = open(&Console::File(path.clone())).unwrap().output;
        output.write_all(b"login: ").unwrap();
        assert_eq!(std::fs::read(path).unwrap(), b"login: ");
        assert!(open(&Console::File(folder.path().into())).unwrap_err().to_string().contains("directory"));
    }
}
