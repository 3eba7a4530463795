//! Kernel modules.

use std::fs::File;

use rustix::{io::Errno, system::finit_module};

use crate::log::log;

/// Loads the modules at `paths`, in this order. One that fails need not be needed: the others are loaded all the same, and
/// the first failure is returned to explain what may fail later.
pub(super) fn load(paths: &[String]) -> Result<(), String> {
    let mut result = Ok(());
    for path in paths {
        let loaded = File::open(path).and_then(|file| match finit_module(file, c"", 0) {
            // It is there already.
            Err(Errno::EXIST) => Ok(()),
            loaded => Ok(loaded?),
        });
        if let Err(error) = loaded {
            let failure = format!("kernel module {path} cannot be loaded: {error}");
            log(&failure);
            result = result.and(Err(failure));
        }
    }
    result
}
