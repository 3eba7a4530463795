//! `Registration`: a guest's name and folders, for as long as its process lives.

use std::{
    fs::{self, File},
    io,
    os::unix::{ffi::OsStrExt, net::UnixListener},
    path::{Path, PathBuf},
    process,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use hv_agent_protocol::Start;
use hv_control::{ConsoleTap, Handle, Server};
use hv_sandbox::{Access, Place};

use super::{
    CONTROL_SOCKET, End, LAYER, LOG, LogFile, PID, PROCESS, Places, Record, VSOCK_SOCKET, listing,
    lock::{self, Changing},
    name, record_in,
};
use crate::folders;

/// How often another name is made up before giving up.
const TRIES: u32 = 100;
/// How long consoles that are looked at may take to show the last words.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What a new guest asks for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wish<'a> {
    /// A name; one is made up if there is none.
    pub(crate) name: Option<&'a str>,
    /// It stays listed when it has ended.
    pub(crate) keep: bool,
    /// What it shows goes into a file.
    pub(crate) log: bool,
    /// What it is made from, if that is an image.
    pub(crate) image: Option<&'a str>,
}

/// A guest that other processes of this user find by its name. Dropping it takes it off the list.
#[derive(Debug)]
pub(crate) struct Registration {
    places: Places,
    name: String,
    folder: PathBuf,
    kept: Option<Kept>,
    record: Record,
    /// The record is that of this run, and written.
    is_described: bool,
    /// The control socket, until somebody answers on it.
    listener: Option<UnixListener>,
    server: Option<(Server, ConsoleTap)>,
    /// Locked until the guest is off the list.
    lock: Option<File>,
}

/// The folder of a guest that is kept.
#[derive(Debug)]
struct Kept {
    folder: PathBuf,
    /// It was made for this run, and nothing is in it yet.
    is_new: bool,
    /// Locked until the process ends: a process with another runtime folder must not use it at the same time.
    _lock: File,
}

impl Registration {
    /// Takes a name, and makes the guest's folders.
    ///
    /// # Errors
    /// The name is in use, or a folder cannot be made; one line.
    pub(crate) fn create(places: &Places, wish: Wish<'_>) -> anyhow::Result<Self> {
        let changing = Changing::begin(&places.runtime)?;
        let name = match wish.name {
            Some(name) => name.to_owned(),
            None => unused(places)?,
        };
        let folder = places.running(&name);
        check_length(&folder, &name)?;
        listing::clean(places, &name, &changing)?;
        if folder.exists() {
            bail!("a guest named {name} runs already; use another --name, or `hv stop {name}` first");
        }
        let kept = wish.keep.then(|| Kept::claim(places, &name, wish.image)).transpose()?;
        folders::make_private(&folder)?;
        let made = lock::take(&folder).and_then(|lock| {
            fs::write(folder.join(PID), format!("{}\n", process::id()))?;
            lock.ok_or_else(|| io::ErrorKind::WouldBlock.into())
        });
        let lock = match made {
            Ok(lock) => lock,
            Err(error) => {
                let _ = fs::remove_dir_all(&folder);
                bail!("files in {} cannot be written: {error}", folder.display());
            }
        };
        let record = Record {
            name: name.clone(),
            image: wish.image.map(str::to_owned),
            kept: wish.keep,
            logged: wish.log,
            pid: process::id(),
            created: super::record::now(),
            ..Record::default()
        };
        Ok(Self {
            places: places.clone(),
            name,
            folder,
            kept,
            record,
            is_described: false,
            listener: None,
            server: None,
            lock: Some(lock),
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The folder of what goes with the guest's process.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Paths that are needed to change the list and to keep this guest's records.
    pub(crate) fn sandbox_places(&self) -> Vec<Place> {
        let mut places = lock::sandbox_places(&self.places.runtime);
        places.push(Place::new(&self.folder, Access::Own));
        if let Some(kept) = self.kept() {
            places.push(Place::new(kept, Access::Own));
            places.extend(kept.parent().map(|parent| Place::new(parent, Access::RemoveFolders)));
        }
        places
    }

    /// Makes the guest's vsock socket.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn vsock_listener(&self) -> anyhow::Result<UnixListener> {
        let path = self.folder.join(VSOCK_SOCKET);
        folders::private_socket(&path)
            .with_context(|| format!("vsock socket {} cannot be made", path.display()))
    }

    /// Makes the control socket; who connects waits until [`serve`](Self::serve).
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn listen(&mut self) -> anyhow::Result<()> {
        let path = self.folder.join(CONTROL_SOCKET);
        let listener = folders::private_socket(&path);
        self.listener =
            Some(listener.with_context(|| format!("control socket {} cannot be made", path.display()))?);
        Ok(())
    }

    /// Writes down how the guest's command runs, for the commands that are run beside it.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn set_process(&self, start: &Start) -> anyhow::Result<()> {
        let path = self.folder.join(PROCESS);
        let text = serde_json::to_vec(start)?;
        fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))
    }

    /// The folder of what stays when the guest has ended; nothing for a guest that is thrown away.
    pub(crate) fn kept(&self) -> Option<&Path> {
        self.kept.as_ref().map(|kept| kept.folder.as_path())
    }

    /// The image of what a guest that is kept has written; nothing for a guest that is thrown away. It need not be there.
    pub(crate) fn layer(&self) -> Option<PathBuf> {
        self.kept().map(|folder| folder.join(LAYER))
    }

    /// Opens the file for what the guest shows, if it is to have one.
    pub(crate) fn open_log(&self) -> anyhow::Result<Option<LogFile>> {
        if !self.record.logged {
            return Ok(None);
        }
        let path = self.kept().unwrap_or(&self.folder).join(LOG);
        let shown = path.display().to_string();
        LogFile::open(path).map(Some).with_context(|| format!("log {shown} cannot be written"))
    }

    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    /// Writes down what the guest is made of; `fill` sets what is known by now.
    ///
    /// # Errors
    /// A record cannot be written.
    pub(crate) fn describe(&mut self, fill: impl FnOnce(&mut Record)) -> anyhow::Result<()> {
        fill(&mut self.record);
        self.write_record().with_context(|| format!("guest {} cannot be recorded", self.name))?;
        self.is_described = true;
        Ok(())
    }

    fn write_record(&mut self) -> io::Result<()> {
        if let Some(kept) = &mut self.kept {
            self.record.write(&kept.folder, true)?;
            kept.is_new = false;
        }
        self.record.write(&self.folder, false)
    }

    /// From now on other processes may ask and tell the guest, through `handle`, if its control socket was made.
    ///
    /// # Errors
    /// There can be no thread for it.
    pub(crate) fn serve(&mut self, handle: Arc<dyn Handle>) -> anyhow::Result<()> {
        let Some(listener) = self.listener.take() else { return Ok(()) };
        let tap = handle.tap().clone();
        let server = hv_control::serve(listener, handle).context("the control socket cannot be served")?;
        self.server = Some((server, tap));
        Ok(())
    }

    /// Tells everybody who waits that the guest has ended with this exit code, and takes it off the list.
    pub(crate) fn end(mut self, code: u8) {
        // A run that failed before leaves the record of the last one as it is.
        if self.is_described && self.kept.is_some() {
            self.record.ended = Some(End::now(Some(code)));
            if let Err(error) = self.write_record() {
                tracing::warn!("the end of guest {} cannot be recorded: {error}", self.name);
            }
        }
        if let Some((server, tap)) = &self.server {
            tap.finish(LAST_WORDS);
            server.end(code);
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let changing = Changing::begin(&self.places.runtime);
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            tracing::debug!("{} cannot be removed: {error}", self.folder.display());
        }
        if let Some(kept) = self.kept.as_ref().filter(|kept| kept.is_new) {
            let _ = fs::remove_dir_all(&kept.folder);
        }
        // Who changes the list next finds neither files nor locks.
        self.kept = None;
        self.lock = None;
        drop(changing);
    }
}

