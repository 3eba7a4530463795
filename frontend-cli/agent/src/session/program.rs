//! Finds a program as a shell does.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::command::Failure;

/// The file of `program`: a path from `directory` if it has a `/`, else the first in `search`, the value of `PATH`.
pub(super) fn find(program: &str, search: &str, directory: &Path) -> Result<PathBuf, Failure> {
    if program.contains('/') {
        return executable(&directory.join(program), program);
    }
    let mut failure = None;
    for folder in search.split(':').filter(|_| !program.is_empty()) {
        match executable(&directory.join(folder).join(program), program) {
            Ok(path) => return Ok(path),
            Err(other) if other.code != Failure::NOT_FOUND => failure = failure.or(Some(other)),
            Err(_) => {}
        }
    }
    Err(failure.unwrap_or_else(|| Failure {
        code: Failure::NOT_FOUND,
        reason: format!("{program:?} was not found in the guest's PATH ({search})"),
    }))
}

fn executable(path: &Path, program: &str) -> Result<PathBuf, Failure> {
    let metadata = fs::metadata(path).map_err(|error| Failure::of(&error, program))?;
    if metadata.is_dir() {
        return Err(Failure::cannot(format!("{program:?} is a folder")));
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err(Failure::cannot(format!("{program:?} is not executable")));
    }
    Ok(path.to_path_buf())
}
