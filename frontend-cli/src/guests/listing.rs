//! Which guests there are; what dead ones left behind is cleaned on the way.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, bail};
use hv_agent_protocol::Start;
use hv_control::Client;

use super::{
    CONTROL_SOCKET, End, LOCK, LOG, PID, PROCESS, Places, RECORD, Record, VSOCK_SOCKET,
    lock::{self, Changing},
    name, record_in,
};
use crate::attended;

/// How often it is looked whether a process that ends is gone.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The most bytes of how a command runs: a message of the agent's is shorter.
const PROCESS_LIMIT: u64 = 1 << 20;

/// All guests of this user.
#[derive(Debug)]
pub(crate) struct Guests {
    places: Places,
    guests: BTreeMap<String, Guest>,
}

/// A guest that runs or is kept.
#[derive(Debug, Clone)]
pub(crate) struct Guest {
    pub(crate) name: String,
    pub(crate) life: Life,
    /// What it was made of; nothing while it is made ready.
    pub(crate) record: Record,
    running: PathBuf,
    kept: Option<PathBuf>,
}

/// Whether a guest's process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// It does.
    Running,
    /// It does, and its runtime folder is another one than this process's.
    Elsewhere,
    /// It does not; the guest is kept.
    Stopped,
}

impl Guests {
    /// Looks for all guests.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub(crate) fn find_all(places: &Places) -> anyhow::Result<Self> {
        let changing = Changing::begin(&places.runtime)?;
        attended::clean(&places.runtime);
        let mut guests = BTreeMap::new();
        for name in names_in(&places.runtime)? {
            clean(places, &name, &changing)?;
            let running = places.running(&name);
            if running.exists() {
                let record = record_in(&running).unwrap_or_else(|| starting(&name));
                let kept = places.kept(&name).filter(|_| record.kept);
                guests.insert(name.clone(), Guest { name, life: Life::Running, record, running, kept });
            }
        }
        for name in places.kept.as_deref().map_or_else(|| Ok(Vec::new()), names_in)? {
            let Some(folder) = places.kept(&name).filter(|_| !guests.contains_key(&name)) else { continue };
            let life = if lock::is_held(&folder) { Life::Elsewhere } else { Life::Stopped };
            let Some(mut record) = record_in(&folder) else {
                if life == Life::Stopped {
                    remove_unborn(&folder);
                }
                continue;
            };
            if life == Life::Stopped && record.ended.is_none() {
                record.ended = Some(note_death(&folder, &record));
            }
            let guest = Guest { running: places.running(&name), name, life, record, kept: Some(folder) };
            guests.insert(guest.name.clone(), guest);
        }
        drop(changing);
        Ok(Self { places: places.clone(), guests })
    }

    /// All of them, in the order of names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Guest> {
        self.guests.values()
    }

    /// The guest of this name.
    ///
    /// # Errors
    /// There is none; the nearest names.
    pub(crate) fn named(&self, name: &str) -> anyhow::Result<&Guest> {
        if let Some(guest) = self.guests.get(name) {
            return Ok(guest);
        }
        let shown: String = name.chars().take(80).collect();
        match name::nearest(&shown, self.guests.keys().map(String::as_str)).as_slice() {
            [] => bail!("there is no guest named {shown}; `hv ps -a` shows all"),
            near => bail!("there is no guest named {shown}; did you mean {}?", near.join(" or ")),
        }
    }

    /// The guest of this name, which runs.
    ///
    /// # Errors
    /// There is none, or it does not run.
    pub(crate) fn running(&self, name: &str) -> anyhow::Result<&Guest> {
        let guest = self.named(name)?;
        match guest.life {
            Life::Running => Ok(guest),
            Life::Elsewhere => Err(guest.out_of_reach()),
            Life::Stopped => bail!("guest {name} does not run; start it with `hv run --name {name} ...`"),
        }
    }

    /// Forgets a guest that is kept and does not run.
    ///
    /// # Errors
    /// It runs, or its files cannot be removed.
    pub(crate) fn remove(&self, name: &str) -> anyhow::Result<()> {
        let _changing = Changing::begin(&self.places.runtime)?;
        let Some(folder) = self.places.kept(name).filter(|folder| folder.exists()) else { return Ok(()) };
        // Held until the folder is gone.
        let Some(_lock) = lock::take(&folder)? else {
            bail!("guest {name} runs; `hv stop {name}` first, or use `hv rm -f {name}`");
        };
        fs::remove_dir_all(&folder).with_context(|| format!("{} cannot be removed", folder.display()))
    }
}

