//! What other processes and the terminal tell `hv` by signals, as calls on a thread of its own.

use std::{fs, io};

use signal_hook::{
    consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH},
    iterator::Signals,
    low_level::emulate_default_handler,
};

use crate::{terminal, threads};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGINT, SIGTERM, or SIGHUP of a terminal that is gone: end the guest.
    Stop(i32),
    /// The terminal may have another size.
    Resize,
}

/// Calls `on_signal` for each signal from now on, until the process ends. The terminal is put back before `hv` stops
/// or is ended by a signal, and taken again when it goes on.
pub(crate) fn watch(mut on_signal: impl FnMut(Signal) + Send + 'static) -> io::Result<()> {
    let ignored = ignored();
    let wanted = [SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH];
    let mut signals = Signals::new(wanted.into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0))?;
    let serve = move || {
        for signal in signals.forever() {
            match signal {
                SIGINT | SIGTERM | SIGHUP => on_signal(Signal::Stop(signal)),
                SIGWINCH => on_signal(Signal::Resize),
                SIGCONT => {
                    terminal::resume();
                    on_signal(Signal::Resize);
                }
                other => {
                    terminal::restore();
                    // Known signals cannot fail to have their default effect.
                    let _ = emulate_default_handler(other);
                }
            }
        }
    };
    threads::spawn("signals", serve)?;
    Ok(())
}

/// The signals that whoever started `hv` wants ignored, as `nohup` does with SIGHUP: bit n - 1 for signal n.
pub(crate) fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
