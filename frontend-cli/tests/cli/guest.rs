//! Runs of tiny guests: how they end, what they are told and show, and what happens to the terminal.
//!
//! The guests are ELF files of a few instructions that any KVM runs, so `--accel kvm` lets them onto a host whose KVM
//! cannot run stock kernels.

use std::{
    fs::{self, OpenOptions},
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    child::{FAILED, hv, refusal},
    harness::{Case, Outcome},
    terminal::Terminal,
};

pub(crate) const CASES: &[Case] = &[
    ("a_guest_that_powers_off_is_success", || with_kvm(power_off)),
    ("a_guest_that_crashes_is_123", || with_kvm(crash)),
    ("a_guest_that_takes_too_long_is_124", || with_kvm(timeout)),
    ("a_quota_holds_what_a_busy_guest_uses", || with_kvm(quota)),
    ("shares_of_a_host_do_not_keep_a_guest_from_running", || with_kvm(shares)),
    ("a_reboot_is_a_new_start_or_the_end", || with_kvm(reboot)),
    ("piped_bytes_reach_the_guest_unchanged", || with_kvm(piped)),
    ("a_reader_that_sleeps_holds_nothing_up_beyond_the_timeout", || with_kvm(unread)),
    ("readers_that_left_do_not_hurt_the_guest", || with_kvm(deserted)),
    ("a_second_signal_ends_a_guest_without_a_power_button", || with_kvm(signals)),
    ("keys_reach_the_guest_and_the_terminal_comes_back", || with_kvm(keys)),
    ("a_signal_gives_the_terminal_back", || with_kvm(signals_on_a_terminal)),
    ("wrong_kernels_are_refused", || with_kvm(wrong_kernels)),
];

/// So long a child may take that is not broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Where the guests are loaded and entered.
const ENTRY: u64 = 1 << 20;
const HEADERS: u64 = 64 + 56;

/// Opens COM1 (DTR, RTS) and shows `>`.
pub(crate) const GREET: &[u8] = b"\x66\xba\xfc\x03\xb0\x03\xee\x66\xba\xf8\x03\xb0\x3e\xee";
/// Enters S5 through PM1 control (0x604), then spins.
pub(crate) const POWER_OFF: &[u8] = b"\x66\xba\x04\x06\x66\xb8\x01\x34\x66\xef\xeb\xfe";
/// Says `x` on COM1 so often that a pipe overflows, and the guest still need not wait.
const TALK: &[u8] = b"\xb9\xa0\x86\x01\x00\x66\xba\xf8\x03\xb0\x78\xee\xff\xc9\x75\xfb";
pub(crate) const SPIN: &[u8] = b"\xeb\xfe";
/// An undefined instruction, without anyone to handle it: a triple fault.
pub(crate) const CRASH: &[u8] = b"\x0f\x0b";
/// Sends back each byte of COM1 until `q`, which goes on after this.
pub(crate) const ECHO: &[u8] =
    b"\x66\xba\xfd\x03\xec\xa8\x01\x74\xf7\x66\xba\xf8\x03\xec\x3c\x71\x74\x03\xee\xeb\xeb";
/// Goes on after this if byte 0x40 of the CMOS RAM, which a reset keeps, is set; else sets it and resets by the i8042.
const RESET_ONCE: &[u8] = b"\xb0\x40\xe6\x70\xe4\x71\x84\xc0\x75\x0a\xb0\x01\xe6\x71\xb0\xfe\xe6\x64\xeb\xfe";

pub(crate) fn with_kvm(case: fn(&Path)) -> Outcome {
    if let Err(error) = OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        return Outcome::Skipped(format!("/dev/kvm: {error}"));
    }
    let folder = tempfile::tempdir().unwrap();
    case(folder.path());
    Outcome::Passed
}

