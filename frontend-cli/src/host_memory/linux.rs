//! What the files of a Linux host say of its memory.

use std::{fs, path::Path};

use super::HostMemory;

/// Asks a Linux host whose files are below `root`; nothing if it does not say.
pub(super) fn read(root: &Path) -> Option<HostMemory> {
    let meminfo = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let field = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    let total = field("MemTotal")?.saturating_add(field("SwapTotal").unwrap_or(0));
    let limit = group_limit(root).unwrap_or(u64::MAX).min(total);
    Some(HostMemory { limit, available: field("MemAvailable")?.min(limit) })
}

/// The lowest memory limit of the control groups (version 2) that this process is in.
fn group_limit(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let top = root.join("sys/fs/cgroup");
    let path = top.join(group);
    let folders = path.ancestors().take_while(|folder| folder.starts_with(&top));
    folders.filter_map(|folder| fs::read_to_string(folder.join("memory.max")).ok()?.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(limits: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("proc/meminfo", "MemTotal:  8388608 kB\nMemAvailable:  4194304 kB\nSwapTotal:  1048576 kB\n");
        write("proc/self/cgroup", "1:name=systemd:/old\n0::/user/shell\n");
        limits.iter().for_each(|(group, limit)| write(&format!("sys/fs/cgroup/{group}/memory.max"), limit));
        root
    }

    #[test]
    fn ram_and_swap_are_the_limit() {
        let memory = read(host(&[("user", "max\n")]).path()).unwrap();
        assert_eq!(memory, HostMemory { limit: 9 << 30, available: 4 << 30 });
        memory.check(9 << 30).unwrap();
        let refused = memory.check((9 << 30) + (2 << 20)).unwrap_err().to_string();
        assert_eq!(refused, "--memory 9218M is more than this host's 9216M; use --memory 4096M or less");
    }

    #[test]
    fn the_narrowest_control_group_counts() {
        let root = host(&[("user", "1073741824\n"), ("user/shell", "2147483648\n"), ("other", "4096\n")]);
        let memory = read(root.path()).unwrap();
        assert_eq!(memory, HostMemory { limit: 1 << 30, available: 1 << 30 });
    }

    #[test]
    fn a_host_that_says_nothing_refuses_nothing() {
        assert_eq!(read(Path::new("/nonexistent")), None);
    }
}
