//! Sessions over a socket pair, with this machine as the guest.
#![cfg(target_os = "linux")]

#[path = "session/client.rs"]
mod client;

use std::{
    collections::hash_map::DefaultHasher,
    fs,
    hash::{Hash, Hasher},
    io::{Read, Write},
    thread,
};

use client::{Client, Ending, start};
use hv_agent_protocol::{HostMessage, Size, Start, Status, Stream, WINDOW};

fn run(script: &str) -> Ending {
    Client::run(start(&["sh", "-c", script]))
}

#[test]
fn exit_codes_are_exact() {
    for code in [0, 1, 42, 126, 127, 255] {
        assert_eq!(run(&format!("exit {code}")).status, Ok(Status::Code(code)));
    }
    assert_eq!(run("kill -9 $$").status, Ok(Status::Signal(9)));
    assert_eq!(run("kill -TERM $$").status, Ok(Status::Signal(15)));
}

#[test]
fn what_is_not_there_is_127_and_what_cannot_run_126() {
    let folder = tempfile::tempdir().unwrap();
    let code = |program: &str| {
        let ending = Client::run(Start {
            working_directory: folder.path().display().to_string(),
            ..start(&[program, "argument"])
        });
        let (code, reason) = ending.status.unwrap_err();
        assert!(!reason.contains('\n'), "{reason}");
        code
    };
    fs::write(folder.path().join("text"), "echo no program").unwrap();
    assert_eq!(code("no-such-program"), 127);
    assert_eq!(code("./missing"), 127);
    assert_eq!(code("/nowhere/program"), 127);
    assert_eq!(code("./text"), 126);
    assert_eq!(code("/"), 126);
    assert_eq!(code("/bin/sh\u{0}"), 126);
    assert_eq!(Client::run(start(&[])).status.unwrap_err().0, 126);
    let nobody = Start { user: Some("no-such-user".into()), ..start(&["true"]) };
    assert_eq!(Client::run(nobody).status.unwrap_err().0, 126);
}

#[test]
fn ten_megabytes_are_intact_with_the_errors_apart() {
    let script = "i=0; while [ $i -lt 160 ]; do head -c 65536 /dev/zero | tr '\\0' \"\\\\$((i % 7 + 1))\"; \
                  echo error $i >&2; i=$((i + 1)); done";
    let ending = run(script);
    assert_eq!(ending.status, Ok(Status::Code(0)));
    let expected: Vec<u8> = (0..160).flat_map(|i| [i % 7 + 1; 65536]).collect();
    let hash = |bytes: &[u8]| {
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        (bytes.len(), hasher.finish())
    };
    assert_eq!(hash(&ending.stdout), hash(&expected));
    let errors: String = (0..160).map(|i| format!("error {i}\n")).collect();
    assert_eq!(String::from_utf8(ending.stderr).unwrap(), errors);
}

#[test]
fn standard_input_reaches_its_end() {
    let mut client = Client::start(Start { stdin: true, ..start(&["cksum"]) });
    let data = vec![b'x'; 3 << 20];
    client.feed(&data);
    client.send(&HostMessage::StdinEnd);
    let ending = client.finish();
    let mut child = std::process::Command::new("cksum")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&data).unwrap();
    assert_eq!(ending.stdout, child.wait_with_output().unwrap().stdout);
}

#[test]
fn without_standard_input_there_is_none() {
    assert_eq!(run("cat; echo end").stdout, b"end\n");
}

#[test]
fn input_that_is_not_read_blocks_no_signal() {
    let mut client = Client::start(Start { stdin: true, ..start(&["sleep", "20"]) });
    client.send_all_at_once(&vec![0; WINDOW]);
    client.send(&HostMessage::Signal(15));
    assert_eq!(client.finish().status, Ok(Status::Signal(15)));
}

