//! Memory that runs out, for `hv` in a control group of its own.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use hv_boot_tests::{
    Guest,
    images::{Home, said},
};
use rustix::process::Signal;

use super::{told, until};

/// A control group whose processes get no more memory than that. It goes when it is dropped, and its processes with it.
struct Group {
    folder: PathBuf,
    mounted: Option<tempfile::TempDir>,
    /// The file that counts how often somebody was killed for want of memory.
    kills: PathBuf,
}

impl Group {
    /// In the hierarchy of version 2 that is mounted, or else of version 1, or else in one of version 2 of its own.
    fn new(limit: u64) -> Result<Self> {
        for (root, is_new) in
            [("/sys/fs/cgroup", true), ("/sys/fs/cgroup/unified", true), ("/sys/fs/cgroup/memory", false)]
        {
            let root = Path::new(root);
            if !is_new && root.join("memory.limit_in_bytes").exists() {
                return Self::in_version_1(root, limit);
            }
            if is_new && has_memory(root) {
                return Self::in_version_2(root, None, limit);
            }
        }
        let own = tempfile::tempdir()?;
        said(Command::new("mount").args(["-t", "cgroup2", "none"]).arg(own.path()), b"")?.code(0)?;
        let root = own.path().to_owned();
        ensure!(has_memory(&root), "control groups here do not limit memory");
        Self::in_version_2(&root, Some(own), limit)
    }

    fn in_version_1(root: &Path, limit: u64) -> Result<Self> {
        let folder = root.join(name());
        fs::create_dir(&folder)?;
        let group = Self { kills: folder.join("memory.oom_control"), folder, mounted: None };
        fs::write(group.folder.join("memory.limit_in_bytes"), limit.to_string())?;
        Ok(group)
    }

    fn in_version_2(root: &Path, mounted: Option<tempfile::TempDir>, limit: u64) -> Result<Self> {
        fs::write(root.join("cgroup.subtree_control"), "+memory")?;
        let folder = root.join(name());
        fs::create_dir(&folder)?;
        let group = Self { kills: folder.join("memory.events"), folder, mounted };
        fs::write(group.folder.join("memory.max"), limit.to_string())?;
        // Its pages go nowhere else.
        let _ = fs::write(group.folder.join("memory.swap.max"), "0");
        Ok(group)
    }

    /// `command`, in this group.
    fn holds(&self, command: &Command) -> Command {
        let mut held = Command::new("sh");
        held.args(["-c", "echo $$ >\"$0/cgroup.procs\" && exec \"$@\""]).arg(&self.folder);
        held.arg(command.get_program()).args(command.get_args());
        held.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        held
    }

    fn kills(&self) -> Result<u64> {
        let text = fs::read_to_string(&self.kills)?;
        let count = text
            .lines()
            .find_map(|line| line.strip_prefix("oom_kill "))
            .context("it does not count kills")?;
        Ok(count.trim().parse()?)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let processes = fs::read_to_string(self.folder.join("cgroup.procs")).unwrap_or_default();
        for pid in processes.lines().filter_map(|line| line.parse().ok()) {
            let _ = super::send(pid, Signal::KILL);
        }
        let start = Instant::now();
        while fs::remove_dir(&self.folder).is_err_and(|error| error.kind() != io::ErrorKind::NotFound)
            && start.elapsed() < Duration::from_secs(5)
        {
            thread::sleep(Duration::from_millis(20));
        }
        if let Some(mounted) = &self.mounted {
            let _ = said(Command::new("umount").arg(mounted.path()), b"");
        }
    }
}

fn name() -> String {
    format!("hv-faults-{}", std::process::id())
}

fn has_memory(root: &Path) -> bool {
    let controllers = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
    controllers.split_whitespace().any(|controller| controller == "memory")
}

/// Why no control group can be had.
pub(super) fn why_not() -> Option<String> {
    let group = Group::new(64 << 20);
    group.err().map(|error| format!("there can be no control group that limits memory: {error:#}"))
}

/// What `hv` needs on each host, with a guest of 384 MiB that uses a part of them.
const NEEDS: u64 = 300 << 20;

/// Shows that a guest whose process cannot have more memory reads and writes far more than that, correctly.
pub(super) fn little_memory_is_borne(home: &Home) -> Result<()> {
    let group = Group::new(NEEDS)?;
    let folder = tempfile::tempdir()?;
    let disk = folder.path().join("disk");
    fs::File::create(&disk)?.set_len(512 << 20)?;
    let option = format!("{},serial=large", disk.display());
    // Twice what the group may have passes through the host's cache.
    let script = "dd if=/dev/urandom of=/dev/shm/part bs=1M count=8 2>/dev/null
        for serial in /sys/block/*/serial; do [ \"$(cat $serial)\" != large ] || disk=${serial%/serial}; done
        disk=/dev/${disk##*/}
        i=0; while [ $i -lt 64 ]; do cat /dev/shm/part; i=$((i+1)); done | dd of=$disk bs=1M iflag=fullblock oflag=direct conv=fsync 2>/dev/null || exit 9
        dd if=$disk bs=1M iflag=direct 2>/dev/null | sha256sum";
    let run = home.run_script(&["--rm", "--name", "pressed", "--disk", &option], script);
    let ran = said(&mut group.holds(&run), b"")?.code(0)?;
    let hash = super::sha256(&disk)?;
    ensure!(ran.text().starts_with(&hash), "the file has {hash}, and the guest read {}", ran.text());
    ensure!(group.kills()? == 0, "somebody was killed");
    told(&format!(
        "a guest in a control group of {} MiB: 512 MiB written and read again, by hash",
        NEEDS >> 20
    ));
    Ok(())
}

/// Shows that a guest that uses more memory than there is takes no other along, and loses nothing that was durable.
pub(super) fn a_guest_without_memory_ends_alone(home: &Home) -> Result<()> {
    let group = Group::new(NEEDS)?;
    super::sleeper(home, "bystander", &["--rm"])?;
    let script = "echo durable >/root/file; sync; echo synced
        mount -o remount,size=2G /dev/shm; dd if=/dev/zero of=/dev/shm/file bs=1M count=1500; echo all of it; exit 3";
    let mut run = home.run_with("2G", &["--name", "greedy"]);
    run.args(["debian", "--", "sh", "-c", script]);
    let mut guest = Guest::spawn(group.holds(&run))?;
    guest.wait_for("synced")?;
    let ended = guest.wait()?;
    ensure!(ended.status.code().is_none() && group.kills()? > 0, "it was not killed: {ended:?}");
    until("no process is left but the other guest's", || Ok(home.processes()?.len() == 1))?;
    home.say(&mut home.exec_in("bystander", &[], &["true"]))?.code(0)?;
    super::end(home, "bystander")?;
    let listed = home.listed("greedy")?;
    ensure!(listed["state"] == "stopped" && listed["ended"]["code"].is_null(), "it is {listed}");
    let again = home.say(&mut home.run_script(&["--name", "greedy"], "cat /root/file"))?.code(0)?;
    ensure!(again.text() == "durable", "the next start found {:?}", again.text());
    home.say(&mut home.hv(["rm", "greedy"]))?.code(0)?;
    told(&format!(
        "a guest that used more than the {} MiB of its control group: killed alone, its durable file is there",
        NEEDS >> 20
    ));
    Ok(())
}
