//! Guests from images of Debian, judged from outside: exit codes, bytes that come out, disks and folders left behind.

#[path = "images/hostile.rs"]
mod hostile;
#[path = "images/kernels.rs"]
mod kernels;
#[path = "images/leaving.rs"]
mod leaving;
#[path = "images/shares.rs"]
mod shares;
#[path = "images/stopping.rs"]
mod stopping;

use std::{
    collections::{BTreeSet, HashSet},
    fs,
    io::Read,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use hv_boot_tests::{
    Guest, Host, ext4,
    images::{Home, Place, Registry, SHARED, Terminal, images, said},
    pattern, until,
};
use libtest_mimic::{Arguments, Failed, Trial};
use rustix::process::{Pid, Signal, kill_process};

type Test = fn(&Home) -> Result<()>;

/// Commands in one guest that they share.
const COMMANDS: &[(&str, Test)] = &[
    ("the_exit_code_is_the_commands", the_exit_code_is_the_commands),
    ("output_and_errors_stay_apart", output_and_errors_stay_apart),
    ("a_hundred_megabytes_of_output_are_whole", a_hundred_megabytes_of_output_are_whole),
    ("a_command_whose_reader_leaves_ends", a_command_whose_reader_leaves_ends),
    ("environment_folder_and_user_are_as_asked", environment_folder_and_user_are_as_asked),
    ("fifty_commands_at_once", fifty_commands_at_once),
    ("a_terminal_is_one_in_the_guest", |home| terminal(&home.exec(&["-i", "-t"], TERMINAL)?)),
    ("a_detached_command_goes_on", leaving::a_detached_command_goes_on),
    ("keys_leave_a_command_to_itself", leaving::keys_leave_a_command_to_itself),
    ("a_full_disk_is_an_error_in_the_guest", a_full_disk_is_an_error_in_the_guest),
];

/// Tests with guests of their own.
const GUESTS: &[(&str, Test)] = &[
    ("a_kept_guest_from_run_to_rm", a_kept_guest_from_run_to_rm),
    ("the_image_says_what_runs", the_image_says_what_runs),
    ("sigterm_is_passed_on", sigterm_is_passed_on),
    ("signals_are_for_the_command", stopping::signals_are_for_the_command),
    ("a_panic_is_a_crash", a_panic_is_a_crash),
    ("an_old_kernel_serves", an_old_kernel_serves),
    ("one_of_two_guests_is_killed", one_of_two_guests_is_killed),
    ("limited_disks_take_their_time", shares::limited_disks_take_their_time),
    ("busy_guests_leave_others_their_share", shares::busy_guests_leave_others_their_share),
];

/// What does not depend on the hypervisor.
const EMULATED_ONLY: &[(&str, Test)] = &[
    ("timeout_ends_the_guest", timeout_ends_the_guest),
    ("run_can_have_a_terminal", run_can_have_a_terminal),
    ("run_takes_input", run_takes_input),
    ("a_guest_is_left_by_keys_if_it_has_a_name", leaving::a_guest_is_left_by_keys_if_it_has_a_name),
    ("the_image_says_how_it_is_stopped", stopping::the_image_says_how_it_is_stopped),
    ("a_log_is_the_same_in_fore_and_background", a_log_is_the_same_in_fore_and_background),
    ("noise_for_the_hosts_port_is_refused", hostile::noise_for_the_hosts_port_is_refused),
    ("an_agent_that_repeats_itself_is_borne", hostile::an_agent_that_repeats_itself_is_borne),
    ("an_agent_that_talks_nonsense_is_an_error", hostile::an_agent_that_talks_nonsense_is_an_error),
    ("hostile_sessions_are_bounded", hostile::hostile_sessions_are_bounded),
    ("a_manifest_names_image_and_command", a_manifest_names_image_and_command),
    ("a_folder_and_a_tar_are_images", a_folder_and_a_tar_are_images),
    ("an_index_has_images_of_both_architectures", an_index_has_images_of_both_architectures),
    ("packages_of_debians_kernels_are_imported", kernels::packages_of_debians_kernels_are_imported),
    (
        "flipped_bits_of_a_cached_disk_hurt_its_guest_alone",
        flipped_bits_of_a_cached_disk_hurt_its_guest_alone,
    ),
    ("killed_imports_do_no_harm", killed_imports_do_no_harm),
    ("killed_runs_leave_nothing", killed_runs_leave_nothing),
    ("an_import_onto_a_full_disk_is_told", an_import_onto_a_full_disk_is_told),
    ("a_full_host_disk_is_an_error_in_the_guest", a_full_host_disk_is_an_error_in_the_guest),
];

/// What needs a registry.
const REGISTRY: &[(&str, Test)] =
    &[("an_image_of_a_registry_runs_on_either_architecture", an_image_of_a_registry)];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    // The first test of a place makes its home.
    let homes: [Arc<Mutex<Option<Arc<Home>>>>; 2] = Default::default();
    let mut trials = Vec::new();
    let mut add =
        |name: &str, which: usize, place: Place, reason: Option<&str>, lists: &[&[(&str, Test)]]| {
            if let Some(reason) = reason {
                eprintln!("tests of images, {name}, are skipped: {reason}");
            }
            for &(test, run) in lists.iter().copied().flatten() {
                let home = Arc::clone(&homes[which]);
                let run = move || run(&*at_home(&home, place)?);
                let run = move || run().map_err(|error| Failed::from(format!("{error:#}")));
                trials.push(Trial::test(format!("{name}::{test}"), run).with_ignored_flag(reason.is_some()));
            }
        };
    add("native", 0, Place::NATIVE, why_not(Host::Native).as_deref(), &[COMMANDS, GUESTS]);
    add(
        "emulated",
        1,
        Place::EMULATED,
        why_not(Host::Emulated).as_deref(),
        &[COMMANDS, GUESTS, EMULATED_ONLY],
    );
    let reason = why_not(Host::Emulated).or_else(why_no_registry);
    add("emulated", 1, Place::EMULATED, reason.as_deref(), &[REGISTRY]);
    let code = libtest_mimic::run(&arguments, trials).exit_code();
    // Guests end and folders go, even where a test's thread still holds one.
    for home in homes {
        drop(home.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
    code
}

fn at_home(home: &Mutex<Option<Arc<Home>>>, place: Place) -> Result<Arc<Home>> {
    let mut home = home.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(home) = &*home {
        return Ok(Arc::clone(home));
    }
    let made = Home::new(place)?;
    Ok(Arc::clone(home.insert(Arc::new(made))))
}

/// Why these tests cannot run on `host`.
fn why_not(host: Host) -> Option<String> {
    host.why_not().or_else(|| images().err().map(|error| error.to_string()))
}

fn why_no_registry() -> Option<String> {
    ["docker-registry", "skopeo"].into_iter().find_map(|tool| {
        let missing = Command::new(tool).arg("--version").output().is_err();
        missing.then(|| format!("there is no {tool}: run `ci/setup images`"))
    })
}

fn sha256(bytes: &[u8]) -> Result<String> {
    Ok(said(&mut Command::new("sha256sum"), bytes)?.code(0)?.text())
}

// --- commands in a guest that they share ---

fn the_exit_code_is_the_commands(home: &Home) -> Result<()> {
    for (script, code) in
        [("true", 0), ("false", 1), ("exit 42", 42), ("kill -KILL $$", 137), ("kill -TERM $$", 143)]
    {
        home.say(&mut home.exec(&[], &["sh", "-c", script])?)?.code(code).context(script)?;
    }
    for (command, code, word) in [("/no/such/file", 127, "not found"), ("/etc/passwd", 126, "not executable")]
    {
        let said = home.say(&mut home.exec(&[], &[command])?)?.code(code).context(command)?;
        ensure!(said.stderr.contains(word) && said.stderr.lines().count() == 1, "it said {:?}", said.stderr);
    }
    Ok(())
}

fn output_and_errors_stay_apart(home: &Home) -> Result<()> {
    let script = r"printf 'out\000\377\r\n'; printf 'err\n' >&2; printf 'no end of line'";
    let said = home.say(&mut home.exec(&[], &["sh", "-c", script])?)?.code(0)?;
    ensure!(said.stdout == b"out\0\xff\r\nno end of line", "standard output is {:?}", said.text());
    ensure!(said.stderr == "err\n", "standard error is {:?}", said.stderr);
    Ok(())
}

fn a_hundred_megabytes_of_output_are_whole(home: &Home) -> Result<()> {
    let input = pattern(1_250_000);
    ensure!(input.len() == 10_000_000, "the input has {} bytes", input.len());
    let script = "cat >/dev/shm/input; sha256sum </dev/shm/input";
    let said = said(&mut home.exec(&["-i"], &["sh", "-c", script])?, &input)?.code(0)?;
    ensure!(said.text() == sha256(&input)?, "the guest got other input: {}", said.text());

    let script = "for i in 0 1 2 3 4 5 6 7 8 9; do cat /dev/shm/input; done; rm /dev/shm/input";
    let begin = Instant::now();
    let said = home.say(&mut home.exec(&[], &["sh", "-c", script])?)?.code(0)?;
    eprintln!("100 MB came out of a guest in {:.1} s", begin.elapsed().as_secs_f64());
    ensure!(said.stdout.len() == 10 * input.len(), "{} bytes came out", said.stdout.len());
    ensure!(sha256(&said.stdout)? == sha256(&input.repeat(10))?, "other bytes came out");
    Ok(())
}

fn a_command_whose_reader_leaves_ends(home: &Home) -> Result<()> {
    let mut child = home.exec(&[], &["yes"])?.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut first = [0];
    child.stdout.take().context("it has an output")?.read_exact(&mut first)?;
    until("hv ends when nobody reads", || Ok(child.try_wait()?.is_some()))?;
    ensure!(&first == b"y", "the guest said {first:?}");
    let code = child.wait()?.code();
    ensure!(code == Some(128 + 13), "hv ended with {code:?}, not as the command by SIGPIPE");
    let left = home.say(&mut home.exec(&[], &["sh", "-c", "cat /proc/[0-9]*/comm | grep -x yes"])?)?;
    ensure!(left.text().is_empty(), "the command lives on in the guest");
    Ok(())
}

fn environment_folder_and_user_are_as_asked(home: &Home) -> Result<()> {
    let script = r#"echo "$ONE|$TWO|$PWD|$HOME|$USER|$(id -u):$(id -g)|$(id -Gn)""#;
    let options = ["-e", "ONE=1", "--env", "TWO=a b=c", "-w", "/var/new/folder"];
    for (user, expected) in [
        (None, "1|a b=c|/var/new/folder|/root|root|0:0|root"),
        (Some("games"), "1|a b=c|/var/new/folder|/usr/games|games|5:60|games"),
        (Some("games:mail"), "1|a b=c|/var/new/folder|/usr/games|games|5:8|mail"),
        (Some("5"), "1|a b=c|/var/new/folder|/usr/games|games|5:60|games"),
        (Some("1234:60"), "1|a b=c|/var/new/folder|/||1234:60|games"),
    ] {
        let options: Vec<_> =
            options.into_iter().chain(user.into_iter().flat_map(|user| ["-u", user])).collect();
        let said = home.say(&mut home.exec(&options, &["sh", "-c", script])?)?.code(0)?;
        ensure!(said.text() == expected, "as {user:?} the guest said {} instead of {expected}", said.text());
    }
    // What is not asked for is as for the guest's own command: the image says so.
    let said = home.say(&mut home.exec(&[], &["sh", "-c", "echo \"$GREETING|$PWD\""])?)?.code(0)?;
    ensure!(said.text() == "hello from the image|/srv", "the image's own are not there: {}", said.text());
    let said = home.say(&mut home.exec(&["-u", "nobody-of-that-name"], &["true"])?)?.code(126)?;
    ensure!(said.stderr.contains("nobody-of-that-name"), "it said {:?}", said.stderr);
    Ok(())
}

fn fifty_commands_at_once(home: &Home) -> Result<()> {
    let one = |number: i32| -> Result<()> {
        let script = format!("echo out {number}; echo err {number} >&2; exit {number}");
        let said = home.say(&mut home.exec(&[], &["sh", "-c", &script])?)?.code(number)?;
        ensure!(said.text() == format!("out {number}"), "command {number} said {:?}", said.text());
        ensure!(said.stderr == format!("err {number}\n"), "command {number} said {:?}", said.stderr);
        Ok(())
    };
    thread::scope(|scope| {
        let all: Vec<_> = (1..=50).map(|number| scope.spawn(move || one(number))).collect();
        all.into_iter().try_for_each(|thread| thread.join().expect("it does not panic"))
    })
}

/// Shows the size of its terminal now and whenever it changes, until ^C.
const TERMINAL: &[&str] = &[
    "sh",
    "-c",
    "trap 'echo now $(stty size)' WINCH; echo at first $(stty size); echo err $(test -t 2 && tty) >&2; \
     while :; do sleep 0.1; done",
];

fn terminal(command: &Command) -> Result<()> {
    let mut terminal = Terminal::run(command, 100, 30)?;
    terminal.wait_for("at first 30 100")?;
    terminal.wait_for("err /dev/pts/")?;
    ensure!(terminal.is_raw()?, "the terminal is not raw while the command runs");
    terminal.resize(120, 40)?;
    terminal.wait_for("now 40 120")?;
    terminal.type_text("\x03")?;
    let code = terminal.wait()?;
    ensure!(code == 128 + 2, "^C made it {code}: {:?}", terminal.shown());
    ensure!(terminal.is_as_before()?, "the terminal is not as it was before");
    Ok(())
}

fn a_full_disk_is_an_error_in_the_guest(home: &Home) -> Result<()> {
    let script = "mkdir -p /mnt/small && mount -t tmpfs -o size=1M none /mnt/small && dd if=/dev/zero of=/mnt/small/file bs=64k";
    let said = home.say(&mut home.exec(&[], &["sh", "-c", script])?)?.code(1)?;
    ensure!(said.stderr.contains("No space left on device"), "dd said {:?}", said.stderr);
    home.say(&mut home.exec(&[], &["umount", "/mnt/small"])?)?.code(0).map(drop)
}

// --- guests ---

fn a_kept_guest_from_run_to_rm(home: &Home) -> Result<()> {
    let script = "echo shown; echo told >&2; trap 'exit 3' TERM; while :; do sleep 0.1; done";
    let started = home.say(&mut home.run_script(&["-d", "--name", "kept"], script))?.code(0)?;
    ensure!(started.stdout == b"kept\n", "hv run -d said {:?}", started.text());
    let image = home.kept("kept").join("upper.img");
    let exec = |options: &[&str], script: &str| {
        home.say(&mut home.exec_in("kept", options, &["sh", "-c", script]))?.code(0)
    };

    let listed = home.json(&["ps", "--json"])?;
    let is_listed = |guest: &&serde_json::Value| guest["name"] == "kept" && guest["state"] == "running";
    let listed =
        listed.as_array().context("a list")?.iter().find(is_listed).context("it is not listed")?.clone();
    let mut inspected = home.json(&["inspect", "kept"])?;
    // The guest's process alone knows what passed its card.
    let network = inspected["network"].as_object_mut().context("it has a network")?;
    ensure!(network.remove("counts").is_some(), "inspect counts nothing on the network");
    ensure!(listed == inspected, "ps says {listed} and inspect says {inspected}");
    ensure!(inspected["image"] == "debian" && inspected["kept"] == true, "inspect says {inspected}");
    until("the log has both lines", || {
        let text = home.say(&mut home.hv(["logs", "kept"]))?.code(0)?.text();
        Ok(text.lines().collect::<HashSet<_>>() == HashSet::from(["shown", "told"]))
    })?;

    ensure!(exec(&[], "hostname")?.text() == "kept", "the guest has another host name");
    exec(&[], "echo first >/root/first")?;
    home.say(&mut home.hv(["pause", "kept"]))?.code(0)?;
    ensure!(home.listed("kept")?["state"] == "paused", "it is not paused");
    let mut waiting = home.exec_in("kept", &[], &["true"]).stdin(Stdio::null()).spawn()?;
    thread::sleep(Duration::from_millis(500));
    ensure!(waiting.try_wait()?.is_none(), "a paused guest ran a command");
    home.say(&mut home.hv(["resume", "kept"]))?.code(0)?;
    ensure!(waiting.wait()?.success(), "the command did not go on with the guest");

    // The command has its own say when the guest is stopped.
    home.say(&mut home.hv(["stop", "kept"]))?.code(0)?;
    home.say(&mut home.hv(["wait", "kept"]))?.code(3)?;
    ensure!(home.listed("kept")?["ended"]["code"] == 3, "ps says {}", home.listed("kept")?);
    ext4::check(&image)?;
    ensure!(ext4::file(&image, "upper/root/first")? == b"first\n", "what the guest wrote is not there");

    // The same guest once more, whose process is killed.
    let script = "exec sleep 100000";
    home.say(&mut home.run_script(&["-d", "--name", "kept"], script))?.code(0)?;
    ensure!(exec(&[], "cat /root/first")?.text() == "first", "the guest does not have its file");
    exec(&["-e", "TEXT=second"], "echo $TEXT >/root/second; sync")?;
    let pid = home.process("kept")?;
    kill_process(Pid::from_raw(i32::try_from(pid)?).context("0 is no process")?, Signal::KILL)?;
    let waited = home.say(&mut home.hv(["wait", "kept"]))?.code(125)?;
    ensure!(waited.stderr.contains("killed"), "hv wait said {:?}", waited.stderr);
    ensure!(home.listed("kept")?["ended"]["code"].is_null(), "ps says {}", home.listed("kept")?);
    let copy = tempfile::NamedTempFile::new()?;
    said(Command::new("cp").arg("--sparse=always").arg(&image).arg(copy.path()), b"")?.code(0)?;
    ext4::replay(copy.path())?;
    ensure!(ext4::file(copy.path(), "upper/root/second")? == b"second\n", "what was synced is not there");

    // And the guest itself mends it as well.
    let script = "cat /root/first /root/second; exit 9";
    let said = home.say(&mut home.run_script(&["--name", "kept"], script))?.code(9)?;
    ensure!(said.stdout == b"first\nsecond\n", "the guest said {:?}", said.text());
    ext4::check(&image)?;
    home.say(&mut home.hv(["rm", "kept"]))?.code(0)?;
    ensure!(!home.kept("kept").exists(), "the guest's folder is still there");
    Ok(())
}

fn the_image_says_what_runs(home: &Home) -> Result<()> {
    let said = home.say(home.run(&[]).arg("debian"))?.code(0)?;
    let expected = format!("hello from the image, on {}\n", home.architecture());
    ensure!(said.stdout == expected.as_bytes(), "the image's command said {:?}", said.text());
    Ok(())
}

fn sigterm_is_passed_on(home: &Home) -> Result<()> {
    let mut guest = Guest::spawn(home.run_script(&[], "echo up; exec sleep 1000"))?;
    guest.wait_for("up")?;
    guest.signal(Signal::TERM)?;
    guest.wait()?.code(143).map(drop)
}

fn a_panic_is_a_crash(home: &Home) -> Result<()> {
    let said = home.say(&mut home.run_script(&[], "echo c >/proc/sysrq-trigger; sleep 100"))?.code(123)?;
    ensure!(said.stderr.contains("Kernel panic - not syncing: sysrq triggered crash"), "{}", said.stderr);
    ensure!(said.stdout.is_empty(), "the panic is on standard output: {}", said.text());
    Ok(())
}

fn an_old_kernel_serves(home: &Home) -> Result<()> {
    let said = home.say(&mut home.run_script(&["--kernel", "old"], "uname -r; exit 42"))?.code(42)?;
    ensure!(said.text().starts_with("6.1."), "the guest runs {}", said.text());
    Ok(())
}

fn one_of_two_guests_is_killed(home: &Home) -> Result<()> {
    home.say(&mut home.exec(&[], &["true"])?)?.code(0)?;
    home.say(&mut home.run_script(&["-d", "--name", "other"], "exec sleep 100000"))?.code(0)?;
    for name in [SHARED, "other"] {
        let said = home.say(&mut home.exec_in(name, &[], &["hostname"]))?.code(0)?;
        ensure!(said.text() == name, "{name} is {}", said.text());
    }
    home.say(&mut home.hv(["kill", "other"]))?.code(0)?;
    home.say(&mut home.hv(["wait", "other"]))?.code(137)?;
    let said = home.say(&mut home.exec_in("other", &[], &["true"]))?.code(125)?;
    ensure!(said.stderr.contains("does not run"), "hv exec said {:?}", said.stderr);
    home.say(&mut home.hv(["rm", "other"]))?.code(0)?;
    let listed = home.json(&["ps", "--all", "--json"])?;
    let names = listed.as_array().context("a list")?.iter().filter(|guest| guest["name"] == "other");
    ensure!(names.count() == 0, "it is still listed: {listed}");
    home.say(&mut home.exec(&[], &["true"])?)?.code(0).map(drop)
}

// --- what does not depend on the hypervisor ---

fn timeout_ends_the_guest(home: &Home) -> Result<()> {
    let said = home.say(&mut home.run_script(&["--timeout", "6s"], "exec sleep 1000"))?.code(124)?;
    ensure!(said.stderr.contains("--timeout") && said.stderr.lines().count() == 1, "it said {}", said.stderr);
    Ok(())
}

fn run_can_have_a_terminal(home: &Home) -> Result<()> {
    let mut command = home.run(&["-i", "-t"]);
    command.args(["debian", "--"]).args(TERMINAL);
    terminal(&command)
}

fn run_takes_input(home: &Home) -> Result<()> {
    let input = pattern(200_000);
    let said = said(home.run(&["--interactive"]).args(["debian", "--", "sha256sum"]), &input)?.code(0)?;
    ensure!(said.text() == sha256(&input)?, "the guest got other input: {}", said.text());
    Ok(())
}

fn a_log_is_the_same_in_fore_and_background(home: &Home) -> Result<()> {
    let script = "for i in 1 2 3; do echo out $i; echo err $i >&2; sleep 0.1; done; exit 3";
    let mut logs = Vec::new();
    for options in [&["--name", "logged"][..], &["-d", "--name", "logged"]] {
        let ran = home.say(&mut home.run_script(options, script))?;
        if options.contains(&"-d") {
            ran.code(0)?;
        } else {
            let ran = ran.code(3)?;
            ensure!(ran.stdout == b"out 1\nout 2\nout 3\n", "it said {:?}", ran.text());
        }
        home.say(&mut home.hv(["wait", "logged"]))?.code(3)?;
        logs.push(home.say(&mut home.hv(["logs", "logged"]))?.code(0)?.text());
        home.say(&mut home.hv(["rm", "logged"]))?.code(0)?;
    }
    ensure!(logs[0] == logs[1], "in front {:?}, in the background {:?}", logs[0], logs[1]);
    ensure!(logs[0] == "out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3", "the log is {:?}", logs[0]);
    Ok(())
}

fn a_manifest_names_image_and_command(home: &Home) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let manifest = "image = \"debian\"\nenv = { GREETING = \"hello from hv.toml\" }\n\
                    command = [\"sh\", \"-c\", \"echo $GREETING in $PWD; exit 5\"]\n";
    fs::write(folder.path().join("hv.toml"), manifest)?;
    let said = home.say(home.run(&[]).current_dir(folder.path()))?.code(5)?;
    ensure!(said.text() == "hello from hv.toml in /srv", "the guest said {:?}", said.text());
    Ok(())
}

/// Makes a root of busybox alone in `folder`, and a tar archive of it.
fn busybox_root(home: &Home, folder: &Path) -> Result<(PathBuf, PathBuf)> {
    let (root, tar) = (folder.join("root"), folder.join("root.tar"));
    fs::create_dir_all(root.join("bin"))?;
    fs::copy(home.busybox()?, root.join("bin/busybox"))?;
    symlink("busybox", root.join("bin/sh"))?;
    said(Command::new("tar").arg("-cf").arg(&tar).arg("-C").arg(&root).arg("."), b"")?.code(0)?;
    Ok((root, tar))
}

fn a_folder_and_a_tar_are_images(home: &Home) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (root, tar) = busybox_root(home, folder.path())?;
    for image in [&root, &tar] {
        let mut command = home.run(&[]);
        command.arg(image).args(["--", "/bin/sh", "-c", "busybox uname -m; busybox readlink /bin/sh"]);
        let said = home.say(&mut command)?.code(0)?;
        ensure!(said.text() == format!("{}\nbusybox", home.architecture()), "it said {:?}", said.text());
    }
    Ok(())
}

