//! What the guest shows, for its output and for those who listen beside it.

use std::io::{self, Write};

use hv_control::ConsoleTap;

use crate::{console, guests::LogFile};

/// Who hears what the guest shows, beside the console's own output.
pub(super) struct Listeners {
    pub(super) tap: ConsoleTap,
    pub(super) log: Option<LogFile>,
}

impl Listeners {
    /// Lets them listen to what `output` takes. What it does not take yet, they do not hear yet either.
    pub(super) fn beside(self, output: console::Output) -> Tee<console::Output> {
        Tee { output: Some(output), listeners: self }
    }
}

/// An output with listeners. An output that fails is left: the guest goes on for those who listen.
pub(super) struct Tee<W> {
    output: Option<W>,
    listeners: Listeners,
}

impl<W: Write> Write for Tee<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = match self.output.as_mut().map(|output| output.write(bytes)) {
            None => bytes.len(),
            Some(Ok(count)) => count,
            Some(Err(error)) => match error.kind() {
                io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => return Err(error),
                _ => {
                    tracing::warn!("console output cannot be written: {error}; the rest is dropped");
                    self.output = None;
                    bytes.len()
                }
            },
        };
        let shown = bytes.get(..count).unwrap_or(bytes);
        self.listeners.tap.show(shown);
        if let Some(log) = &mut self.listeners.log
            && let Err(error) = log.write_all(shown)
        {
            tracing::warn!("the guest's log cannot be written: {error}; it ends here");
            self.listeners.log = None;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.as_mut().map_or(Ok(()), Write::flush)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes three bytes, then fails.
    struct Short(Vec<u8>);

    impl Write for Short {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0.len() >= 3 {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.0.extend_from_slice(&bytes[..bytes.len().min(3)]);
            Ok(bytes.len().min(3))
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn listeners_hear_all_once_though_the_output_takes_little_and_fails() {
        let tap = ConsoleTap::new();
        let listeners = Listeners { tap: tap.clone(), log: None };
        let mut tee = Tee { output: Some(Short(Vec::new())), listeners };
        tee.write_all(b"hello ").unwrap();
        tee.write_all(b"world").unwrap();
        assert_eq!(tap.history(), b"hello world");
    }
}
