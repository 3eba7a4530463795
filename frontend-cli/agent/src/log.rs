//! The agent's messages: records of the kernel's log, which reaches the console.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    sync::OnceLock,
};

/// The most bytes of one record; the kernel takes a little less than 1 KiB.
const MOST: usize = 900;

/// Writes one record, whatever `text` holds. Where there is no kernel log, to standard error.
pub(crate) fn log(text: &str) {
    static LOG: OnceLock<Option<File>> = OnceLock::new();
    let mut record = String::from("<3>hv-init: ");
    let shown = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    record.extend(shown.take(MOST / 4));
    record.push('\n');
    let log = LOG.get_or_init(|| OpenOptions::new().write(true).open("/dev/kmsg").ok());
    // There is nobody left to tell.
    let _ = match log {
        Some(log) => (&*log).write_all(record.as_bytes()),
        None => std::io::stderr().write_all(record.as_bytes()),
    };
}
