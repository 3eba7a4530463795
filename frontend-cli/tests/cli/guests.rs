//! Guests by name: how they are listed, told things, ended, kept and forgotten.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    child::{FAILED, USAGE, hv, refusal},
    guest::{CRASH, ECHO, GREET, PATIENCE, POWER_OFF, SPIN, kernel, wait, with_kvm},
    harness::{Case, Outcome},
    terminal::Terminal,
};

pub(crate) const CASES: &[Case] = &[
    ("a_named_guest_is_listed_told_things_and_kept", || with_kvm(named)),
    ("a_name_in_use_is_refused", || with_kvm(name_in_use)),
    ("of_several_that_ask_for_a_name_at_once_one_gets_it", || with_kvm(race)),
    ("a_guest_that_listens_is_stopped_by_its_power_button", || with_kvm(power_button)),
    ("a_guest_that_does_not_listen_is_ended", || with_kvm(deaf)),
    ("what_a_dead_guest_left_is_cleaned", || with_kvm(dead)),
    ("a_process_that_does_not_answer_is_killed", || with_kvm(frozen)),
    ("guests_run_in_the_background", || with_kvm(background)),
    ("what_keeps_a_guest_from_the_background_is_told", || with_kvm(no_background)),
    ("two_guests_run_at_once", || with_kvm(two)),
    ("logs_can_be_followed", || with_kvm(follow)),
    ("a_console_can_be_joined_and_left", || with_kvm(console)),
    ("a_guest_without_a_place_for_names_runs", || with_kvm(nameless)),
    ("hostile_clients_hold_nobody_up", || with_kvm(hostile)),
    ("another_user_is_not_heard", another_user),
    ("guests_that_are_not_there_are_told", not_there),
    ("completions_are_written", completions),
];

/// Listens to its power button, and powers off when it is pressed: PM1 enable at 0x602, status at 0x600.
const OBEY: &[u8] = b"\x66\xba\x02\x06\x66\xb8\x00\x01\x66\xef\x66\xba\x00\x06\x66\xed\xf6\xc4\x01\x74\xf9";

/// Folders of a person who has no guests yet.
pub(crate) struct Home {
    root: PathBuf,
}

impl Home {
    pub(crate) fn new(folder: &Path) -> Self {
        for name in ["run", "data"] {
            fs::create_dir(folder.join(name)).unwrap();
        }
        Self { root: folder.to_owned() }
    }