impl Guest {
    /// Why a guest that runs elsewhere cannot be spoken with.
    pub(crate) fn out_of_reach(&self) -> anyhow::Error {
        anyhow!("guest {} runs in a session with another XDG_RUNTIME_DIR; use that session", self.name)
    }

    /// A connection to the guest's process.
    ///
    /// # Errors
    /// The process does not listen: it starts, or has just ended.
    pub(crate) fn control(&self) -> anyhow::Result<Client> {
        let client = Client::connect(&self.running.join(CONTROL_SOCKET));
        client.with_context(|| format!("guest {} starts or ends just now; try again", self.name))
    }

    /// The socket of the guest's vsock device.
    pub(crate) fn vsock_socket(&self) -> PathBuf {
        self.running.join(VSOCK_SOCKET)
    }

    /// How the guest's own command runs; nothing for a guest that is not from an image.
    pub(crate) fn process(&self) -> Option<Start> {
        let mut text = Vec::new();
        File::open(self.running.join(PROCESS)).ok()?.take(PROCESS_LIMIT).read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// The file with what the guest showed; nothing for a guest without one.
    pub(crate) fn log(&self) -> Option<PathBuf> {
        self.record.logged.then(|| self.kept.as_ref().unwrap_or(&self.running).join(LOG))
    }

    /// Whether the guest's process lives, now.
    pub(crate) fn is_alive(&self) -> bool {
        lock::is_held(&self.running)
    }

    /// Waits until the guest's process is gone, or the time is over; says whether it is.
    pub(crate) fn wait_until_gone(&self, patience: Duration) -> bool {
        let start = Instant::now();
        while self.is_alive() {
            if start.elapsed() >= patience {
                return false;
            }
            thread::sleep(LOOK_AGAIN);
        }
        true
    }

    /// The process that runs the guest, as itself wrote down.
    pub(crate) fn pid(&self) -> Option<i32> {
        let mut text = String::new();
        File::open(self.running.join(PID)).ok()?.take(16).read_to_string(&mut text).ok()?;
        text.trim().parse().ok()
    }

    /// How the guest that ran has ended by now, if it is kept.
    pub(crate) fn end(&self) -> Option<End> {
        self.kept.as_deref().and_then(record_in).and_then(|record| record.ended)
    }
}

/// Removes what the guest of this name left in the runtime folder, if its process is dead, and notes the death.
pub(super) fn clean(places: &Places, name: &str, _: &Changing) -> anyhow::Result<()> {
    let folder = places.running(name);
    if !folder.exists() || lock::is_held(&folder) {
        return Ok(());
    }
    if let Some(kept) = places.kept(name)
        && let Some(record) = record_in(&kept)
        && record.ended.is_none()
        && !lock::is_held(&kept)
    {
        note_death(&kept, &record);
    }
    tracing::debug!("guest {name} is dead; its folder {} is removed", folder.display());
    fs::remove_dir_all(&folder).with_context(|| {
        format!("guest {name} is dead, and its folder {} cannot be removed", folder.display())
    })
}

/// Writes down that the process of a guest that is kept was ended by others.
fn note_death(folder: &Path, record: &Record) -> End {
    let end = End::now(None);
    let record = Record { ended: Some(end), ..record.clone() };
    if let Err(error) = record.write(folder, true) {
        tracing::debug!("{} cannot be recorded: {error}", record.name);
    }
    end
}

/// Removes the folder of a guest that is kept if its process died before there was a record: nothing has run in it yet, and
/// it keeps the image's root. A folder that no process has locked yet is none of ours.
fn remove_unborn(folder: &Path) {
    if !folder.join(LOCK).exists() {
        return;
    }
    let Ok(Some(_lock)) = lock::take(folder) else { return };
    if folder.join(RECORD).exists() {
        return;
    }
    if let Err(error) = fs::remove_dir_all(folder) {
        tracing::debug!("{} is of no guest, and cannot be removed: {error}", folder.display());
    }
}

/// A guest whose record is not written yet.
fn starting(name: &str) -> Record {
    Record { name: name.to_owned(), ..Record::default() }
}

/// The entries of a folder that are guests' names; none where there is no folder.
fn names_in(folder: &Path) -> anyhow::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("folder {} cannot be read", folder.display()))?,
    };
    let names = entries.filter_map(Result::ok).map(|entry| entry.file_name()).map(OsString::into_string);
    Ok(names.filter_map(Result::ok).filter(|entry| name::check(entry).is_ok()).collect())
}
