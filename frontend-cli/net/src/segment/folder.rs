//! `Folder`: where the members of a segment have their sockets; changed only under its lock.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use mio::net::UnixDatagram;
use rustix::process::geteuid;

use super::{LONGEST_NAME, MOST_MEMBERS};
use crate::{NetError, error};

/// The file that is locked; no member's name begins with a dot.
const LOCK: &str = ".lock";

/// Sockets that are looked at: more than members, as some may be stale.
const MOST_SOCKETS: usize = 4 * MOST_MEMBERS;

/// Whether `guest` can be a member's name: it names a file.
pub(super) fn is_name(guest: &str) -> bool {
    let is_letter = |letter: u8| letter.is_ascii_alphanumeric() || b"-_.".contains(&letter);
    (1..=LONGEST_NAME).contains(&guest.len()) && !guest.starts_with('.') && guest.bytes().all(is_letter)
}

/// Whether `error` says that nobody has the socket any more.
pub(super) fn is_over(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotConnected, NotFound};
    matches!(error.kind(), BrokenPipe | ConnectionRefused | ConnectionReset | NotConnected | NotFound)
}

/// A member's place in the folder, which it leaves when dropped.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    guest: String,
}

impl Folder {
    /// Makes the socket of `guest` in the folder `path`.
    pub(super) fn join(path: &Path, guest: &str) -> Result<(Self, UnixDatagram), NetError> {
        let fail = |reason: io::Error| NetError::Segment { folder: path.to_owned(), reason };
        let own = path.join(guest);
        error::check_length(&own)?;
        make_private(path)?;
        let file = lock_file(path).map_err(fail)?;
        file.lock().map_err(fail)?;
        let mut members = 0;
        for name in names(path) {
            let socket = path.join(&name);
            if !is_stale(&socket) {
                members += 1;
                if name == guest {
                    return Err(NetError::MemberExists { guest: name, folder: path.to_owned() });
                }
            } else if let Err(error) = fs::remove_file(&socket) {
                tracing::debug!("{} stays: {error}", socket.display());
            }
        }
        if members >= MOST_MEMBERS {
            return Err(NetError::SegmentFull { folder: path.to_owned(), limit: MOST_MEMBERS });
        }
        let socket = UnixDatagram::bind(&own).map_err(fail)?;
        Ok((Self { path: path.to_owned(), guest: guest.to_owned() }, socket))
    }

    /// The socket of member `name`.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The other members, some of which may be gone.
    pub(super) fn others(&self) -> Vec<String> {
        let mut names = names(&self.path);
        names.retain(|name| *name != self.guest);
        names
    }

    /// Removes the socket of `name` if nobody has it. Another process that is at it now does the same.
    pub(super) fn bury(&self, name: &str) {
        let Ok(file) = lock_file(&self.path) else { return };
        let socket = self.path(name);
        if file.try_lock().is_ok()
            && is_stale(&socket)
            && let Err(error) = fs::remove_file(&socket)
        {
            tracing::debug!("{} stays: {error}", socket.display());
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays is stale, and removed by the next who sees it.
        let _ = fs::remove_file(self.path(&self.guest));
    }
}

/// Makes the folder, or sees that it is this user's alone.
fn make_private(path: &Path) -> Result<(), NetError> {
    let fail = |reason: io::Error| NetError::Segment { folder: path.to_owned(), reason };
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(fail(error)),
        _ => {}
    }
    // A link could be somebody else's, and lead anywhere.
    let metadata = fs::symlink_metadata(path).map_err(fail)?;
    if metadata.is_dir() && metadata.uid() == geteuid().as_raw() && metadata.mode() & 0o077 == 0 {
        return Ok(());
    }
    Err(NetError::SegmentFolder { folder: path.to_owned() })
}

fn lock_file(folder: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(folder.join(LOCK))
}

/// The names of sockets in `folder`.
fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let sockets = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_socket()));
    let names = sockets.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| is_name(name)).take(MOST_SOCKETS).collect()
}

/// Whether nobody has the socket at `path` any more.
fn is_stale(path: &Path) -> bool {
    UnixDatagram::unbound()
        .and_then(|socket| socket.connect(path))
        .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}