    pub(crate) fn hv(&self, words: &[&str]) -> Command {
        let mut command = hv(words);
        command.env("XDG_RUNTIME_DIR", self.root.join("run")).env("XDG_DATA_HOME", self.root.join("data"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// `hv run` of these instructions.
    pub(crate) fn run(&self, code: &[&[u8]], words: &[&str]) -> Command {
        let mut command = self.hv(&["run", "--accel", "kvm", "--memory", "64M", "--kernel"]);
        command.arg(kernel(&self.root, code, 0)).args(words);
        command
    }

    /// Starts a guest and waits until it greets.
    pub(crate) fn start(&self, code: &[&[u8]], words: &[&str]) -> Child {
        let mut child = self.run(code, words).stdin(Stdio::piped()).spawn().unwrap();
        let mut greeting = [0];
        child.stdout.as_mut().unwrap().read_exact(&mut greeting).unwrap();
        assert_eq!(&greeting, b">");
        child
    }

    /// What a command that succeeds writes.
    pub(crate) fn ask(&self, words: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.hv(words).output().unwrap();
        assert!(status.success(), "{words:?}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).unwrap()
    }

    pub(crate) fn json(&self, words: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.ask(words)).unwrap()
    }

    fn refused(&self, words: &[&str], expected: &str) {
        let line = refusal(&mut self.hv(words), FAILED);
        assert!(line.contains(expected), "{words:?}: {line}");
    }

    /// The names that `hv ps` lists.
    fn names(&self, words: &[&str]) -> Vec<String> {
        let listed = self.json(&[&["ps", "--json"], words].concat());
        listed.as_array().unwrap().iter().map(|guest| guest["name"].as_str().unwrap().to_owned()).collect()
    }

    fn state(&self, name: &str) -> String {
        self.json(&["inspect", name])["state"].as_str().unwrap().to_owned()
    }

    /// What is in the runtime folder beside the lock.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root.join("run/hv")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != ".lock").collect()
    }
}

/// A case that fails leaves no guests in the background.
impl Drop for Home {
    fn drop(&mut self) {
        for entry in fs::read_dir(self.root.join("run/hv")).into_iter().flatten().flatten() {
            drop(self.hv(&["kill"]).arg(entry.file_name()).output());
        }
    }
}

fn named(folder: &Path) {
    let home = Home::new(folder);
    let mut child = home.start(&[GREET, ECHO, POWER_OFF], &["--name", "web", "--cpus", "2"]);
    let table = home.ask(&["ps"]);
    let mut lines = table.lines();
    let heading: Vec<_> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(heading, ["NAME", "IMAGE", "COMMAND", "STATUS", "CPUS", "MEMORY", "PORTS", "UP"]);
    let row = lines.next().unwrap();
    assert!(row.starts_with("web ") && row.contains(" running ") && row.contains(" 64M "), "{table}");
    let about = home.json(&["inspect", "web"]);
    assert_eq!((&about["cpus"], &about["memory"]), (&2.into(), &(64 << 20).into()));
    assert_eq!(
        (about["pid"].as_u64(), about["accelerator"].as_str()),
        (Some(child.id().into()), Some("kvm"))
    );
    assert_eq!(home.names(&[]), ["web"]);

    home.ask(&["pause", "web"]);
    assert_eq!(home.state("web"), "paused");
    home.refused(&["pause", "web"], "paused already");
    child.stdin.as_mut().unwrap().write_all(b"a").unwrap();
    home.ask(&["resume", "web"]);
    assert_eq!(home.state("web"), "running");
    home.refused(&["resume", "web"], "not paused");
    home.refused(&["exec", "web", "--", "ls"], "no vsock device");
    home.refused(&["kill", "--signal", "HUP", "web"], "guests from images");
    let mut echo = [0];
    child.stdout.as_mut().unwrap().read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"a", "the guest goes on");
    assert_eq!(home.ask(&["logs", "web"]), ">a");

    let waiting = home.hv(&["wait", "web"]).spawn().unwrap();
    home.refused(&["rm", "web"], "hv stop web");
    home.ask(&["kill", "web"]);
    assert_eq!(wait(&mut child).code(), Some(137));
    assert_eq!(waiting.wait_with_output().unwrap().status.code(), Some(137));
    assert!(home.names(&[]).is_empty() && home.leftovers().is_empty());
    assert_eq!(home.names(&["-a"]), ["web"]);
    assert!(home.ask(&["ps", "-a"]).contains("ended 137"));
    let about = home.json(&["inspect", "web"]);
    assert_eq!((&about["state"], &about["ended"]["code"]), (&"stopped".into(), &137.into()));
    assert_eq!(home.ask(&["logs", "--tail", "1", "web"]), ">a");
    assert_eq!(home.hv(&["wait", "web"]).output().unwrap().status.code(), Some(137));
    home.refused(&["pause", "web"], "does not run");

    let mut child = home.start(&[GREET, ECHO, POWER_OFF], &["--name", "web"]);
    child.stdin.as_mut().unwrap().write_all(b"q").unwrap();
    assert!(wait(&mut child).success());
    assert_eq!(home.ask(&["logs", "web"]), ">a>", "the log goes on");
    home.ask(&["rm", "web"]);
    assert!(home.names(&["-a"]).is_empty());
}

fn name_in_use(folder: &Path) {
    let home = Home::new(folder);
    let mut child = home.start(&[GREET, SPIN], &["--name", "web", "--rm"]);
    let line = refusal(&mut home.run(&[GREET, SPIN], &["--name", "web"]), FAILED);
    assert!(line.contains("web runs already") && line.contains("--name"), "{line}");
    home.ask(&["rm", "-f", "web"]);
    wait(&mut child);
    assert!(home.names(&["-a"]).is_empty());
    let line = refusal(&mut home.run(&[GREET], &["--name", "../web"]), USAGE);
    assert!(line.contains("letter or digit"), "{line}");
}

fn race(folder: &Path) {
    let home = Home::new(folder);
    let mut asking: Vec<_> = (0..6).map(|_| home.run(&[GREET, SPIN], &["-d", "--name", "web"])).collect();
    let asking: Vec<_> = asking.iter_mut().map(|command| command.spawn().unwrap()).collect();
    let outputs: Vec<_> = asking.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
    let (won, lost): (Vec<_>, Vec<_>) = outputs.iter().partition(|output| output.status.success());
    assert_eq!(won.len(), 1);
    for output in lost {
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains("web runs already") && told.lines().count() == 1, "{told}");
    }
    home.ask(&["kill", "web"]);
    assert_eq!(home.names(&["-a"]), ["web"]);
}

