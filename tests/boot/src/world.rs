//! A small world for network tests, without root: one network namespace that `hv` runs in, and one that is everything beyond its
//! host, with real servers. What the machine's own network is like does not matter, and nothing of a test reaches it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::{images::said, until};

/// The host that `hv` runs on, as the rest of the world sees it.
pub const HOST: &str = "192.0.2.1";
/// Everything beyond: its addresses on the link to the host and farther away.
pub const FAR: &str = "192.0.2.2";
/// As [`FAR`], by IPv6.
pub const FAR_V6: &str = "2001:db8::2";
/// An address that is reached over a route only.
pub const FARTHER: &str = "198.51.100.1";

/// Two namespaces with a link between them. All that runs in them ends with it.
#[derive(Debug)]
pub struct World {
    near: Child,
    far: Child,
    folder: TempDir,
    /// They are in a user namespace, too.
    has_user: bool,
}

/// A program in a [`World`]. Killed when dropped.
#[derive(Debug)]
pub struct Server(Child);

impl World {
    /// Why there can be none on this machine.
    pub fn why_not() -> Option<String> {
        if user_namespace().is_none() {
            return Some("this machine makes no network namespaces with a link for this user".to_owned());
        }
        ["curl", "dnsmasq", "iperf3", "passt", "tshark", "ssh"].into_iter().find_map(|tool| {
            let found = Command::new("sh").args(["-c", "PATH=$PATH:/usr/sbin command -v $0", tool]).output();
            let missing = !found.is_ok_and(|output| output.status.success());
            missing.then(|| format!("there is no {tool}: run `ci/setup network`"))
        })
    }

    /// Whether programs in it can make user namespaces.
    pub fn has_user_namespaces() -> bool {
        user_namespace().is_some_and(|user| !user.is_empty())
    }

    /// Makes the namespaces, the link, addresses by IPv4 and IPv6, and default routes.
    ///
    /// # Errors
    /// The host refuses something.
    pub fn new() -> Result<Self> {
        let folder = TempDir::new()?;
        // They last as long as their input: until this process ends, however it ends.
        let hold = |command: &mut Command| command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
        let mut unshare = Command::new("unshare");
        let user = user_namespace().context("no network namespaces")?;
        let near = hold(unshare.args(user).args(["-n", "-m", "cat"]))?;
        is_apart(near.id(), std::process::id())?;
        let mut unshare = Command::new("nsenter");
        let has_user = !user.is_empty();
        let far = hold(unshare.args(enter(near.id(), has_user)).args(["unshare", "-n", "cat"]))?;
        is_apart(far.id(), near.id())?;
        is_apart(far.id(), std::process::id())?;
        let world = Self { near, far, folder, has_user };
        let script = format!(
            "ip link set lo up && ip link add eth0 type veth peer name eth0 netns {} &&
            ip address add {HOST}/24 dev eth0 && ip address add 2001:db8::1/64 dev eth0 nodad &&
            ip link set eth0 up && echo 0 0 >/proc/sys/net/ipv4/ping_group_range",
            world.far.id()
        );
        said(&mut world.near("sh", &["-c", &script]), b"")?.code(0)?;
        let script = format!(
            "ip link set lo up && ip address add {FARTHER}/32 dev lo &&
            ip address add {FAR}/24 dev eth0 && ip address add {FAR_V6}/64 dev eth0 nodad && ip link set eth0 up"
        );
        said(&mut world.far("sh", &["-c", &script]), b"")?.code(0)?;
        let script = format!("ip route add default via {FAR} && ip -6 route add default via {FAR_V6}");
        said(&mut world.near("sh", &["-c", &script]), b"")?.code(0)?;
        Ok(world)
    }

    /// A folder that goes with it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `program` on the host.
    pub fn near(&self, program: &str, words: &[&str]) -> Command {
        within(self.near.id(), self.has_user, program, words)
    }

    /// `program` in the rest of the world.
    pub fn far(&self, program: &str, words: &[&str]) -> Command {
        within(self.far.id(), self.has_user, program, words)
    }

    /// `command`, on the host of this world.
    ///
    /// # Panics
    /// Its program or a word is no text.
    pub fn on_host(&self, command: &Command) -> Command {
        let text = |word: &std::ffi::OsStr| word.to_str().expect("words are text").to_owned();
        let words: Vec<String> = command.get_args().map(text).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut inside = self.near(&text(command.get_program()), &words);
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside
    }

