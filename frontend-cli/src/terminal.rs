//! The terminal on standard input: raw while a guest has it, and put back on every way out.
//!
//! Its state belongs to the process, not to a value: the end of `main`, a panic, a signal and a stop from the shell
//! all put back the same modes, in any order.

use std::{
    io, panic,
    sync::{
        Mutex, MutexGuard, Once, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::{
    process::getpgrp,
    stdio::{stdin, stdout},
    termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr},
};

/// The modes to put back, while a [`RawTerminal`] lives.
static ORIGINAL: Mutex<Option<Termios>> = Mutex::new(None);
/// Whether the terminal is raw now.
static RAW: AtomicBool = AtomicBool::new(false);

/// The terminal is the guest's until this is dropped.
#[derive(Debug)]
pub(crate) struct RawTerminal(());

impl RawTerminal {
    /// Gives the terminal to the guest: every key is a byte, none is a signal. Without a terminal there is nothing
    /// to give; in the background it waits until the shell brings `hv` to the foreground.
    pub(crate) fn enter() -> io::Result<Option<Self>> {
        static HOOK: Once = Once::new();
        if !isatty(stdin()) {
            return Ok(None);
        }
        *original() = Some(tcgetattr(stdin())?);
        HOOK.call_once(restore_on_panic);
        resume();
        Ok(Some(Self(())))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        restore();
        *original() = None;
    }
}

/// Makes the terminal raw, or raw again after the process was stopped, if it is the guest's.
pub(crate) fn resume() {
    let original = original();
    let Some(modes) = original.as_ref().filter(|_| in_foreground()) else { return };
    let mut raw = modes.clone();
    raw.make_raw();
    RAW.store(tcsetattr(stdin(), OptionalActions::Now, &raw).is_ok(), Ordering::SeqCst);
}

/// Puts the terminal back. For ways out that drop nothing, such as `std::process::exit`; it may be called at any time.
pub(crate) fn restore() {
    let original = original();
    if let Some(modes) = original.as_ref()
        && RAW.swap(false, Ordering::SeqCst)
    {
        // A terminal that has hung up needs no modes.
        let _ = tcsetattr(stdin(), OptionalActions::Now, modes);
    }
}

/// As [`restore`], for a thread that may be anywhere: if the modes are at work just now, they stay as they are.
pub(crate) fn restore_at_once() {
    if let Ok(original) = ORIGINAL.try_lock()
        && let Some(modes) = original.as_ref()
        && RAW.swap(false, Ordering::SeqCst)
    {
        let _ = tcsetattr(stdin(), OptionalActions::Now, modes);
    }
}

/// Whether a newline no longer returns to the left.
pub(crate) fn is_raw() -> bool {
    RAW.load(Ordering::SeqCst)
}

/// Columns and rows of the terminal on standard output.
pub(crate) fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(stdout()).ok()?;
    (size.ws_col != 0 && size.ws_row != 0).then_some((size.ws_col, size.ws_row))
}

/// A process in the background that changes modes would be stopped. Only the controlling terminal has a background.
fn in_foreground() -> bool {
    tcgetpgrp(stdin()).map_or(true, |group| group == getpgrp())
}

fn original() -> MutexGuard<'static, Option<Termios>> {
    ORIGINAL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A panic ends the process without dropping anything, and its message should be readable.
fn restore_on_panic() {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        restore();
        report(info);
    }));
}

#[cfg(test)]
mod tests;