/// An ELF file of one segment with these instructions.
pub(crate) fn kernel(folder: &Path, code: &[&[u8]], memory_size: u64) -> PathBuf {
    let code = code.concat();
    let size = HEADERS + code.len() as u64;
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    let words = [ENTRY + HEADERS, 64, 0];
    elf.extend(words.into_iter().flat_map(u64::to_le_bytes));
    elf.extend(b"\0\0\0\0\x40\0\x38\0\x01\0\0\0\0\0\0\0");
    elf.extend(b"\x01\0\0\0\x07\0\0\0");
    let words = [0, ENTRY, ENTRY, size, memory_size.max(size), 0x1000];
    elf.extend(words.into_iter().flat_map(u64::to_le_bytes));
    elf.extend(code);
    let path = folder.join("kernel");
    fs::write(&path, elf).unwrap();
    path
}

/// `hv run` of these instructions.
fn run(folder: &Path, code: &[&[u8]], words: &[&str]) -> Command {
    let mut command = hv(&["run", "--accel", "kvm", "--memory", "64M", "--kernel"]);
    command.arg(kernel(folder, code, 0)).args(words).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn check(output: &Output, code: i32, shown: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), shown, "{stderr}");
    assert_eq!(stderr.lines().count(), usize::from(code != 0), "{stderr}");
}

fn power_off(folder: &Path) {
    check(&run(folder, &[GREET, POWER_OFF], &[]).output().unwrap(), 0, ">");
    let two = ["--cpus", "2", "--transport", "mmio", "--timeout", "60s"];
    check(&run(folder, &[GREET, POWER_OFF], &two).output().unwrap(), 0, ">");
}

fn crash(folder: &Path) {
    check(&run(folder, &[GREET, CRASH], &[]).output().unwrap(), 123, ">");
}

fn timeout(folder: &Path) {
    check(&run(folder, &[GREET, SPIN], &["--timeout", "700ms"]).output().unwrap(), 124, ">");
}

/// The margin is wide: the bound is twice the quota, and a guest without one uses four times as much.
fn quota(folder: &Path) {
    let words = ["--cpus", "2", "--cpu-quota", "0.25", "--timeout", "60s"];
    let mut child = run(folder, &[GREET, SPIN], &words).spawn().unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
    let (before, start) = (processor_time(&child), Instant::now());
    thread::sleep(Duration::from_secs(2));
    let used = processor_time(&child) - before;
    let most = start.elapsed() / 2;
    assert!(used <= most, "{used:?} of processor time, and at most {most:?} was expected");
    assert!(!used.is_zero(), "it runs");
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    child.wait().unwrap();
}

/// Processor time that a child has used, that of its guest too.
fn processor_time(child: &Child) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    // Behind the name, which ends with the last parenthesis: field 3 on; utime and stime are fields 14 and 15.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

fn shares(folder: &Path) {
    fs::write(folder.join("disk"), [0; 4096]).unwrap();
    let disk = format!("{},iops=10,bw=1M", folder.join("disk").display());
    for transport in ["pci", "mmio"] {
        let words = [
            "--balloon",
            "--cpu-quota",
            "50%",
            "--disk",
            &disk,
            "--transport",
            transport,
            "--timeout",
            "60s",
        ];
        check(&run(folder, &[GREET, POWER_OFF], &words).output().unwrap(), 0, ">");
    }
}

fn reboot(folder: &Path) {
    let code = [GREET, RESET_ONCE, POWER_OFF];
    // The console ends the line that the reset cut off.
    check(&run(folder, &code, &[]).output().unwrap(), 0, ">\r\n>");
    check(&run(folder, &code, &["--on-reboot", "exit"]).output().unwrap(), 0, ">");
}

fn piped(folder: &Path) {
    let mut child = run(folder, &[GREET, ECHO, POWER_OFF], &[]).stdin(Stdio::piped()).spawn().unwrap();
    let text: String = ('!'..='~').filter(|c| *c != 'q').cycle().take(8000).collect();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    stdin.write_all(b"\x01x\x03\x1a\r\nq").unwrap();
    drop(stdin);
    check(&child.wait_with_output().unwrap(), 0, &format!(">{text}\x01x\x03\x1a\r\n"));
}