/// The disk of an image is a file system that the guest's kernel reads, and `hv` hands its blocks on.
fn flipped_bits_of_a_cached_disk_hurt_its_guest_alone(home: &Home) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let disks = || -> Result<BTreeSet<PathBuf>> {
        let files = home.files()?.into_iter();
        Ok(files.filter(|path| path.extension().is_some_and(|extension| extension == "erofs")).collect())
    };
    let before = disks()?;
    home.import(&busybox_root(home, folder.path())?.1, "flipped")?.code(0)?;
    let disk = disks()?.difference(&before).next().context("the import made a disk")?.clone();
    let sound = fs::read(&disk)?;
    let run = || {
        let mut run = home.run(&["--timeout", "60s"]);
        home.say(run.args(["flipped", "--", "sh", "-c", "exit 7"]))
    };
    run()?.code(7)?;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % below
    };
    let mut hurt = 0;
    // Few anywhere, many anywhere, and many in the superblock and the inodes behind it.
    for (flips, below) in [(16, sound.len()), (4096, sound.len()), (64, 4096)] {
        let mut flipped = sound.clone();
        for _ in 0..flips {
            flipped[random(below)] ^= 1 << random(8);
        }
        fs::write(&disk, &flipped)?;
        let said = run()?;
        let code =
            said.status.code().with_context(|| format!("{flips} flipped bits ended hv: {}", said.status))?;
        ensure!(code != 101 && !said.stderr.contains("panicked at"), "{flips} flipped bits: {}", said.stderr);
        ensure!(fs::read(&disk)? == flipped, "the guest changed the image of all guests");
        hurt += i32::from(code != 7);
    }
    ensure!(hurt > 0, "no flipped bit was ever seen");
    fs::write(&disk, &sound)?;
    run()?.code(7)?;
    home.say(&mut home.hv(["image", "rm", "flipped"]))?.code(0).map(drop)
}

