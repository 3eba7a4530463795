//! Guests by name: their folders, their records, and how they are found.
//!
//! A running guest has a folder below the runtime folder, whose file `lock` its process holds locked: when the process
//! is gone, however it went, the lock is free. A guest that is kept has a folder below the data folder as well. What
//! changes which guests there are is done under one lock for all, so that two `hv` never see half of it.

mod listing;
mod lock;
mod log;
mod name;
mod record;
mod registration;
pub(crate) mod vsock;

pub(crate) use listing::{Guest, Guests, Life};
pub(crate) use log::{LogFile, read as read_log};
pub(crate) use name::check as check_name;
pub(crate) use record::{End, Record, now};
pub(crate) use registration::{Registration, Wish};

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use hv_control::Handle;

use crate::{args::RunArguments, folders};

/// Names of files in a guest's folders.
const CONTROL_SOCKET: &str = "control.sock";
const VSOCK_SOCKET: &str = "vsock.sock";
const LOCK: &str = "lock";
const PID: &str = "pid";
const RECORD: &str = "guest.json";
const LOG: &str = "log";
/// How commands run in the guest if they are not told otherwise, for guests from images.
const PROCESS: &str = "process.json";
const LAYER: &str = "upper.img";

/// Where guests are.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// A folder for each running guest.
    pub(crate) runtime: PathBuf,
    /// A folder for each guest that is kept; nothing where there is no home to keep them in.
    pub(crate) kept: Option<PathBuf>,
}

impl Places {
    /// Those of this user.
    ///
    /// # Errors
    /// There can be no runtime folder.
    pub(crate) fn of_this_user() -> anyhow::Result<Self> {
        let kept = folders::data().ok().map(|data| data.join("guests"));
        Ok(Self { runtime: folders::runtime()?, kept })
    }

    fn running(&self, name: &str) -> PathBuf {
        self.runtime.join(name)
    }

    fn kept(&self, name: &str) -> Option<PathBuf> {
        self.kept.as_ref().map(|folder| folder.join(name))
    }
}

/// Gives the guest that `arguments` ask for a name and folders. One that nobody named does without where there can be
/// none.
///
/// # Errors
/// The name is in use, or a folder cannot be made.
pub(crate) fn register(arguments: &RunArguments) -> anyhow::Result<Option<Registration>> {
    let made = Places::of_this_user().and_then(|places| Registration::create(&places, arguments.wish()));
    or_without(arguments, made.map(Some))
}

/// Makes the guest's control socket. One that nobody named does without where there can be none.
///
/// # Errors
/// There can be no socket.
pub(crate) fn listen(arguments: &RunArguments, guest: &mut Registration) -> anyhow::Result<()> {
    or_without(arguments, guest.listen())
}

/// Lets other processes ask and tell the guest. One that nobody named does without where that cannot be.
///
/// # Errors
/// There can be no thread.
pub(crate) fn serve(
    arguments: &RunArguments,
    guest: &mut Registration,
    handle: Arc<dyn Handle>,
) -> anyhow::Result<()> {
    or_without(arguments, guest.serve(handle))
}

fn or_without<T: Default>(arguments: &RunArguments, made: anyhow::Result<T>) -> anyhow::Result<T> {
    match made {
        Err(error) if !arguments.guest.needs_name() => {
            tracing::debug!("other processes will not find this guest: {error:#}");
            Ok(T::default())
        }
        made => made,
    }
}

/// The record in a guest's folder; nothing where there is none that can be read.
fn record_in(folder: &Path) -> Option<Record> {
    Record::read(&folder.join(RECORD)).ok()
}