fn unread(folder: &Path) {
    let mut child = run(folder, &[GREET, TALK, POWER_OFF], &["--timeout", "5s"]).spawn().unwrap();
    let status = wait(&mut child);
    let Output { stdout, stderr, .. } = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr);
    // Where the host is slow, the guest did not come to its end in time.
    assert!([Some(0), Some(124)].contains(&status.code()), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stdout.starts_with(b">xxx"));
}

fn deserted(folder: &Path) {
    let mut child = run(folder, &[GREET, TALK, POWER_OFF], &["-v"]).spawn().unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(wait(&mut child).code(), Some(0));
}

/// Waits for the child's end, but not for ever.
pub(crate) fn wait(child: &mut Child) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if start.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("hv does not end");
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn signals(folder: &Path) {
    let terminal = Terminal::open();
    let mut child = run(folder, &[GREET, SPIN], &[]).stdout(terminal.far()).spawn().unwrap();
    terminal.wait_for(">");
    send_until_ended(&mut child);
}

/// Sends SIGTERM until the child ends: the first presses a power button that this guest does not hear.
fn send_until_ended(child: &mut Child) {
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < PATIENCE, "hv does not end");
        kill_process(Pid::from_child(child), Signal::TERM).unwrap();
        thread::sleep(Duration::from_millis(200));
    }
}

fn keys(folder: &Path) {
    let terminal = Terminal::open();
    let mut child = terminal.start(run(folder, &[GREET, ECHO, POWER_OFF], &[]));
    terminal.wait_for(">");
    assert!(terminal.is_raw());
    terminal.type_in(b"abc\x03\x01\x01");
    terminal.wait_for("abc\x03\x01");
    terminal.type_in(b"\x01?");
    terminal.wait_for("Ctrl-A x");
    assert!(child.try_wait().unwrap().is_none(), "Ctrl-C is the guest's");
    terminal.type_in(b"\x01x");
    child.wait().unwrap();
    assert!(!terminal.is_raw());
    let mut child = terminal.start(run(folder, &[GREET, ECHO, POWER_OFF], &[]));
    terminal.wait_for(">");
    terminal.type_in(b"q");
    assert!(child.wait().unwrap().success());
    assert!(!terminal.is_raw());
}

fn signals_on_a_terminal(folder: &Path) {
    let terminal = Terminal::open();
    let mut child = terminal.start(run(folder, &[GREET, SPIN], &[]));
    terminal.wait_for(">");
    assert!(terminal.is_raw());
    send_until_ended(&mut child);
    assert!(!terminal.is_raw());
}

fn wrong_kernels(folder: &Path) {
    let refused = |words: &[&str], expected: &[&str]| {
        let mut command = hv(&["run", "--accel", "kvm"]);
        let line = refusal(command.current_dir(folder).args(words), FAILED);
        assert!(expected.iter().all(|word| line.contains(word)), "{words:?}: {line}");
    };
    fs::write(folder.join("text"), "no kernel\n".repeat(1000)).unwrap();
    fs::write(folder.join("gzip"), b"\x1f\x8b\x08\0".repeat(1000)).unwrap();
    let whole = fs::read(kernel(folder, &[SPIN], 0)).unwrap();
    fs::write(folder.join("truncated"), &whole[..whole.len() - 1]).unwrap();
    refused(&["--kernel", "text"], &["kernel text"]);
    refused(&["--kernel", "gzip"], &["kernel gzip", "gzip"]);
    refused(&["--kernel", "truncated"], &["kernel truncated"]);
    refused(&["--kernel", "kernel", "--append", &"x".repeat(2100)], &["command line", "2047", "--append"]);
    kernel(folder, &[SPIN], 100 << 20);
    refused(&["--kernel", "kernel", "--memory", "64M"], &["64 MiB", "--memory"]);
}
