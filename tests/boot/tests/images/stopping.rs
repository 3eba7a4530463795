//! Signals for the command of a guest: those of `hv kill`, and that of the image at `hv stop`.

use std::process::Command;

use anyhow::{Result, ensure};
use hv_boot_tests::images::{Home, images, said};

use super::until;

pub(super) fn signals_are_for_the_command(home: &Home) -> Result<()> {
    let script = "trap 'echo caught' HUP; trap 'exit 9' USR1; echo up; while :; do sleep 0.1; done";
    home.say(&mut home.run_script(&["-d", "--name", "signals"], script))?.code(0)?;
    let log = || -> Result<String> { Ok(home.say(&mut home.hv(["logs", "signals"]))?.code(0)?.text()) };
    until("the command runs", || Ok(log()?.contains("up")))?;
    home.say(&mut home.hv(["kill", "--signal", "SIGHUP", "signals"]))?.code(0)?;
    until("the signal is caught", || Ok(log()?.contains("caught")))?;
    ensure!(home.listed("signals")?["state"] == "running", "the guest ended");
    home.say(&mut home.hv(["kill", "-s", "10", "signals"]))?.code(0)?;
    home.say(&mut home.hv(["wait", "signals"]))?.code(9)?;
    home.say(&mut home.hv(["rm", "signals"]))?.code(0).map(drop)
}

pub(super) fn the_image_says_how_it_is_stopped(home: &Home) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let layout = folder.path().join("layout");
    said(Command::new("cp").arg("-r").arg(images()?.join("layout")).arg(&layout), b"")?.code(0)?;
    let tag = format!("debian-{}", home.architecture());
    let image = format!("{}:{tag}", layout.display());
    said(Command::new("umoci").args(["config", "--image", &image, "--config.stopsignal", "SIGUSR1"]), b"")?
        .code(0)?;
    let mut import = home.hv(["image", "import", "--arch", home.architecture(), "--select", &tag]);
    home.say(import.arg(&layout).arg("stoppable"))?.code(0)?;
    for (options, traps, time, code) in [
        (&[][..], "trap 'exit 5' USR1; trap '' TERM", "60s", 5),
        (&["--stop-signal", "hup"], "trap 'exit 6' HUP; trap '' TERM USR1", "60s", 6),
        // One that does not listen is ended after its time.
        (&[], "trap '' USR1 TERM", "2s", 137),
    ] {
        let script = format!("{traps}; echo up; while :; do sleep 0.1; done");
        let mut run = home.run(&["-d", "--name", "stopped"]);
        home.say(run.args(options).args(["stoppable", "--", "sh", "-c", &script]))?.code(0)?;
        until("the command runs", || Ok(home.say(&mut home.hv(["logs", "stopped"]))?.text().contains("up")))?;
        home.say(&mut home.hv(["stop", "--time", time, "stopped"]))?.code(0)?;
        home.say(&mut home.hv(["wait", "stopped"]))?.code(code)?;
        home.say(&mut home.hv(["rm", "stopped"]))?.code(0)?;
    }
    home.say(&mut home.hv(["image", "rm", "stoppable"]))?.code(0).map(drop)
}
