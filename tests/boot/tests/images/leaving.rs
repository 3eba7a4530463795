//! Commands and guests that are left to themselves, and go on.

use anyhow::{Result, ensure};
use hv_boot_tests::images::{Home, Terminal};
use rustix::process::Signal;

use super::until;

/// Waits for the file `/tmp/NAME-go`, then says more than a pipe holds, and at last `done` in `/tmp/NAME-told`.
fn patient(name: &str) -> String {
    format!(
        "echo up; while ! test -e /tmp/{name}-go; do sleep 0.1; done; \
         head -c 300000 /dev/zero && head -c 300000 /dev/zero >&2 && echo done >/tmp/{name}-told"
    )
}

/// Lets the command of [`patient`] go on, and waits until it is done.
fn is_done(home: &Home, name: &str) -> Result<()> {
    let told = format!("cat /tmp/{name}-told");
    let before = home.say(&mut home.exec(&[], &["sh", "-c", &told])?)?;
    ensure!(before.status.code() == Some(1), "it is done already: {before:?}");
    home.say(&mut home.exec(&[], &["touch", &format!("/tmp/{name}-go")])?)?.code(0)?;
    until("the command that was left goes on", || {
        Ok(home.say(&mut home.exec(&[], &["sh", "-c", &told])?)?.text() == "done")
    })
}

pub(super) fn a_detached_command_goes_on(home: &Home) -> Result<()> {
    for (name, options) in [("plain", &["-d"][..]), ("terminal", &["-d", "-t"])] {
        let said = home.say(&mut home.exec(options, &["sh", "-c", &patient(name)])?)?.code(0)?;
        ensure!(said.stdout.is_empty() && said.stderr.is_empty(), "hv exec -d said {said:?}");
        is_done(home, name)?;
    }
    let said = home.say(&mut home.exec(&["-d"], &["/no/such/file"])?)?.code(127)?;
    ensure!(said.stderr.lines().count() == 1, "it said {:?}", said.stderr);
    Ok(())
}

pub(super) fn keys_leave_a_command_to_itself(home: &Home) -> Result<()> {
    for (name, options, keys) in [
        ("usual", &["-i", "-t"][..], "\x10\x11"),
        ("own", &["-i", "-t", "--detach-keys", "ctrl-],q"], "\x10\x11\x1dq"),
    ] {
        let mut terminal = Terminal::run(&home.exec(options, &["sh", "-c", &patient(name)])?, 80, 24)?;
        terminal.wait_for("up")?;
        terminal.type_text(keys)?;
        ensure!(terminal.wait()? == 0, "it was not left: {:?}", terminal.shown());
        ensure!(terminal.is_as_before()?, "the terminal is not as it was before");
        is_done(home, name)?;
    }
    Ok(())
}

pub(super) fn a_guest_is_left_by_keys_if_it_has_a_name(home: &Home) -> Result<()> {
    let script = "echo up; while ! test -e /tmp/go; do sleep 0.1; done; echo after; exit 4";
    let mut terminal = Terminal::run(&home.run_script(&["-i", "-t", "--name", "left"], script), 80, 24)?;
    terminal.wait_for("up")?;
    terminal.type_text("\x10\x11")?;
    ensure!(terminal.wait()? == 0, "it was not left: {:?}", terminal.shown());
    ensure!(terminal.is_as_before()?, "the terminal is not as it was before");
    ensure!(home.listed("left")?["state"] == "running", "the guest does not go on: {}", home.listed("left")?);
    // Its terminal is gone by now.
    let shown = terminal.shown();
    drop(terminal);
    home.say(&mut home.exec_in("left", &[], &["touch", "/tmp/go"]))?.code(0)?;
    home.say(&mut home.hv(["wait", "left"]))?.code(4)?;
    let log = home.say(&mut home.hv(["logs", "left"]))?.code(0)?.text();
    ensure!(log.contains("up") && log.contains("after"), "the log is {log:?}");
    ensure!(!shown.contains("after"), "the terminal was told what came after it was left");
    home.say(&mut home.hv(["rm", "left"]))?.code(0)?;

    // What is not left: the code is the command's, and a signal for the process in front is, too.
    let ended = |options: &[&str], script: &str, keys: &str| -> Result<(i32, String)> {
        let mut terminal = Terminal::run(&home.run_script(options, script), 80, 24)?;
        terminal.wait_for("up")?;
        terminal.type_text(keys)?;
        let code = terminal.wait()?;
        ensure!(terminal.is_as_before()?, "the terminal is not as it was before");
        Ok((code, terminal.shown()))
    };
    let named = ["-i", "-t", "--rm", "--name", "stays"];
    let (code, _) = ended(&named, "echo up; read line; exit $line", "7\r")?;
    ensure!(code == 7, "it ended with {code}");
    let script = "echo up; read line; exit $line";
    let (code, shown) = ended(&["-i", "-t"], script, "\x10\x118\r")?;
    ensure!(code == 8 && shown.contains("without a --name cannot be left"), "{code}: {shown:?}");
    let mut terminal = Terminal::run(&home.run_script(&named, "echo up; exec sleep 1000"), 80, 24)?;
    terminal.wait_for("up")?;
    terminal.signal(Signal::TERM)?;
    let code = terminal.wait()?;
    ensure!(code == 128 + 15, "SIGTERM made it {code}: {:?}", terminal.shown());
    Ok(())
}