    /// Has the host ask these name servers, in this order.
    ///
    /// # Errors
    /// The host refuses.
    pub fn ask(&self, name_servers: &[&str]) -> Result<()> {
        let path = self.folder().join("resolv.conf");
        let lines: String = name_servers.iter().map(|server| format!("nameserver {server}\n")).collect();
        fs::write(&path, lines)?;
        let path = path.to_str().context("the path is text")?;
        // Where it is a link, what it leads to.
        let target = fs::canonicalize("/etc/resolv.conf").context("the host has no resolv.conf")?;
        let target = target.to_str().context("the path is text")?;
        said(&mut self.near("mount", &["--bind", path, target]), b"")?.code(0)?;
        Ok(())
    }

    /// Starts a program and leaves it to itself.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn serve(&self, mut program: Command) -> Result<Server> {
        let log = self.folder().join(format!("log-{}", program.get_args().count()));
        let log = fs::OpenOptions::new().create(true).append(true).open(log)?;
        program.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Server(program.spawn().with_context(|| format!("cannot run {program:?}"))?))
    }

    /// A web server of the files of `folder`, in the rest of the world unless it is `on_host`'s loopback.
    ///
    /// # Errors
    /// It does not start.
    pub fn web(&self, folder: &Path, port: u16) -> Result<Server> {
        self.web_in(self.far.id(), folder, port)
    }

    /// A web server at an address of the host.
    ///
    /// # Errors
    /// It does not start.
    pub fn web_on_host(&self, folder: &Path, port: u16) -> Result<Server> {
        self.web_in(self.near.id(), folder, port)
    }

    fn web_in(&self, pid: u32, folder: &Path, port: u16) -> Result<Server> {
        let (place, folder) = (port.to_string(), folder.to_string_lossy());
        let words = ["httpd", "-f", "-p", &place, "-h", &folder];
        let server = self.serve(within(pid, self.has_user, "busybox", &words))?;
        self.listens(pid, port)?;
        Ok(server)
    }

    /// Waits until somebody listens on a TCP port in the rest of the world.
    ///
    /// # Errors
    /// Nobody does in time.
    pub fn far_listens(&self, port: u16) -> Result<()> {
        self.listens(self.far.id(), port)
    }

    fn listens(&self, pid: u32, port: u16) -> Result<()> {
        until(&format!("port {port} listens"), || {
            // State 0A of the kernel's table is LISTEN.
            Ok(["tcp", "tcp6"].iter().any(|table| {
                let table = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
                table.lines().any(|line| {
                    let mut words = line.split_whitespace().skip(1);
                    let ends = words.next().is_some_and(|local| local.ends_with(&format!(":{port:04X}")));
                    ends && words.nth(1) == Some("0A")
                })
            }))
        })
    }

    /// A file of `size` random bytes in `folder`, and its SHA-256.
    ///
    /// # Errors
    /// The disk is full.
    pub fn file(folder: &Path, name: &str, size: u64) -> Result<(PathBuf, String)> {
        let path = folder.join(name);
        let script = r#"head -c "$2" /dev/urandom >"$1" && sha256sum <"$1""#;
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(&path).arg(size.to_string());
        Ok((path, said(&mut command, b"")?.code(0)?.text()))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for child in [&mut self.far, &mut self.near] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Server {
    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// It does not, in time.
    pub fn ends(&mut self) -> Result<()> {
        let child = &mut self.0;
        until("the server ends", || Ok(child.try_wait()?.is_some()))
    }

    /// Ends it at once.
    ///
    /// # Errors
    /// The host refuses.
    pub fn kill(&mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What makes `unshare` do without privilege: a user namespace, or nothing for root where that is forbidden, as it is after
/// chroot(2).
fn user_namespace() -> Option<&'static [&'static str]> {
    let link = "PATH=$PATH:/usr/sbin:/sbin ip link add one type veth peer name other";
    [&["-U", "-r"][..], &[]].into_iter().find(|user| {
        let made = Command::new("unshare").args(*user).args(["-n", "-m", "sh", "-c", link]).output();
        made.is_ok_and(|output| output.status.success())
    })
}

fn enter(pid: u32, has_user: bool) -> Vec<String> {
    let pid = pid.to_string();
    // Its root, too, which is not that of its mount namespace after chroot(2).
    let mut words = ["-t", &pid, "-n", "-m", "-r", "--preserve-credentials"].map(str::to_owned).to_vec();
    if has_user {
        words.push("-U".to_owned());
    }
    words
}

fn within(pid: u32, has_user: bool, program: &str, words: &[&str]) -> Command {
    let mut command = Command::new("nsenter");
    command.args(enter(pid, has_user)).arg(program).args(words);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

/// Waits until a process is in a network namespace of its own.
fn is_apart(pid: u32, other: u32) -> Result<()> {
    let namespace = |pid| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    until("a network namespace is made", || {
        let (one, other) = (namespace(pid), namespace(other));
        Ok(one.is_some() && one != other)
    })
}