fn killed_imports_do_no_harm(home: &Home) -> Result<()> {
    let archive = images()?.join(format!("docker-{}.tar", home.architecture()));
    let store = home.data().join("images");
    let mut unfinished = 0;
    for milliseconds in [2, 10, 30, 60, 100, 150, 200, 300, 400, 500] {
        let mut import = home.hv(["image", "import", "--arch", home.architecture()]);
        let mut import = import.arg(&archive).arg("archived").stdout(Stdio::null()).spawn()?;
        thread::sleep(Duration::from_millis(milliseconds));
        unfinished += i32::from(import.try_wait()?.is_none());
        import.kill()?;
        import.wait()?;
        for listed in home.json(&["image", "ls", "--json"])?.as_array().context("a list")? {
            ensure!(listed["complete"] == true, "after {milliseconds} ms there is {listed}");
        }
    }
    ensure!(unfinished > 0, "every import was done before it was killed");
    home.import(&archive, "archived")?.code(0)?;
    home.say(&mut home.hv(["image", "prune"]))?.code(0)?;
    let left: Vec<_> =
        fs::read_dir(store.join("tmp"))?.filter_map(Result::ok).map(|entry| entry.path()).collect();
    let size: u64 = left.iter().filter_map(|path| path.metadata().ok()).map(|metadata| metadata.len()).sum();
    ensure!(size == 0, "killed imports left {left:?}");
    check_roots(&store)?;
    let said = home.say(home.run(&[]).arg("archived"))?.code(0)?;
    ensure!(said.text().starts_with("hello from the image"), "the guest said {:?}", said.text());
    Ok(())
}

