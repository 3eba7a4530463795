//! Messages to the person at the terminal: one line each, on standard error.

use std::io::{self, Write};

use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use crate::terminal;

/// Tells an error in one line; with `-v` each cause gets a line of its own.
pub(crate) fn error(error: &anyhow::Error, verbose: u8) {
    if verbose == 0 {
        line(&format!("{error:#}"));
        return;
    }
    line(&error.to_string());
    error.chain().skip(1).for_each(|cause| line(&format!("  because {cause}")));
}

/// Writes one line, whatever `text` holds.
pub(crate) fn line(text: &str) {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    // Never fails.
    let _ = Messages.write_all(format!("hv: {text}\n").as_bytes());
}

/// Sends the log to standard error: warnings, or what `HV_LOG` or the number of `-v` ask for.
pub(crate) fn start_log(verbose: u8) {
    let level = ["warn", "warn", "info", "debug"].get(usize::from(verbose)).copied().unwrap_or("trace");
    let filter = EnvFilter::try_from_env("HV_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .without_time()
        .with_ansi(false)
        .with_writer(Messages)
        .init();
}

/// Standard error, whose lines also begin at the left while the terminal is raw.
///
/// What it cannot take is lost: there is nobody left to tell, and the log would panic, and the guest end, over it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Messages;

impl Write for Messages {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = if terminal::is_raw() {
            let mut lines = Vec::with_capacity(bytes.len() + 2);
            for byte in bytes {
                if *byte == b'\n' {
                    lines.push(b'\r');
                }
                lines.push(*byte);
            }
            io::stderr().write_all(&lines)
        } else {
            io::stderr().write_all(bytes)
        };
        drop(written);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Messages {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        *self
    }
}
