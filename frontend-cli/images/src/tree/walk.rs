//! From a path to a place in the tree, with symbolic links that lead nowhere outside the root.

use super::{Error, Kind, MOST_DEPTH, MOST_LINKS, MOST_NAME, NodeId, Tree, error::shown};

/// The parts of an archive's `path`. Leading and doubled `/` and parts that are `.` are left out; `..` is refused.
pub fn components(path: &[u8]) -> Result<Vec<&[u8]>, Error> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    let parts: Vec<_> = parts.collect();
    check(&parts)?;
    Ok(parts)
}

/// Refuses parts that are no names, and paths that are too deep.
pub(super) fn check(path: &[&[u8]]) -> Result<(), Error> {
    if path.len() > MOST_DEPTH {
        return Err(Error::Depth(shown(path)));
    }
    if path.iter().all(|part| is_name(part)) { Ok(()) } else { Err(Error::Name(shown(path))) }
}

fn is_name(part: &[u8]) -> bool {
    !matches!(part, b"" | b"." | b"..")
        && part.len() <= MOST_NAME
        && !part.iter().any(|byte| matches!(byte, b'/' | 0))
}

/// Where a path leads.
#[derive(Debug)]
pub(super) struct Place {
    /// The directories from the root to the last one that is there.
    pub(super) directories: Vec<NodeId>,
    /// The last file that is there: the last of the directories, or what the whole path leads to.
    pub(super) node: NodeId,
    /// Names of what is not there, one below the other.
    pub(super) missing: Vec<Box<[u8]>>,
}

impl Tree {
    /// Follows `path` and every symbolic link on it, also the last. `..` in a target stops at the root; what is below a
    /// missing directory is missing.
    pub(super) fn walk(&self, path: &[&[u8]]) -> Result<Place, Error> {
        check(path)?;
        let mut ahead: Vec<&[u8]> = path.iter().rev().copied().collect();
        let mut directories = vec![Self::ROOT];
        let mut missing: Vec<&[u8]> = Vec::new();
        let mut links = 0;
        let mut file = None;
        while let Some(part) = ahead.pop() {
            match part {
                b"" | b"." => continue,
                b".." => {
                    if missing.pop().is_none() && directories.len() > 1 {
                        directories.pop();
                    }
                    continue;
                }
                _ => {}
            }
            let here = directories.last().copied().unwrap_or(Self::ROOT);
            let found = if missing.is_empty() { self.child(here, part) } else { None };
            match found.map(|node| (node, self.kind(node))) {
                None if is_name(part) => missing.push(part),
                None => return Err(Error::Name(shown(path))),
                Some((node, Kind::Directory)) => directories.push(node),
                Some((_, Kind::Symlink(target))) => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(Error::Links(shown(path)));
                    }
                    if target.starts_with(b"/") {
                        directories.truncate(1);
                    }
                    ahead.extend(target.rsplit(|byte| *byte == b'/'));
                }
                Some((node, _)) if ahead.iter().all(|part| part.is_empty()) => file = Some(node),
                Some(_) => return Err(Error::NotADirectory(shown(path))),
            }
            if directories.len() + missing.len() > MOST_DEPTH {
                return Err(Error::Depth(shown(path)));
            }
        }
        let node = file.or(directories.last().copied()).unwrap_or(Self::ROOT);
        let missing = missing.into_iter().map(Box::from).collect();
        Ok(Place { directories, node, missing })
    }
}