fn killed_runs_leave_nothing(home: &Home) -> Result<()> {
    let name = ["--rm", "--name", "killed"];
    for milliseconds in [5, 20, 100, 400, 1000, 2500] {
        let mut run = home.run_script(&name, "exec sleep 1000");
        let mut run = run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        thread::sleep(Duration::from_millis(milliseconds));
        run.kill()?;
        run.wait()?;
        let listed = home.json(&["ps", "--all", "--json"])?;
        let is_left = listed.as_array().into_iter().flatten().any(|guest| guest["name"] == "killed");
        ensure!(!is_left, "a run that was killed after {milliseconds} ms is listed: {listed}");
    }
    ensure!(!home.kept("killed").exists(), "a run that was killed left a folder");
    home.say(&mut home.run_script(&name, "exit 7"))?.code(7)?;
    check_roots(&home.data().join("images"))
}

fn an_index_has_images_of_both_architectures(home: &Home) -> Result<()> {
    let layout = images()?.join("layout");
    for architecture in ["x86_64", "aarch64"] {
        let mut import = home.hv(["image", "import", "--arch", architecture]);
        home.say(import.arg(&layout).arg("debian"))?.code(0)?;
    }
    let has = architectures(home, "docker.io/library/debian:latest")?;
    ensure!(has == HashSet::from(["x86_64".to_owned(), "aarch64".to_owned()]), "it has {has:?}");
    Ok(())
}

