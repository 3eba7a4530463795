//! The sandbox of a guest's process: what the guest needs of this host once everything is opened.

use std::{
    path::{Path, PathBuf},
    process,
};

use anyhow::Context;
use hv_core::io::{ThreadKind, Threads};
use hv_sandbox::{Access, Hypervisor, Mode, Part, Place, Plan, Thread};
use serde::{Deserialize, Serialize};

use crate::{
    args::{Cable, RunArguments, Sandbox},
    doctor::{Finding, Verdict},
    exit_code::ExitCode,
    guests::Registration,
    message,
    network::Network,
    terminal,
};

/// The host's list of name servers.
const RESOLVER: &str = "/etc/resolv.conf";

/// What a guest's record says of its sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SandboxRecord {
    /// `on`, `log` or `off`.
    pub(crate) mode: String,
    /// What is in force.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) parts: Vec<String>,
    /// What this host does not have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) missing: Vec<String>,
}

/// What a sandbox is on this host.
pub(crate) fn describe(sandbox: Sandbox) -> SandboxRecord {
    let mode = match sandbox {
        Sandbox::On => "on",
        Sandbox::Log => "log",
        Sandbox::Off => return SandboxRecord { mode: "off".to_owned(), ..SandboxRecord::default() },
    };
    let parts = hv_sandbox::support();
    SandboxRecord {
        mode: mode.to_owned(),
        parts: parts.iter().map(|part| format!("{}: {}", part.name, part.has)).collect(),
        missing: parts.into_iter().filter_map(|part| part.lacks).collect(),
    }
}

/// What this host has of it.
pub(crate) fn examine() -> Vec<Finding> {
    hv_sandbox::support().into_iter().map(finding).collect()
}

fn finding(part: Part) -> Finding {
    let Part { name, has, lacks } = part;
    let verdict = match lacks {
        None => Verdict::Sound(format!("the sandbox's: {has}")),
        Some(what) => Verdict::Note { what, cure: "a newer kernel has all of it (Linux 6.12)".to_owned() },
    };
    Finding { subject: name, verdict }
}

/// Paths that are used once the doors are closed.
pub(crate) fn places(guest: Option<&Registration>, network: Option<&Network>) -> Vec<Place> {
    let mut places = guest.map(Registration::sandbox_places).unwrap_or_default();
    places.extend(network.into_iter().flat_map(Network::folders).map(|path| Place::new(path, Access::Own)));
    places.push(Place::new("/dev/null", Access::Write));
    places.push(Place::new("/proc/self", Access::Read));
    places.extend(name_servers(Path::new(RESOLVER)));
    places
}

/// The list of name servers. Who manages it most often puts another file in its place: in a folder of its own, which can be
/// read as well; in `/etc`, where much else is, the file alone can.
fn name_servers(path: &Path) -> Vec<Place> {
    let Ok(file) = path.canonicalize() else { return Vec::new() };
    let mut places = vec![Place::new(&file, Access::Read)];
    let is_own = |folder: &PathBuf| Some(folder.as_path()) != path.parent();
    let folder = file.parent().map(Path::to_owned).filter(is_own);
    places.extend(folder.map(|folder| Place::new(folder, Access::Read)));
    places
}

/// Closes the doors: this thread, which must be the only one, becomes the session's. What starts the machine's threads comes
/// back.
///
/// # Errors
/// The host refuses what it has.
pub(crate) fn close(
    arguments: &RunArguments,
    hypervisor: Hypervisor,
    places: Vec<Place>,
) -> anyhow::Result<Threads> {
    let mode = match arguments.sandbox {
        Sandbox::On => Mode::On,
        Sandbox::Log => Mode::Log,
        Sandbox::Off => return Ok(Threads::of_any_kind()),
    };
    let network = match arguments.network.net().cable {
        Cable::None => hv_sandbox::Network::None,
        Cable::User { segment: None, .. } => hv_sandbox::Network::User,
        Cable::User { segment: Some(_), .. } => hv_sandbox::Network::UserAndSegment,
        Cable::Tap(_) => hv_sandbox::Network::Tap,
        Cable::Socket(_) => hv_sandbox::Network::Socket,
        Cable::Vmnet(_) => hv_sandbox::Network::Vmnet,
    };
    let code = ExitCode::Forbidden as i32;
    let memory = arguments.memory;
    let plan = Plan { mode, hypervisor, memory, network, places, code, last: terminal::restore_at_once };
    // Asking takes calls that nobody needs afterwards.
    let missing = hv_sandbox::support().into_iter().filter_map(|part| part.lacks);
    missing.for_each(|what| tracing::info!("sandbox: {what}"));
    let sandbox = hv_sandbox::Sandbox::close(&plan)?;
    let own = sandbox.clone();
    let begin = move |kind| {
        let thread = match kind {
            ThreadKind::Core => Thread::Core,
            ThreadKind::Worker => Thread::Worker,
            ThreadKind::Network => Thread::Network,
            ThreadKind::Sockets => Thread::Sockets,
        };
        if let Err(error) = sandbox.begin(thread) {
            message::line(&error.to_string());
            process::exit(ExitCode::Failed as i32);
        }
    };
    let threads = Threads::new(begin).context("cannot start a thread")?;
    own.begin(Thread::Session)?;
    Ok(threads)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn a_list_of_name_servers_opens_no_folder_of_others() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let [etc, run] = ["etc", "run"].map(|name| root.join(name));
        fs::create_dir(&etc).unwrap();
        fs::create_dir(&run).unwrap();
        let path = etc.join("resolv.conf");
        assert_eq!(name_servers(&path), []);
        fs::write(&path, "").unwrap();
        assert_eq!(name_servers(&path), [Place::new(&path, Access::Read)]);
        fs::remove_file(&path).unwrap();
        fs::write(run.join("resolv.conf"), "").unwrap();
        symlink("../run/resolv.conf", &path).unwrap();
        let expected = [Place::new(run.join("resolv.conf"), Access::Read), Place::new(&run, Access::Read)];
        assert_eq!(name_servers(&path), expected);
    }

    #[test]
    fn no_sandbox_has_no_parts() {
        let off = describe(Sandbox::Off);
        assert!(off.mode == "off" && off.parts.is_empty() && off.missing.is_empty());
        assert_eq!(describe(Sandbox::On).mode, "on");
        assert!(!describe(Sandbox::On).parts.is_empty());
    }
}