fn power_button(folder: &Path) {
    let home = Home::new(folder);
    let mut child = home.start(&[GREET, OBEY, POWER_OFF], &["--name", "web"]);
    home.ask(&["pause", "web"]);
    home.ask(&["stop", "--time", "10m", "web"]);
    assert_eq!(wait(&mut child).code(), Some(0));
    assert_eq!(home.json(&["inspect", "web"])["ended"]["code"], 0);
    home.ask(&["stop", "web"]);
}

fn deaf(folder: &Path) {
    let home = Home::new(folder);
    let mut child = home.start(&[GREET, SPIN], &["--name", "web"]);
    home.ask(&["stop", "--time", "10ms", "web"]);
    assert_eq!(wait(&mut child).code(), Some(137));
}

fn dead(folder: &Path) {
    let home = Home::new(folder);
    for words in [&["--name", "web"][..], &["--name", "gone", "--rm"]] {
        let mut child = home.start(&[GREET, SPIN], words);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(home.leftovers().len(), 2);
    assert_eq!(home.names(&["-a"]), ["web"]);
    assert!(home.leftovers().is_empty());
    assert!(home.ask(&["ps", "-a"]).contains("died"));
    home.refused(&["wait", "web"], "killed");
    let mut child = home.start(&[GREET, SPIN], &["--name", "web"]);
    let waiting = home.hv(&["wait", "web"]).spawn().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(waiting.wait_with_output().unwrap().status.code(), Some(FAILED));
    // The next guest of this name does not stumble over the last.
    let mut child = home.start(&[GREET, ECHO, POWER_OFF], &["--name", "web"]);
    assert_eq!(home.state("web"), "running");
    child.stdin.as_mut().unwrap().write_all(b"q").unwrap();
    assert!(wait(&mut child).success());
}

fn frozen(folder: &Path) {
    let home = Home::new(folder);
    let mut child = home.start(&[GREET, SPIN], &["--name", "web"]);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    home.ask(&["kill", "web"]);
    assert_eq!(wait(&mut child).code(), None, "ended by a signal");
}

fn background(folder: &Path) {
    let home = Home::new(folder);
    let name = home.ask(&[
        "run",
        "-d",
        "--accel",
        "kvm",
        "--memory",
        "64M",
        "--kernel",
        kernel(folder, &[GREET, ECHO, POWER_OFF], 0).to_str().unwrap(),
    ]);
    let name = name.strip_suffix('\n').unwrap();
    assert_eq!(home.names(&[]), [name]);
    let pid = home.json(&["inspect", name])["pid"].as_i64().unwrap();
    let process = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap());
    assert_eq!(rustix::process::getsid(process).unwrap(), process.unwrap(), "a session of its own");
    let mut console = UnixStream::connect(home.root.join("run/hv").join(name).join("control.sock")).unwrap();
    console.write_all(b"{\"request\":\"console\"}\nq").unwrap();
    let mut shown = String::new();
    console.read_to_string(&mut shown).unwrap();
    assert!(shown.starts_with("{\"answer\":\"console\"") && shown.ends_with('>'), "{shown}");
    wait_until(|| home.names(&["-a"]).is_empty());

    let started = home.run(&[GREET, CRASH], &["-d", "--name", "web"]).output().unwrap();
    assert_eq!(String::from_utf8(started.stdout).unwrap(), "web\n");
    assert_eq!(home.hv(&["wait", "web"]).output().unwrap().status.code(), Some(123));
    let log = home.ask(&["logs", "web"]);
    assert!(log.starts_with('>') && log.contains("the guest crashed"), "{log}");
}