/// For which architectures `hv image ls` has an image.
fn architectures(home: &Home, name: &str) -> Result<HashSet<String>> {
    let listed = home.json(&["image", "ls", "--json"])?;
    let own = listed.as_array().into_iter().flatten().filter(|image| image["reference"] == name);
    Ok(own.filter_map(|image| image["architecture"].as_str()).map(str::to_owned).collect())
}

fn an_import_onto_a_full_disk_is_told(home: &Home) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mount = ["-t", "tmpfs", "-o", "size=24M,mode=700", "none"];
    said(Command::new("mount").args(mount).arg(folder.path()), b"")?.code(0)?;
    let import = || {
        let mut import = home.hv(["image", "import", "--arch", home.architecture()]);
        home.say(import.env("XDG_DATA_HOME", folder.path()).arg(images()?.join("layout")).arg("debian"))
    };
    let list = || {
        let mut list = home.hv(["image", "ls", "--json"]);
        home.say(list.env("XDG_DATA_HOME", folder.path()))
    };
    let (imported, listed) = (import(), list());
    let left = fs::read_dir(folder.path().join("hv/images/tmp")).map(|left| {
        left.filter_map(|entry| entry.ok()?.metadata().ok()).map(|metadata| metadata.len()).sum::<u64>()
    });
    said(Command::new("umount").arg(folder.path()), b"")?.code(0)?;
    let told = imported?.code(125)?.stderr;
    ensure!(told.contains("No space left") && told.lines().count() == 1, "it was told {told:?}");
    ensure!(listed?.code(0)?.text() == "[]", "what was not imported is listed");
    ensure!(left? == 0, "what was not imported takes room");
    Ok(())
}

