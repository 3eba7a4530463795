//! SIGKILL at random moments: of boots, of durable writes, of commands, and of imports.

use std::{
    fs,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use hv_boot_tests::{
    Guest, ext4,
    images::{Home, Terminal, images, said},
};
use rustix::process::Signal;

use super::{Holdings, Random, count, end, new_files, send, sleeper, told, until};

/// How often each of the four is killed.
fn kills() -> Result<u32> {
    Ok(count("HV_SOAK_KILLS", 8)?.div_ceil(4))
}

/// The processes of `home` that were started with such a word.
fn with_word(home: &Home, word: &str) -> Result<Vec<u32>> {
    Ok(home.processes()?.into_iter().filter(|(_, words)| words.contains(word)).map(|(pid, _)| pid).collect())
}

fn is_listed(home: &Home, name: &str) -> Result<bool> {
    let listed = home.json(&["ps", "--all", "--json"])?;
    Ok(listed.as_array().into_iter().flatten().any(|guest| guest["name"] == name))
}

const NAME: &str = "killed";
const SLEEP: &str = "exec sleep 100000";
/// Starts a guest and kills one of its processes after the time that it is given.
type Way = fn(&Home, Duration) -> Result<()>;

/// Processes and moments in the life of a run that are killed.
const WAYS: [(&str, Way); 6] = [
    ("a run", a_run),
    ("a run whose guest is kept", a_kept_run),
    ("the guest's process in the background", a_background),
    ("who starts a guest in the background", a_starter),
    ("the process in front of a terminal", a_front),
    ("the guest's process behind a terminal", an_attended),
];

pub(super) fn boots_are_killed(home: &Home) -> Result<()> {
    let mut random = Random::new("boots");
    let start = Instant::now();
    home.say(&mut home.run_script(&["--rm", "--name", NAME], "exit 7"))?.code(7)?;
    let (span, before, kills) = (start.elapsed(), home.files()?, kills()?);
    // The short form does not come to all ways, so each seed begins elsewhere.
    let first = random.below(WAYS.len() as u64);
    for number in 0..kills {
        let at = random.moment(span);
        let (way, kill) = WAYS[usize::try_from((first + u64::from(number)) % WAYS.len() as u64)?];
        let killed = kill(home, at).and_then(|()| {
            until("no process is left", || Ok(home.processes()?.is_empty()))?;
            ensure!(!is_listed(home, NAME)?, "it is listed");
            let left = new_files(home, &before)?;
            ensure!(left.is_empty(), "there is {left:?}");
            Ok(())
        });
        killed.with_context(|| format!("kill {number}, of {way} after {at:?}"))?;
    }
    home.say(&mut home.run_script(&["--rm", "--name", NAME], "exit 7"))?.code(7)?;
    told(&format!("{kills} boots killed within {span:.1?}: nothing left, the next one starts"));
    Ok(())
}

fn quiet(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}

fn a_run(home: &Home, at: Duration) -> Result<()> {
    let mut run = quiet(&mut home.run_script(&["--rm", "--name", NAME], SLEEP)).spawn()?;
    thread::sleep(at);
    run.kill()?;
    run.wait()?;
    Ok(())
}

fn a_kept_run(home: &Home, at: Duration) -> Result<()> {
    let mut run = quiet(&mut home.run_script(&["--name", NAME], SLEEP)).spawn()?;
    thread::sleep(at);
    run.kill()?;
    run.wait()?;
    if is_listed(home, NAME)? {
        let listed = home.listed(NAME)?;
        ensure!(listed["state"] == "stopped" && listed["ended"]["code"].is_null(), "it is {listed}");
        home.say(&mut home.hv(["rm", NAME]))?.code(0)?;
    }
    Ok(())
}

fn a_background(home: &Home, at: Duration) -> Result<()> {
    let mut start = quiet(&mut home.run_script(&["-d", "--rm", "--name", NAME], SLEEP)).spawn()?;
    thread::sleep(at);
    let kill = || -> Result<usize> {
        let guests = with_word(home, "--in-background")?;
        // One that has just ended needs no signal.
        Ok(guests.into_iter().filter(|pid| send(*pid, Signal::KILL).is_ok()).count())
    };
    if kill()? == 0 {
        start.kill()?;
    }
    start.wait()?;
    // It may have come to life just then.
    until("the guest's process is gone", || Ok(kill()? == 0 && home.processes()?.is_empty()))
}

/// The guest goes on without it.
fn a_starter(home: &Home, at: Duration) -> Result<()> {
    let mut start = quiet(&mut home.run_script(&["-d", "--name", NAME], SLEEP)).spawn()?;
    thread::sleep(at);
    start.kill()?;
    start.wait()?;
    let runs = || -> Result<bool> { Ok(is_listed(home, NAME)? && home.listed(NAME)?["state"] == "running") };
    until("the guest goes on, or there is none", || Ok(home.processes()?.is_empty() || runs()?))?;
    if home.processes()?.is_empty() {
        ensure!(
            !is_listed(home, NAME)?,
            "it ended without the process that started it: {}",
            home.listed(NAME)?
        );
        return Ok(());
    }
    home.say(&mut home.exec_in(NAME, &[], &["true"]))?.code(0)?;
    end(home, NAME)
}

/// A terminal whose program is gone takes the guest with it.
fn a_front(home: &Home, at: Duration) -> Result<()> {
    let terminal = Terminal::run(&home.run_script(&["-i", "-t", "--rm", "--name", NAME], SLEEP), 80, 24)?;
    thread::sleep(at);
    terminal.signal(Signal::KILL)
}

fn an_attended(home: &Home, at: Duration) -> Result<()> {
    let mut terminal = Terminal::run(&home.run_script(&["-i", "-t", "--rm", "--name", NAME], SLEEP), 80, 24)?;
    thread::sleep(at);
    let guests = with_word(home, "--attended=")?;
    if guests.into_iter().filter(|pid| send(*pid, Signal::KILL).is_ok()).count() == 0 {
        return terminal.signal(Signal::KILL);
    }
    let code = terminal.wait()?;
    ensure!(code == 128 + 9, "the process in front ended with {code}: {:?}", terminal.shown());
    Ok(())
}

/// Bytes of a record: its number, again and again.
const RECORD: usize = 512;

fn records(count: usize) -> Vec<u8> {
    (1..=count).flat_map(|number| format!("{number:07}\n").repeat(RECORD / 8).into_bytes()).collect()
}

/// Goes on with the records that are whole, and says the number of each when it is durable.
const WRITER: &str = r#"
use IO::Handle;
$| = 1;
open(my $file, -e "/root/records" ? "+<" : "+>", "/root/records") or die "open: $!";
my ($number, $record) = (0);
sub record { sprintf("%07d\n", $_[0]) x 64 }
++$number while sysread($file, $record, 512) == 512 && $record eq record($number + 1);
truncate($file, $number * 512) && defined(sysseek($file, $number * 512, 0)) or die "truncate: $!";
print "has $number.\n";
while (1) {
    ++$number;
    syswrite($file, record($number)) == 512 && $file->sync or die "record $number: $!";
    print "wrote $number.\n";
}
"#;

/// Shows that what the guest was told is durable is in the host's file, after each kill and all kills before.
pub(super) fn writes_are_killed(home: &Home) -> Result<()> {
    let mut random = Random::new("writes");
    let (kills, image, mut durable) = (kills()?, home.kept("writer").join("upper.img"), 0);
    let writer = || {
        let mut run = home.run(&["--name", "writer"]);
        run.args(["debian", "--", "perl", "-e", WRITER]);
        run
    };
    for number in 0..kills {
        let at = random.moment(Duration::from_millis(1500));
        let round = || -> Result<usize> {
            let mut guest = Guest::spawn(writer())?;
            guest.wait_for("has ")?;
            thread::sleep(at);
            guest.signal(Signal::KILL)?;
            let ended = guest.wait()?;
            ensure!(ended.status.code().is_none(), "hv was not killed: {ended:?}");
            let said = |word: &str| {
                let lines =
                    ended.stdout.lines().filter_map(|line| line.strip_prefix(word)?.strip_suffix('.'));
                lines.filter_map(|number| number.parse::<usize>().ok()).next_back()
            };
            let has = said("has ").context("the guest did not say how many there are")?;
            ensure!(has >= durable, "the guest found {has} records of {durable}");
            Ok(said("wrote ").unwrap_or(has))
        };
        let wrote = round().and_then(|wrote| {
            let copy = tempfile::NamedTempFile::new()?;
            said(Command::new("cp").arg("--sparse=always").arg(&image).arg(copy.path()), b"")?.code(0)?;
            ext4::replay(copy.path())?;
            ext4::check(copy.path())?;
            let found = ext4::file(copy.path(), "upper/root/records")?;
            let expected = records(wrote);
            ensure!(
                found.starts_with(&expected),
                "of {wrote} durable records there are {} bytes, and the first wrong one is {:?}",
                found.len(),
                found.iter().zip(&expected).position(|(found, expected)| found != expected)
            );
            Ok(wrote)
        });
        durable = wrote.with_context(|| format!("kill {number}, {at:?} after the first record"))?;
    }
    home.say(&mut home.run_script(&["--name", "writer"], "exit 7"))?.code(7)?;
    ext4::check(&image)?;
    ensure!(
        ext4::file(&image, "upper/root/records")?.starts_with(&records(durable)),
        "the last start lost some"
    );
    home.say(&mut home.hv(["rm", "writer"]))?.code(0)?;
    told(&format!(
        "{kills} guests killed while they wrote: all of {durable} durable records are there, e2fsck finds nothing"
    ));
    Ok(())
}

/// Shows that commands whose `hv exec` is killed leave nothing in guest and process, and that a guest that is killed
/// ends its commands.
pub(super) fn commands_are_killed(home: &Home) -> Result<()> {
    let mut random = Random::new("commands");
    let kills = kills()?;
    let pid = sleeper(home, "busy", &[])?;
    let commands = [
        &["cat", "/dev/zero"][..],
        &["sh", "-c", "cat >/dev/null"],
        &["sleep", "54321"],
        &["sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do echo $i; done"],
    ];
    let exec = |command: &[&str]| -> Result<_> {
        let mut exec = home.exec_in("busy", &["-i"], command);
        Ok(exec.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
    };
    home.say(&mut home.exec_in("busy", &[], &["true"]))?.code(0)?;
    let before = Holdings::settled(pid)?;
    for number in 0..kills {
        let command = commands[usize::try_from(random.below(commands.len() as u64))?];
        let at = random.moment(Duration::from_millis(600));
        let mut killed = exec(command)?;
        thread::sleep(at);
        killed.kill()?;
        killed.wait()?;
        let next = home.say(&mut home.exec_in("busy", &[], &["echo", "well"]))?.code(0);
        let next = next.with_context(|| format!("after kill {number}, of {command:?} after {at:?}"))?;
        ensure!(next.text() == "well", "the next command said {:?}", next.text());
    }
    before.are_all(pid)?;
    until("no command goes on in the guest", || {
        let script = "cat /proc/[0-9]*/cmdline | tr '\\0' ' '";
        let running = home.say(&mut home.exec_in("busy", &[], &["sh", "-c", script]))?.text();
        Ok(!running.contains("/dev/zero") && !running.contains("54321") && !running.contains("cat >"))
    })?;

    let left: Vec<_> = commands[..3].iter().map(|command| exec(command)).collect::<Result<_>>()?;
    // The first says more than a pipe holds, and nobody reads.
    thread::sleep(random.moment(Duration::from_millis(600)));
    send(home.process("busy")?, Signal::KILL)?;
    for mut exec in left {
        drop((exec.stdin.take(), exec.stdout.take()));
        until("hv exec ends with its guest", || Ok(exec.try_wait()?.is_some()))?;
        ensure!(exec.wait()?.code() != Some(0), "hv exec succeeded in a guest that was killed");
    }
    end(home, "busy")?;
    told(&format!(
        "{kills} `hv exec` killed, and 3 by the end of their guest: as many descriptors and threads as before ({} and {})",
        before.descriptors.len(),
        before.threads.len()
    ));
    Ok(())
}

/// Shows that the cache is sound after each kill, the next import works, and nothing grows.
pub(super) fn imports_are_killed(home: &Home) -> Result<()> {
    let mut random = Random::new("imports");
    let archive = images()?.join(format!("docker-{}.tar", home.architecture()));
    let (kills, before) = (kills()?, home.files()?);
    let forget = || -> Result<()> {
        home.say(&mut home.hv(["image", "rm", "archived"]))?;
        home.say(&mut home.hv(["image", "prune"]))?.code(0)?;
        let left = new_files(home, &before)?;
        ensure!(left.is_empty(), "the cache has {left:?}");
        Ok(())
    };
    let start = Instant::now();
    home.import(&archive, "archived")?.code(0)?;
    let span = start.elapsed();
    forget()?;
    let mut unfinished = 0;
    for number in 0..kills {
        let at = random.moment(span);
        let mut import = home.hv(["image", "import", "--arch", home.architecture()]);
        let mut import = quiet(import.arg(&archive).arg("archived")).spawn()?;
        thread::sleep(at);
        unfinished += u32::from(import.try_wait()?.is_none());
        import.kill()?;
        import.wait()?;
        let sound = || -> Result<()> {
            for image in home.json(&["image", "ls", "--json"])?.as_array().context("a list")? {
                ensure!(image["complete"] == true, "there is {image}");
            }
            home.import(&archive, "archived")?.code(0)?;
            for root in fs::read_dir(home.data().join("images/roots/sha256"))? {
                said(Command::new("fsck.erofs").arg(root?.path()), b"")?.code(0)?;
            }
            forget()
        };
        sound().with_context(|| format!("kill {number}, after {at:?}"))?;
    }
    ensure!(unfinished > 0, "every import was done before it was killed");
    told(&format!(
        "{kills} imports killed within {span:.1?}, {unfinished} of them unfinished: the next one works, the cache is as before"
    ));
    Ok(())
}