impl Kept {
    fn claim(places: &Places, name: &str, image: Option<&str>) -> anyhow::Result<Self> {
        let Some(folder) = places.kept(name) else {
            bail!("a guest that is kept needs a home: set HOME or XDG_DATA_HOME, or use --rm");
        };
        let is_new = record_in(&folder).is_none();
        folders::make_all(&folder)?;
        let lock = lock::take(&folder).with_context(|| format!("{} cannot be locked", folder.display()))?;
        let Some(lock) = lock else {
            bail!(
                "a guest named {name} runs already, in a session with another XDG_RUNTIME_DIR; use another --name"
            );
        };
        if let Some(record) = record_in(&folder)
            && record.image.as_deref() != image
        {
            let was = record.source();
            bail!(
                "a guest named {name} is kept, made from {was}; `hv rm {name}` first, or use another --name"
            );
        }
        Ok(Self { folder, is_new, _lock: lock })
    }
}

/// A name that no guest has.
fn unused(places: &Places) -> anyhow::Result<String> {
    for _ in 0..TRIES {
        let name = name::friendly(getrandom::u64().context("the host gives no random numbers")?);
        let is_kept = places.kept(&name).is_some_and(|folder| folder.exists());
        if !is_kept && !places.running(&name).exists() {
            return Ok(name);
        }
    }
    bail!("no free name was found; name the guest: --name NAME")
}

/// Paths of sockets are short.
fn check_length(folder: &Path, name: &str) -> anyhow::Result<()> {
    let length = folder.join(CONTROL_SOCKET).as_os_str().as_bytes().len();
    let Some(excess) = length.checked_sub(folders::SOCKET_PATH_LIMIT).filter(|excess| *excess > 0) else {
        return Ok(());
    };
    match name.len().checked_sub(excess).filter(|left| *left > 0) {
        Some(most) => bail!(
            "the name {name} is too long for a socket in {}; use at most {most} characters, or set XDG_RUNTIME_DIR \
             to a shorter path",
            folder.parent().unwrap_or(folder).display()
        ),
        None => bail!(
            "the path {} is too long for a socket; set XDG_RUNTIME_DIR to a shorter path",
            folder.display()
        ),
    }
}

#[cfg(test)]
mod tests;
