//! A guest's log: what it showed, in a file that does not grow for ever.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// A log this long becomes the old one, and a new one begins: a guest fills twice this and no more.
const LIMIT: u64 = 8 << 20;

/// The end of the old log's name.
const OLD: &str = "1";

/// Takes what a guest shows.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    file: File,
    size: u64,
    limit: u64,
}

impl LogFile {
    /// Goes on with the log at `path`, or begins it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let file = append(&path)?;
        let size = file.metadata()?.len();
        Ok(Self { path, file, size, limit: LIMIT })
    }

    /// The file, for messages of `hv` itself.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    fn begin_anew(&mut self) -> io::Result<()> {
        fs::rename(&self.path, old(&self.path))?;
        self.file = append(&self.path)?;
        self.size = 0;
        Ok(())
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.size >= self.limit {
            self.begin_anew()?;
        }
        let count = self.file.write(bytes)?;
        self.size = self.size.saturating_add(count as u64);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is in the log at `path` and in the old one before it, and the file, to be read on.
///
/// # Errors
/// There is no log.
pub(crate) fn read(path: &Path) -> io::Result<(Vec<u8>, File)> {
    let (mut file, mut bytes) = (File::open(path)?, Vec::new());
    // A new log may have begun since: then the old one is this file.
    if let Ok(old) = File::open(old(path))
        && old.metadata()?.ino() != file.metadata()?.ino()
    {
        old.take(2 * LIMIT).read_to_end(&mut bytes)?;
    }
    Read::by_ref(&mut file).take(2 * LIMIT).read_to_end(&mut bytes)?;
    Ok((bytes, file))
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

fn old(path: &Path) -> PathBuf {
    path.with_extension(OLD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_goes_on_and_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        LogFile::open(path.clone()).unwrap().write_all(b"one ").unwrap();
        let mut log = LogFile::open(path.clone()).unwrap();
        log.write_all(b"two ").unwrap();
        assert_eq!(read(&path).unwrap().0, b"one two ");
        log.limit = 8;
        log.write_all(b"three ").unwrap();
        assert_eq!(read(&path).unwrap().0, b"one two three ");
        log.write_all(b"four").unwrap();
        log.write_all(b"five").unwrap();
        assert_eq!(read(&path).unwrap().0, b"three fourfive");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn no_log_is_an_error() {
        assert!(read(Path::new("/nonexistent/log")).is_err());
    }
}
