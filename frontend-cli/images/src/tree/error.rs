//! Why a tree refuses an entry.

use thiserror::Error;

/// Why a tree refuses an entry. Names are shown with escapes, and shortened.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// A part of a path is empty, `.`, `..`, longer than 255 bytes, or has a `/` or a NUL in it.
    #[error("`{0}` has a part that cannot be a file's name")]
    Name(String),
    /// More directories below one another than [`super::MOST_DEPTH`].
    #[error("`{0}` is too deep: more than {most} directories", most = super::MOST_DEPTH)]
    Depth(String),
    /// A part of the path that is not the last is neither a directory nor a link to one.
    #[error("`{0}` goes through a file that is no directory")]
    NotADirectory(String),
    /// More symbolic links than [`super::MOST_LINKS`].
    #[error("`{0}` goes through more than {most} symbolic links", most = super::MOST_LINKS)]
    Links(String),
    /// A hard link to nothing.
    #[error("a hard link to `{0}`, which is not there")]
    NoTarget(String),
    /// A hard link to a directory.
    #[error("a hard link to `{0}`, which is a directory")]
    LinkToDirectory(String),
    /// The root cannot be removed, linked, or anything but a directory.
    #[error("the root can only be a directory")]
    Root,
    /// An attribute or a kind that no Linux file system could keep.
    #[error("`{path}`: {what}")]
    Attribute {
        /// The path.
        path: String,
        /// What is wrong, with the value.
        what: String,
    },
    /// More names than the tree takes.
    #[error("more than {0} files")]
    Entries(usize),
    /// More bytes of names, targets and attributes than [`super::MOST_HELD`].
    #[error("the names and attributes of all files take more than {most} MiB", most = super::MOST_HELD >> 20)]
    Held,
}

/// The most letters of a path that a message shows.
const MOST_SHOWN: usize = 200;

/// A path for a message: one line, whatever its bytes are.
pub(super) fn shown(path: &[&[u8]]) -> String {
    let mut text = String::new();
    for part in path {
        if !text.is_empty() {
            text.push('/');
        }
        text.extend(part.iter().take(MOST_SHOWN).flat_map(|byte| byte.escape_ascii()).map(char::from));
        if text.len() > MOST_SHOWN {
            text.truncate(MOST_SHOWN);
            text.push_str("...");
            break;
        }
    }
    text
}
