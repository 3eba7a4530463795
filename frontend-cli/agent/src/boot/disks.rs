//! Disks by their serials.

use std::{
    fs, io,
    path::PathBuf,
    thread::sleep,
    time::{Duration, Instant},
};

/// How long a disk may take to appear.
const PATIENCE: Duration = Duration::from_secs(10);

/// How soon is looked again.
const RETRY: Duration = Duration::from_millis(2);

/// The device of the disk with this serial.
pub(super) fn find(serial: &str) -> Result<PathBuf, String> {
    let until = Instant::now() + PATIENCE;
    loop {
        match look(serial) {
            Ok(Some(device)) => return Ok(device),
            result if Instant::now() >= until => {
                let why = result.err().map(|error| format!(": {error}")).unwrap_or_default();
                return Err(format!("there is no disk with the serial {serial:?}{why}"));
            }
            _ => sleep(RETRY),
        }
    }
}

fn look(serial: &str) -> io::Result<Option<PathBuf>> {
    for disk in fs::read_dir("/sys/block")? {
        let disk = disk?;
        // Not every disk has one.
        let found = fs::read_to_string(disk.path().join("serial")).unwrap_or_default();
        let device = PathBuf::from("/dev").join(disk.file_name());
        if found.trim_end_matches(['\n', '\0']) == serial && device.exists() {
            return Ok(Some(device));
        }
    }
    Ok(None)
}