#[test]
fn a_command_may_close_its_input() {
    let mut client =
        Client::start(Start { stdin: true, ..start(&["sh", "-c", "exec <&-; echo closed; sleep 20"]) });
    client.wait_for(b"closed\n");
    client.feed(&vec![0; 2 * WINDOW]);
    client.wait_until(|client| client.stdin_closed);
    client.send(&HostMessage::Signal(9));
    assert_eq!(client.finish().status, Ok(Status::Signal(9)));
}

#[test]
fn signals_reach_all_that_the_command_runs() {
    let mut client =
        Client::start(start(&["sh", "-c", "trap 'echo caught; exit 7' USR1; echo up; sleep 20 & wait"]));
    client.wait_for(b"up\n");
    client.send(&HostMessage::Signal(200));
    client.send(&HostMessage::Signal(10));
    let ending = client.finish();
    assert_eq!(ending.status, Ok(Status::Code(7)));
    assert_eq!(ending.stdout, b"up\ncaught\n");
}

#[test]
fn output_that_nobody_reads_ends_the_command() {
    let mut client = Client::start(start(&["yes"]));
    client.wait_until(|client| !client.stdout.is_empty());
    client.send(&HostMessage::OutputClosed(Stream::Stdout));
    assert_eq!(client.finish().status, Ok(Status::Signal(13)));
}

#[test]
fn what_stays_behind_is_not_waited_for() {
    let ending = run("(sleep 20; echo late) & echo early; exit 3");
    assert_eq!(ending.status, Ok(Status::Code(3)));
    assert_eq!(ending.stdout, b"early\n");
}

#[test]
fn a_short_tail_of_a_pipe_is_waited_for() {
    let script = "(while kill -0 $$ 2>&-; do :; done; echo tail) & echo head";
    assert_eq!(run(script).stdout, b"head\ntail\n");
}

#[test]
fn a_terminal_has_a_size_and_changes_it() {
    let script = "stty size; trap 'stty size; exit 5' WINCH; echo up; while :; do sleep 0.05; done";
    let mut client = Client::start(Start {
        terminal: Some(Size { columns: 91, rows: 17 }),
        stdin: true,
        ..start(&["sh", "-c", script])
    });
    client.wait_for(b"17 91\r\nup\r\n");
    client.send(&HostMessage::Resize(Size { columns: 120, rows: 50 }));
    let ending = client.finish();
    assert_eq!(ending.status, Ok(Status::Code(5)));
    assert_eq!(ending.stdout, b"17 91\r\nup\r\n50 120\r\n");
}

#[test]
fn a_terminal_hands_keys_over() {
    let terminal = Some(Size { columns: 80, rows: 24 });
    let mut client =
        Client::start(Start { terminal, stdin: true, ..start(&["sh", "-c", "tty >&2; cat; echo end"]) });
    client.feed(b"line\nhalf");
    client.send(&HostMessage::StdinEnd);
    let ending = client.finish();
    assert_eq!(ending.status, Ok(Status::Code(0)));
    let shown = String::from_utf8(ending.stdout).unwrap();
    assert!(shown.contains("/dev/pts/") && shown.ends_with("halfend\r\n"), "{shown:?}");
    assert!(ending.stderr.is_empty());

    // Whoever runs the tests in the background has SIGINT ignored.
    let keys = ["env", "--default-signal=INT", "sh", "-c", "echo up; sleep 20"];
    let mut client = Client::start(Start { terminal, stdin: true, ..start(&keys) });
    client.wait_for(b"up\r\n");
    client.feed(b"\x03");
    assert_eq!(client.finish().status, Ok(Status::Signal(2)));
}

