//! The examples, run as programs: what they say is what their guests did.

#[path = "../examples/common/host.rs"]
mod host;
#[expect(dead_code, reason = "more than a kernel's file is for the examples")]
#[path = "../examples/common/tiny_kernel.rs"]
mod tiny_kernel;

use std::{
    env, fs,
    path::Path,
    process::{Command, ExitCode, Output},
};

use host::Host;
use hv_core::hypervisor::ArchOf;
use libtest_mimic::{Arguments, Failed, Trial};
use tiny_kernel::{Code, TinyKernel};

type Test = fn() -> Result<(), Failed>;

const TESTS: [(&str, Test); 3] =
    [("boot_kernel", boot_kernel), ("add_device", add_device), ("drive_guest", drive_guest)];

fn main() -> ExitCode {
    let obstacle = fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").err();
    if let Some(error) = &obstacle {
        eprintln!("examples: ignored, since /dev/kvm cannot be opened: {error}");
    }
    let trial = |(name, test)| Trial::test(name, test).with_ignored_flag(obstacle.is_some());
    libtest_mimic::run(&Arguments::from_args(), TESTS.into_iter().map(trial).collect()).exit_code()
}

/// Runs an example, which `cargo test` has built.
fn run(example: &str, words: &[&Path]) -> Result<Output, Failed> {
    // This is target/PROFILE/deps/NAME.
    let own = env::current_exe()?;
    let program = own.ancestors().nth(2).ok_or("no folder of examples")?.join("examples").join(example);
    let output = Command::new(&program).args(words).env("RUST_BACKTRACE", "0").output();
    Ok(output
        .map_err(|error| format!("{}: {error}: build it by `cargo build --examples`", program.display()))?)
}

fn says(output: &Output, code: i32, stdout: &str, stderr: &str) -> Result<(), Failed> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let found = (output.status.code(), text(&output.stdout), text(&output.stderr));
    let expected = (Some(code), stdout.to_owned(), stderr.to_owned());
    if found == expected { Ok(()) } else { Err(format!("{found:?}, and {expected:?} was expected").into()) }
}

/// Says `>` on the serial port, and powers off.
const GREETER: Code = Code {
    x86_64: b"\x66\xba\xf8\x03\xb0\x3e\xee\x66\xba\x04\x06\x66\xb8\x01\x34\x66\xef\xeb\xfe",
    aarch64: &[0xd2a12001, 0x528007c0, 0xb9000020, 0x52b08000, 0x72800100, 0xd4000002, 0x14000000],
};

fn boot_kernel() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let kernel = folder.path().join("kernel");
    let refusal =
        "Error: cannot open no-such-kernel\n\nCaused by:\n    No such file or directory (os error 2)\n";
    says(&run("boot_kernel", &[Path::new("no-such-kernel")])?, 1, "", refusal)?;
    fs::write(&kernel, ArchOf::<Host>::kernel(&GREETER))?;
    says(&run("boot_kernel", &[&kernel])?, 0, ">", "")?;
    // An initial RAM disk is read, too.
    let missing = folder.path().join("initrd");
    let output = run("boot_kernel", &[&kernel, &missing])?;
    if output.status.success() { Err("an initial RAM disk that is not there is none".into()) } else { Ok(()) }
}

fn add_device() -> Result<(), Failed> {
    let said = "What is six times seven?\r\nthe guest answers [42]\nand ends: Some(PowerOff)\n";
    says(&run("add_device", &[])?, 0, said, "")
}

fn drive_guest() -> Result<(), Failed> {
    let output = run("drive_guest", &[])?;
    // How often the guest was left depends on how long it waited.
    let said = String::from_utf8(output.stdout.clone())?;
    let (counts, steady): (Vec<&str>, Vec<&str>) = said.lines().partition(|line| line.contains(" times"));
    let steady = Output { stdout: steady.join("\n").into_bytes(), ..output };
    let expected = "assembled: Off\n\
                    started: the guest says \">\"\n\
                    sent hello: it says \"hello\"\n\
                    Paused: it says nothing\n\
                    resumed: it says \"are you there?\"\n\
                    reset: it starts anew and says \">\"\n\
                    Stopped: event None";
    says(&steady, 0, expected, "")?;
    if counts.len() == 1 { Ok(()) } else { Err(format!("{counts:?}").into()) }
}
