//! `hv logs`: what a guest showed on its console.

use std::{fs::File, io::Read, os::unix::fs::MetadataExt, path::Path, thread, time::Duration};

use anyhow::Context;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    stdio::stdout,
};

use crate::{
    args::LogsArguments,
    exit_code::Code,
    guests::{self, Guest, Life},
};

/// How often a log that is followed is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Shows the log of a guest that has one, or what its process still knows.
pub(super) fn logs(guest: &Guest, arguments: &LogsArguments) -> anyhow::Result<Code> {
    let Some(path) = guest.log() else {
        if guest.life != Life::Running {
            return Err(guest.out_of_reach());
        }
        return from_console(guest, arguments);
    };
    let (text, file) =
        guests::read_log(&path).with_context(|| format!("guest {} has shown nothing yet", guest.name))?;
    let is_read = super::show(last_lines(&text, arguments.tail));
    if is_read && arguments.follow && guest.life == Life::Running {
        follow(guest, &path, file)?;
    }
    Ok(Code::SUCCESS)
}

/// Shows what is added to the log until the guest has ended.
fn follow(guest: &Guest, path: &Path, mut file: File) -> anyhow::Result<()> {
    let mut buffer = [0; 8192];
    loop {
        // First these, then the file: what the guest said last, or before a new log began, is in it by now.
        let is_alive = guest.is_alive();
        let number = file.metadata()?.ino();
        let next =
            File::open(path).ok().filter(|next| next.metadata().is_ok_and(|next| next.ino() != number));
        match (file.read(&mut buffer)?, next) {
            (0, Some(next)) => file = next,
            (0, None) if !is_alive => return Ok(()),
            (0, None) if has_reader() => thread::sleep(LOOK_AGAIN),
            (0, None) => return Ok(()),
            (count, _) if super::show(&buffer[..count]) => {}
            _ => return Ok(()),
        }
    }
}

/// Whether somebody can still read standard output: a pipe whose reader left is an error.
fn has_reader() -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let output = stdout();
    let mut state = [PollFd::new(&output, PollFlags::empty())];
    poll(&mut state, Some(&now)).is_err() || !state[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}

/// A guest without a log has the history of its console.
fn from_console(guest: &Guest, arguments: &LogsArguments) -> anyhow::Result<Code> {
    let console = guest.control()?.console().with_context(|| format!("guest {}", guest.name))?;
    let (mut stream, mut shown) = (console.stream, console.shown);
    let missing = console.history.saturating_sub(shown.len() as u64);
    Read::by_ref(&mut stream).take(missing).read_to_end(&mut shown)?;
    super::show(last_lines(&shown, arguments.tail));
    if arguments.follow {
        let mut buffer = [0; 8192];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            if !super::show(&buffer[..count]) {
                break;
            }
        }
    }
    Ok(Code::SUCCESS)
}

/// The last `count` lines, or all.
fn last_lines(text: &[u8], count: Option<usize>) -> &[u8] {
    let Some(count) = count else { return text };
    let body = text.strip_suffix(b"\n").unwrap_or(text);
    let ends = body.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    match count.checked_sub(1) {
        None => &[],
        Some(before) => text.get(ends.into_iter().nth(before).unwrap_or(0)..).unwrap_or(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_whole() {
        let text = b"one\ntwo\nthree\n";
        assert_eq!(last_lines(text, None), text);
        assert_eq!(last_lines(text, Some(0)), b"");
        assert_eq!(last_lines(text, Some(1)), b"three\n");
        assert_eq!(last_lines(text, Some(2)), b"two\nthree\n");
        assert_eq!(last_lines(text, Some(9)), text);
        assert_eq!(last_lines(b"one\nlogin: ", Some(1)), b"login: ");
    }
}