fn no_background(folder: &Path) {
    let home = Home::new(folder);
    fs::write(folder.join("text"), "no kernel\n".repeat(1000)).unwrap();
    let text = folder.join("text");
    let words = ["run", "-d", "--accel", "kvm", "--kernel", text.to_str().unwrap()];
    let line = refusal(&mut home.hv(&words), FAILED);
    assert!(line.contains("kernel"), "{line}");
    let line = refusal(&mut home.hv(&["run", "-d", "--kernel", "/nonexistent"]), FAILED);
    assert!(line.contains("does not exist"), "{line}");
    assert!(home.leftovers().is_empty());
}

fn two(folder: &Path) {
    let home = Home::new(folder);
    let code: &[&[u8]] = &[GREET, ECHO, POWER_OFF];
    let mut children = [home.start(code, &["--name", "a"]), home.start(code, &[])];
    assert_eq!(home.names(&[]).len(), 2);
    assert!(home.names(&[]).contains(&"a".to_owned()));
    let other = home.names(&[]).into_iter().find(|name| name != "a").unwrap();
    assert_eq!(home.ask(&["logs", &other]), ">", "a guest without a log has its console's history");
    home.ask(&["kill", "a", &other]);
    for child in &mut children {
        assert_eq!(wait(child).code(), Some(137));
    }
    assert_eq!(home.names(&["-a"]), ["a"]);
}

fn follow(folder: &Path) {
    let home = Home::new(folder);
    let mut child = home.start(&[GREET, ECHO, POWER_OFF], &["--name", "web"]);
    let mut follower = home.hv(&["logs", "-f", "web"]).spawn().unwrap();
    let mut shown = follower.stdout.take().unwrap();
    let mut read = |expected: &[u8]| {
        let mut bytes = vec![0; expected.len()];
        shown.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes, expected);
    };
    read(b">");
    let mut short = Command::new("sh");
    short.args(["-c", "\"$0\" logs -f web | head -c 1", env!("CARGO_BIN_EXE_hv")]);
    short.env("XDG_RUNTIME_DIR", home.root.join("run")).env("XDG_DATA_HOME", home.root.join("data"));
    let mut short = short.stdout(Stdio::null()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"abc").unwrap();
    read(b"abc");
    assert!(wait(&mut short).success(), "a reader that left is not followed for");
    child.stdin.as_mut().unwrap().write_all(b"q").unwrap();
    assert!(wait(&mut child).success());
    assert!(wait(&mut follower).success());
}

fn console(folder: &Path) {
    let home = Home::new(folder);
    let mut child = home.start(&[GREET, ECHO, POWER_OFF], &["--name", "web"]);
    let terminal = Terminal::open();
    let mut joined = terminal.start(home.hv(&["console", "web"]));
    terminal.wait_for(">");
    wait_until(|| terminal.is_raw());
    terminal.type_in(b"abc\x03");
    terminal.wait_for("abc\x03");
    terminal.type_in(b"\x01?");
    terminal.wait_for("Ctrl-A x");
    terminal.type_in(b"\x01x");
    assert!(wait(&mut joined).success());
    assert!(!terminal.is_raw());
    assert_eq!(home.state("web"), "running", "the guest goes on");
    // Two at once, one of them not a terminal; both see the end.
    let mut joined = terminal.start(home.hv(&["console", "web"]));
    terminal.wait_for(">abc\x03");
    let mut piped = home.hv(&["console", "web"]).stdin(Stdio::piped()).spawn().unwrap();
    piped.stdin.as_mut().unwrap().write_all(b"q").unwrap();
    assert!(wait(&mut child).success() && wait(&mut joined).success());
    assert_eq!(piped.wait_with_output().unwrap().stdout, b">abc\x03");
    assert!(!terminal.is_raw());
}

fn nameless(folder: &Path) {
    let home = Home::new(folder);
    fs::remove_dir(folder.join("run")).unwrap();
    let run = |words: &[&str]| home.run(&[GREET, POWER_OFF], words).output().unwrap();
    let output = run(&[]);
    assert!(output.status.success() && output.stderr.is_empty());
    let output = run(&["--name", "web"]);
    assert_eq!(output.status.code(), Some(FAILED));
    assert!(String::from_utf8(output.stderr).unwrap().contains("XDG_RUNTIME_DIR"));
}

