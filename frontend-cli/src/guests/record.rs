//! `guest.json`: what a guest was made of and how it ended.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use crate::{folders, network::NetworkRecord, sandbox::SandboxRecord};

/// The most bytes of a record.
const LIMIT: u64 = 60 << 10;

/// What a guest was made of.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Record {
    pub(crate) name: String,
    /// What it was made from, as on the command line; nothing for a guest of `--kernel`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<String>,
    /// The kernel's file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kernel: Option<String>,
    /// What runs in it, if not what the image says.
    pub(crate) command: Vec<String>,
    pub(crate) cpus: u32,
    /// Bytes of RAM.
    pub(crate) memory: u64,
    /// The hypervisor.
    pub(crate) accelerator: String,
    /// When it was made: seconds since 1970.
    pub(crate) created: u64,
    pub(crate) pid: u32,
    /// It stays listed when it has ended.
    pub(crate) kept: bool,
    /// What it shows is in a file.
    pub(crate) logged: bool,
    /// Its network; nothing for a guest without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) network: Option<NetworkRecord>,
    /// Ports of the host that lead to it, as on the command line, with those that were really taken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) ports: Vec<String>,
    /// Its process's sandbox.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sandbox: Option<SandboxRecord>,
    /// How it ended; nothing while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ended: Option<End>,
}

/// How a guest ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct End {
    /// When: seconds since 1970.
    pub(crate) time: u64,
    /// The exit code of its `hv run`; nothing if that was killed.
    pub(crate) code: Option<u8>,
}

impl End {
    pub(crate) fn now(code: Option<u8>) -> Self {
        Self { time: now(), code }
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Record {
    /// What the guest was made from: its image or its kernel.
    pub(crate) fn source(&self) -> &str {
        self.image.as_deref().or(self.kernel.as_deref()).unwrap_or_default()
    }

    /// Reads a record.
    ///
    /// # Errors
    /// There is none that can be read.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let mut text = Vec::new();
        File::open(path)?.take(LIMIT).read_to_end(&mut text)?;
        serde_json::from_slice(&text).map_err(io::Error::from)
    }

    /// Writes the record so that it is there whole or not at all; `durable` if it must outlive the host.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn write(&self, folder: &Path, durable: bool) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        if text.len() as u64 > LIMIT {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "the guest's command is too long to record",
            ));
        }
        write_whole(folder, super::RECORD, &text, durable)
    }
}

/// Writes a file under another name and renames it.
fn write_whole(folder: &Path, name: &str, content: &[u8], durable: bool) -> io::Result<()> {
    let new = folder.join(format!(".{name}.new"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(content)?;
    if durable {
        file.sync_all()?;
    }
    fs::rename(&new, folder.join(name))?;
    if durable { folders::sync(folder) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let record = Record {
            name: "a".to_owned(),
            image: Some("debian".to_owned()),
            command: vec!["ls".to_owned(), "\n".to_owned()],
            ended: Some(End { time: 5, code: None }),
            ..Record::default()
        };
        record.write(folder.path(), true).unwrap();
        let path = folder.path().join(super::super::RECORD);
        assert_eq!(Record::read(&path).unwrap(), record);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else stays");
    }

    #[test]
    fn records_of_other_versions_are_read() {
        let record: Record = serde_json::from_str(r#"{"name":"a","later":[1]}"#).unwrap();
        assert_eq!(record.name, "a");
    }

    #[test]
    fn what_would_not_be_read_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let record = Record { command: vec!["x".repeat(64 << 10)], ..Record::default() };
        assert!(record.write(folder.path(), false).is_err());
    }
}
