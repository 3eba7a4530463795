//! Guests whose root user turns against the host: noise for the host's port, and the agent's own connections taken over.
//!
//! A command takes sockets out of process 1 with pidfd_getfd(2), and from then on the host hears what it writes as the
//! agent's words. The command is Perl, which every Debian has.

use std::{
    fs,
    io::Read,
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use hv_boot_tests::{
    Guest,
    images::{Home, Said},
};

use super::until;

/// Connects to the host's port, 1024 of CID 2, again and again, and says what no agent says.
const NOISE: &str = r#"
$SIG{PIPE} = "IGNORE";
my ($refused, @kept) = (0);
for my $number (1 .. 600) {
    socket(my $socket, 40, 1, 0) or die "socket: $!";
    connect($socket, pack("S S L L L", 40, 0, 1024, 2, 0)) or ++$refused and next;
    my $noise = $number % 2 ? "\xff" x 65536 : pack("L", 3) . "\x00\x02\x00" . (pack("L", 1) . "\x04") x 10000;
    syswrite($socket, $noise) or $refused++;
    push @kept, $socket if $number % 10 == 0;
}
print "refused or closed: $refused\n";
exit 42;
"#;

/// Takes over a socket of the agent's: its connection to the host, or the one on which it listens. What is done with it
/// follows.
const TAKE_OVER: &str = r#"
use POSIX ();
$SIG{PIPE} = "IGNORE";
sub take {
    my ($listens) = @_;
    my $process = syscall(434, 1, 0);
    die "pidfd_open: $!" if $process < 0;
    for my $number (map { m{/(\d+)$} } glob "/proc/1/fd/*") {
        next unless (readlink("/proc/1/fd/$number") // "") =~ /^socket/;
        my $taken = syscall(438, $process, $number + 0, 0);
        next if $taken < 0;
        open(my $socket, "+<&=", $taken) or next;
        my ($near, $far) = (getsockname($socket), getpeername($socket));
        next unless length($near // "") == 16 and unpack("S", $near) == 40;
        my ($port, $peer) = ((unpack("S S L L", $near))[2], $far ? (unpack("S S L L", $far))[2] : 0);
        return $socket if $listens ? (!$far and $port == 1024) : $peer == 1024;
    }
    die "the agent has no such socket";
}
"#;

/// What the process has in memory besides what is mapped in large pieces: the guest's RAM, and an emulator's code.
fn own_memory(pid: u32) -> Result<u64> {
    let maps = fs::read_to_string(format!("/proc/{pid}/smaps"))?;
    let (mut size, mut sum) = (0, 0);
    for line in maps.lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        let kibibytes = || value.trim().trim_end_matches(" kB").parse().unwrap_or(0);
        match name {
            "Size" => size = kibibytes(),
            "Rss" if size < 128 << 10 => sum += kibibytes(),
            _ => {}
        }
    }
    Ok(sum << 10)
}

/// The most that a process may grow by while it is told nonsense.
const MOST_GROWTH: u64 = 48 << 20;

/// Looks at the process's memory until `is_over`.
fn stays_bounded(pid: u32, mut is_over: impl FnMut() -> Result<bool>) -> Result<()> {
    let before = own_memory(pid)?;
    until("the noise is over", || {
        // One that has just ended has none.
        let now = own_memory(pid).unwrap_or(before);
        ensure!(now < before + MOST_GROWTH, "it grew from {before} to {now} bytes");
        is_over()
    })
}

/// A guest whose command is this Perl; it says `up` first.
fn perl(home: &Home, script: &str) -> Result<Guest> {
    let mut run = home.run(&[]);
    let script = format!("$| = 1; print \"up\\n\"; sleep 1; {script}");
    run.args(["debian", "--", "perl", "-e", &script]);
    let mut guest = Guest::spawn(run)?;
    guest.wait_for("up")?;
    Ok(guest)
}

pub(super) fn noise_for_the_hosts_port_is_refused(home: &Home) -> Result<()> {
    let mut guest = perl(home, NOISE)?;
    let pid = guest.pid();
    let begin = own_memory(pid)?;
    guest.wait_for("refused or closed: ")?;
    let grown = own_memory(pid).unwrap_or(begin).saturating_sub(begin);
    ensure!(grown < MOST_GROWTH, "hv grew by {grown} bytes");
    guest.wait()?.code(42).map(drop)
}

pub(super) fn an_agent_that_repeats_itself_is_borne(home: &Home) -> Result<()> {
    // Ready, and that the guest powers off, for some seconds; the command's own end counts all the same.
    let script = format!(
        "{TAKE_OVER} my $socket = take(0); my $until = time + 5; my $bytes = 0; \
         my $words = (pack('L', 1) . chr(1) . pack('L', 1) . chr(4)) x 10000; \
         while (time < $until) {{ $bytes += syswrite($socket, $words) // die \"write: $!\" }} \
         print \"said $bytes bytes\\n\"; exit 42;"
    );
    let mut guest = perl(home, &script)?;
    let pid = guest.pid();
    let begin = Instant::now();
    stays_bounded(pid, || Ok(begin.elapsed() > Duration::from_secs(6)))?;
    guest.wait_for("said ")?;
    guest.wait()?.code(42).map(drop)
}

pub(super) fn an_agent_that_talks_nonsense_is_an_error(home: &Home) -> Result<()> {
    for (words, expected) in [
        ("chr(255) x 65536", "at most"),
        ("pack('L', 1) . chr(99)", "not understood"),
        // What is for a session.
        ("pack('L', 5) . chr(7) . chr(3) . 'abc'", "where it may not"),
    ] {
        let script = format!("{TAKE_OVER} syswrite(take(0), {words}); sleep 1000;");
        let mut run = home.run(&[]);
        run.args(["debian", "--", "perl", "-e", &script]);
        let said = home.say(&mut run)?.code(125)?;
        one_line(&said, expected)?;
    }
    Ok(())
}

fn one_line(said: &Said, expected: &str) -> Result<()> {
    let is_one = said.stderr.lines().count() == 1 && said.stderr.starts_with("hv: ");
    ensure!(is_one && said.stderr.contains(expected), "{expected:?} is not in {:?}", said.stderr);
    Ok(())
}

/// Shows that sessions with an agent that was taken over end in one line, or go on without taking more and more memory.
pub(super) fn hostile_sessions_are_bounded(home: &Home) -> Result<()> {
    // Each connection gets the next of these: noise, a frame that is too long, an endless output.
    let script = format!(
        "{TAKE_OVER} $| = 1; my $listener = take(1); my $number = 0; print \"listens\\n\"; \
         while (accept(my $session, $listener)) {{ \
             next if fork; \
             my $kind = 'KIND'; \
             syswrite($session, chr(99) x 100), exit if $kind eq 'noise'; \
             syswrite($session, pack('L', 1 << 31)), sleep 100, exit if $kind eq 'long'; \
             my $frame = pack('L', 60004) . chr(7) . chr(0xe0) . chr(0xd4) . chr(3) . ('x' x 60000); \
             1 while syswrite($session, substr($frame, 0, 4) . substr($frame, 4)); exit; \
         }}"
    );
    for (kind, expected) in [("noise", "at most"), ("long", "at most"), ("endless", "")] {
        let name = format!("hostile-{kind}");
        let mut run = home.run(&["-d", "--rm", "--name", &name]);
        home.say(run.args(["debian", "--", "perl", "-e", &script.replace("KIND", kind)]))?.code(0)?;
        until("the listener was taken over", || {
            Ok(home.say(&mut home.hv(["logs", &name]))?.text().contains("listens"))
        })?;
        // The agent listens as well: one of the two takes a connection.
        until("a session is hostile", || {
            if kind == "endless" {
                return endless(home, &name);
            }
            let said = home.say(&mut home.exec_in(&name, &[], &["true"]))?;
            if said.status.code() == Some(0) {
                return Ok(false);
            }
            one_line(&said.code(125)?, expected).map(|()| true)
        })?;
        home.say(&mut home.hv(["kill", &name]))?.code(0)?;
    }
    Ok(())
}

/// Whether a session that says `true` says much more than that. It takes no more memory for it.
fn endless(home: &Home, name: &str) -> Result<bool> {
    let mut command = home.exec_in(name, &[], &["true"]);
    let mut exec = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let seen = flood(home, name, &mut exec);
    exec.kill()?;
    exec.wait()?;
    seen
}

fn flood(home: &Home, name: &str, exec: &mut Child) -> Result<bool> {
    let mut output = exec.stdout.take().context("it has an output")?;
    let guest = home.process(name)?;
    let (pid, mut buffer, mut count) = (exec.id(), vec![0; 1 << 20], 0);
    let mut before = None;
    while count < 40 << 20 {
        match output.read(&mut buffer)? {
            0 => return Ok(false),
            more => count += more,
        }
        let now = own_memory(pid)? + own_memory(guest)?;
        let begin = *before.get_or_insert(now);
        ensure!(now < begin + MOST_GROWTH, "it grew from {begin} to {now} bytes after {count}");
    }
    // A reader that does not read holds it up, and nothing grows either.
    let begin = own_memory(pid)? + own_memory(guest)?;
    thread::sleep(Duration::from_secs(1));
    let now = own_memory(pid)? + own_memory(guest)?;
    ensure!(now < begin + MOST_GROWTH, "unread, it grew from {begin} to {now} bytes");
    Ok(true)
}
