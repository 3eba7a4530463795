//! Who is gone: the terminal in front of a guest or a command, and clients in the middle of what they ask.

use std::{io::Write, os::unix::net::UnixStream, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use hv_boot_tests::images::{Home, Terminal};

use super::{Holdings, Random, count, end, sleeper, told, until};

/// Says when the terminal's hang-up reaches the command, and goes on or ends.
fn hears(end: &str) -> String {
    format!("trap 'echo heard >/root/heard; sync; {end}' HUP; echo up; while :; do sleep 0.1; done")
}

/// Shows that a command and a guest hear of their terminal's end as programs do, and that no process stays in front of it.
pub(super) fn terminals_go(home: &Home) -> Result<()> {
    let pid = sleeper(home, "shown", &["--rm"])?;
    home.say(&mut home.exec_in("shown", &[], &["true"]))?.code(0)?;
    let before = Holdings::settled(pid)?;
    let exec = home.exec_in("shown", &["-i", "-t"], &["sh", "-c", &hears("exit 0")]);
    let mut terminal = Terminal::run(&exec, 80, 24)?;
    terminal.wait_for("up")?;
    terminal.hang_up()?;
    // Only the guest's own process stays.
    until("hv exec ends with its terminal", || Ok(home.processes()?.len() == 1))?;
    until("the command hears of it", || {
        Ok(home.say(&mut home.exec_in("shown", &[], &["cat", "/root/heard"]))?.text() == "heard")
    })?;
    before.are_all(pid)?;
    end(home, "shown")?;

    // With a name, in which case a process stands in front, and without.
    for options in [&["-i", "-t", "--name", "hung"][..], &["-i", "-t"]] {
        let mut terminal = Terminal::run(&home.run_script(options, &hears("exit 0")), 80, 24)?;
        terminal.wait_for("up")?;
        terminal.hang_up()?;
        until("the guest ends with its command", || Ok(home.processes()?.is_empty()))?;
    }
    let heard = home.say(&mut home.run_script(&["--name", "hung"], "cat /root/heard"))?.code(0)?;
    ensure!(heard.text() == "heard", "the command did not hear of it: {heard:?}");
    home.say(&mut home.hv(["rm", "hung"]))?.code(0)?;

    // One that will not end goes on, and can be found.
    let mut terminal =
        Terminal::run(&home.run_script(&["-i", "-t", "--name", "deaf"], &hears("true")), 80, 24)?;
    terminal.wait_for("up")?;
    terminal.hang_up()?;
    until("the command hears of it", || {
        Ok(home.say(&mut home.exec_in("deaf", &[], &["cat", "/root/heard"]))?.text() == "heard")
    })?;
    thread::sleep(Duration::from_millis(500));
    ensure!(home.listed("deaf")?["state"] == "running", "it is {}", home.listed("deaf")?);
    end(home, "deaf")?;
    told(
        "terminals closed under `hv exec -it`, `hv run -it` with and without a name: commands hear SIGHUP, nobody stays in front",
    );
    Ok(())
}

/// Beginnings of calls to the control socket, and whole ones whose answer nobody takes.
const CONTROL: [&str; 9] = [
    "",
    "{",
    "{\"request\":\"sta",
    "{\"request\":\"status\"}\n",
    "{\"request\":\"inspect\"}\n{\"request\":\"ins",
    "{\"request\":\"wait\"}\n",
    "{\"request\":\"console\"}\n",
    "{\"request\":\"console\"}\nls\n",
    "no request\n\0\u{1}\n",
];

/// Beginnings of connections to the guest's ports: none, the agent's, one where nobody listens.
const VSOCK: [&str; 5] = ["", "CONN", "CONNECT 1024", "CONNECT 1024\n", "CONNECT 9\n"];

/// Shows that clients that go wherever they are hold up nobody, and that nothing of them stays.
pub(super) fn clients_go_in_mid_call(home: &Home) -> Result<()> {
    let clients = count("HV_SOAK_CLIENTS", 150)?;
    let mut random = Random::new("clients");
    let pid = sleeper(home, "asked", &["--rm"])?;
    // As long as all of it runs, there is one of each kind that stays.
    home.say(&mut home.exec_in("asked", &[], &["true"]))?.code(0)?;
    let run = home.folder().join("run/hv/asked");
    let before = Holdings::settled(pid)?;
    for number in 0..clients {
        let (socket, words) = if number % 3 == 2 {
            ("vsock.sock", VSOCK[usize::try_from(random.below(VSOCK.len() as u64))?])
        } else {
            ("control.sock", CONTROL[usize::try_from(random.below(CONTROL.len() as u64))?])
        };
        let mut stream = UnixStream::connect(run.join(socket)).with_context(|| format!("client {number}"))?;
        // Who is too many is refused, which a client that writes then may see.
        let _ = stream.write_all(words.as_bytes());
        if random.below(2) == 0 {
            thread::sleep(random.moment(Duration::from_millis(10)));
        }
    }
    until("the guest is asked as before", || Ok(home.listed("asked")?["state"] == "running"))?;
    home.say(&mut home.exec_in("asked", &[], &["true"]))?.code(0)?;
    before.are_all(pid)?;
    end(home, "asked")?;
    told(&format!(
        "{clients} clients gone in mid-call: as many descriptors and threads as before ({} and {})",
        before.descriptors.len(),
        before.threads.len()
    ));
    Ok(())
}