/// Every root in the cache is a sound file system.
fn check_roots(store: &Path) -> Result<()> {
    for root in fs::read_dir(store.join("roots/sha256"))? {
        said(Command::new("fsck.erofs").arg(root?.path()), b"")?.code(0)?;
    }
    Ok(())
}

fn a_full_host_disk_is_an_error_in_the_guest(home: &Home) -> Result<()> {
    let folder = home.kept("small");
    fs::create_dir_all(&folder)?;
    let mount = ["-t", "tmpfs", "-o", "size=8M,mode=700", "none"];
    said(Command::new("mount").args(mount).arg(&folder), b"")?.code(0)?;
    let script = "dd if=/dev/zero of=/root/file bs=1M count=32 conv=fsync; echo dd $?; exit 5";
    let ran = home.say(&mut home.run_script(&["--name", "small"], script));
    said(Command::new("umount").arg(&folder), b"")?.code(0)?;
    let ran = ran?.code(5)?;
    ensure!(ran.text() == "dd 1", "the guest said {:?} and {:?}", ran.text(), ran.stderr);
    Ok(())
}

fn an_image_of_a_registry(home: &Home) -> Result<()> {
    let registry = Registry::start()?;
    registry.push("team/debian:test")?;
    let name = registry.name("team/debian:test");
    let said = home.say(home.run(&[]).args([&name, "--", "uname", "-m"]))?.code(0)?;
    ensure!(said.text() == home.architecture(), "the guest said {:?}", said.text());
    let other = if home.architecture() == "x86_64" { "aarch64" } else { "x86_64" };
    let had = architectures(home, &name)?;
    ensure!(had == HashSet::from([home.architecture().to_owned()]), "it has {had:?} of {name}");
    home.say(&mut home.hv(["image", "pull", "--arch", other, &name]))?.code(0)?;
    let has = architectures(home, &name)?;
    ensure!(has.len() == 2 && has.contains(other), "it has {has:?} of {name}");
    home.say(&mut home.hv(["image", "rm", &name]))?.code(0)?;
    ensure!(architectures(home, &name)?.is_empty(), "{name} is still listed");
    Ok(())
}