fn hostile(folder: &Path) {
    let home = Home::new(folder);
    let mut child = home.start(&[GREET, ECHO, POWER_OFF], &["--name", "web"]);
    let connect = || UnixStream::connect(home.root.join("run/hv/web/control.sock")).unwrap();
    let silent: Vec<_> = (0..20).map(|_| connect()).collect();
    let mut endless = connect();
    let _ = endless.write_all(&[b'{'; 100_000]);
    let mut random = connect();
    random.write_all(b"\xff\0\n{}\n{\"request\":[]}\n").unwrap();
    let answers: Vec<_> = BufReader::new(&random).lines().take(3).map(Result::unwrap).collect();
    assert!(answers.iter().all(|line| line.contains("\"answer\":\"error\"")), "{answers:?}");
    // Reads nothing of what it asks for.
    let deaf = connect();
    deaf.set_nonblocking(true).unwrap();
    while (&deaf).write(b"{\"request\":\"inspect\"}\n").is_ok() {}
    assert_eq!(home.state("web"), "running");
    child.stdin.as_mut().unwrap().write_all(b"q").unwrap();
    assert!(wait(&mut child).success());
    drop(silent);
}

/// Asks for the guest's state over the socket `$ARGV[0]` as the user `$ARGV[1]`: 9 if there is no way in.
const ASK: &str = r#"
    use IO::Socket::UNIX; use POSIX;
    if ($ARGV[1]) { POSIX::setgid($ARGV[1]); POSIX::setuid($ARGV[1]); $> == $ARGV[1] or die "setuid: $!"; }
    my $socket = IO::Socket::UNIX->new(Peer => $ARGV[0]) or exit 9;
    $SIG{PIPE} = "IGNORE";
    $socket->print("{\"request\":\"status\"}\n"); $socket->flush; $socket->shutdown(1);
    print while <$socket>;
"#;

/// Neither the file's mode lets another user in nor, where somebody opened that, the guest's process.
fn another_user() -> Outcome {
    const NOBODY: u32 = 65_534;
    if !rustix::process::geteuid().is_root() {
        return Outcome::Skipped("only root becomes another user".to_owned());
    }
    if !matches!(Command::new("perl").args(["-MIO::Socket::UNIX", "-e", "1"]).status(), Ok(status) if status.success())
    {
        return Outcome::Skipped("there is no perl to ask with".to_owned());
    }
    with_kvm(|folder| {
        let home = Home::new(folder);
        let mut child = home.start(&[GREET, ECHO, POWER_OFF], &["--name", "web"]);
        let socket = home.root.join("run/hv/web/control.sock");
        let ask = |user: u32| {
            let output =
                Command::new("perl").args(["-e", ASK]).arg(&socket).arg(user.to_string()).output().unwrap();
            (output.status.code(), String::from_utf8(output.stdout).unwrap())
        };
        let set_mode =
            |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
        // All folders but the socket's own are open, and then that.
        socket
            .ancestors()
            .skip(2)
            .take_while(|path| path.starts_with(folder))
            .for_each(|path| set_mode(path, 0o755));
        assert_eq!(ask(NOBODY), (Some(9), String::new()));
        set_mode(socket.parent().unwrap(), 0o755);
        assert_eq!(ask(NOBODY), (Some(9), String::new()), "the socket's own mode");
        set_mode(&socket, 0o666);
        assert_eq!(ask(NOBODY), (Some(0), String::new()), "it may connect and is not heard");
        let (code, answer) = ask(0);
        assert!(code == Some(0) && answer.contains("\"answer\":\"status\""), "{code:?} {answer}");
        child.stdin.as_mut().unwrap().write_all(b"q").unwrap();
        assert!(wait(&mut child).success());
    })
}

fn not_there() -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::new(folder.path());
    assert_eq!(home.ask(&["ps", "-a", "--json"]), "[]\n");
    assert_eq!(home.ask(&["ps"]).lines().count(), 1);
    for command in ["stop", "kill", "logs", "inspect", "rm", "console", "pause", "resume", "wait"] {
        home.refused(&[command, "web"], "no guest named web");
    }
    home.refused(&["exec", "web", "--", "ls"], "no guest named web");
    Outcome::Passed
}

fn completions() -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::new(folder.path());
    for shell in ["bash", "zsh", "fish"] {
        assert!(home.ask(&["completions", shell]).contains("inspect"));
    }
    Outcome::Passed
}

fn wait_until(is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "it does not come to that");
        thread::sleep(Duration::from_millis(20));
    }
}