#[test]
fn surroundings_are_as_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("made/for it").display().to_string();
    let ending = Client::run(Start {
        working_directory: directory.clone(),
        environment: vec![("A".into(), "one".into()), ("A".into(), "a b=c\n".into())],
        ..start(&["sh", "-c", "printf '%s|%s|%s|%s' \"$PWD\" \"$A\" \"$HOME\" \"$PATH\""])
    });
    let shown = String::from_utf8(ending.stdout).unwrap();
    assert!(shown.starts_with(&format!("{directory}|a b=c\n|")), "{shown}");
    assert!(shown.ends_with("|/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), "{shown}");
}

#[test]
fn another_user_runs_it() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root can be somebody else");
    }
    let id = |user: &str| {
        Client::run(Start { user: Some(user.into()), ..start(&["sh", "-c", "id -u; id -g; id -G"]) })
    };
    assert_eq!(id("1234:4321").stdout, b"1234\n4321\n4321\n");
    assert_eq!(id("1234").stdout, b"1234\n0\n0\n");
}

#[test]
fn a_command_ends_with_its_host() {
    let folder = tempfile::tempdir().unwrap();
    let told = folder.path().join("told");
    let script = format!("trap 'echo gone > {}; exit' HUP; echo up; sleep 20 & wait", told.display());
    let mut client = Client::start(start(&["sh", "-c", &script]));
    client.wait_for(b"up\n");
    client.leave();
    assert_eq!(fs::read_to_string(told).unwrap(), "gone\n");
}

#[test]
fn a_command_that_is_left_alone_outlives_its_host() {
    let folder = tempfile::tempdir().unwrap();
    let (go, told) = (folder.path().join("go"), folder.path().join("told"));
    // It says more than its pipe holds, which nobody takes any more.
    let script = format!(
        "trap 'echo hung up >{told}; exit' HUP; echo up; while ! test -e {go}; do sleep 0.05; done; \
         head -c 300000 /dev/zero && head -c 300000 /dev/zero >&2 && echo done >{told}",
        go = go.display(),
        told = told.display()
    );
    for terminal in [None, Some(Size { columns: 80, rows: 24 })] {
        let mut client =
            Client::start(Start { terminal, stdin: terminal.is_some(), ..start(&["sh", "-c", &script]) });
        client.wait_until(|client| client.stdout.starts_with(b"up"));
        client.send(&HostMessage::Detach);
        client.wait_until(|client| client.detached);
        assert!(!told.exists());
        fs::write(&go, "").unwrap();
        client.leave_alone();
        assert_eq!(fs::read_to_string(&told).unwrap(), "done\n", "with {terminal:?}");
        fs::remove_file(&go).unwrap();
        fs::remove_file(&told).unwrap();
    }
    // One that is left at once, and does not even run, says so.
    let mut client = Client::start(start(&["no-such-program"]));
    client.send(&HostMessage::Detach);
    assert_eq!(client.finish().status.unwrap_err().0, 127);
}

#[test]
fn fifty_sessions_at_once() {
    let sessions: Vec<_> = (0..50)
        .map(|number| thread::spawn(move || (number, run(&format!("echo {number}; exit {number}")))))
        .collect();
    for session in sessions {
        let (number, ending) = session.join().unwrap();
        assert_eq!(ending.status, Ok(Status::Code(number)));
        assert_eq!(ending.stdout, format!("{number}\n").as_bytes());
    }
}

#[test]
fn a_host_that_talks_nonsense_is_left() {
    for nonsense in [&b"\xff\xff\xff\xff"[..], b"\x01\0\0\0\x63", b"\x01\0\0\0\x07", b"\x05\0\0\0"] {
        assert!(Client::raw(nonsense), "{nonsense:?}");
    }
    let mut client = Client::start(start(&["sh", "-c", "echo up; sleep 20"]));
    client.wait_for(b"up\n");
    client.write(b"\x00\x00\x00\x00");
    client.leave();

    let mut client = Client::start(Start { stdin: true, ..start(&["sleep", "20"]) });
    client.send_all_at_once(&vec![0; WINDOW + 100_000]);
    let mut rest = Vec::new();
    client.stream().read_to_end(&mut rest).unwrap();
    client.leave();
}
