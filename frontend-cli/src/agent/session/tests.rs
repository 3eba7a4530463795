//! Sessions with the agent itself, and with agents that are not to be trusted.

use std::{
    fs::File,
    io::{self, Read, Write},
    thread,
};

use hv_init::Children;

use super::*;

fn command(script: &str) -> Start {
    Start { arguments: ["sh", "-c", script].map(str::to_owned).to_vec(), ..Start::default() }
}

/// A connection to the agent.
fn agent() -> UnixStream {
    let (host, guest) = UnixStream::pair().unwrap();
    thread::spawn(move || hv_init::session::serve(&guest, &Children::default()));
    host
}

/// A session's standard input and output, and their far ends.
fn pipes() -> (Stdio, io::PipeWriter, io::PipeReader, io::PipeReader) {
    let (stdin, input) = io::pipe().unwrap();
    let (output, stdout) = io::pipe().unwrap();
    let (errors, stderr) = io::pipe().unwrap();
    let stdio = Stdio {
        stdin: Some(stdin.into()),
        stdout: Some(stdout.into()),
        stderr: Some(stderr.into()),
        copy: None,
    };
    (stdio, input, output, errors)
}

fn run(stream: UnixStream, start: &Start, stdio: Stdio) -> anyhow::Result<Ended> {
    Session::new(stream, start, stdio).unwrap().0.run()
}

#[test]
fn codes_and_outputs_are_the_commands() {
    let (stdio, _input, mut output, mut errors) = pipes();
    let ended = run(agent(), &command("echo out; echo error >&2; exit 42"), stdio).unwrap();
    assert_eq!(ended, Ended::Exited(42));
    let (mut out, mut error) = (String::new(), String::new());
    output.read_to_string(&mut out).unwrap();
    errors.read_to_string(&mut error).unwrap();
    assert_eq!((&*out, &*error), ("out\n", "error\n"));
    assert_eq!(run(agent(), &command("kill -9 $$"), pipes().0).unwrap(), Ended::Exited(137));
    let missing = Start { arguments: vec!["no-such-program".into()], ..Start::default() };
    assert!(matches!(run(agent(), &missing, pipes().0).unwrap(), Ended::NotRun(127, _)));
}

#[test]
fn megabytes_go_in_and_come_out() {
    let (stdio, mut input, mut output, _errors) = pipes();
    let data: Vec<u8> = (0..5_000_003_usize).map(|at| (at % 251).to_le_bytes()[0]).collect();
    let expected = data.clone();
    let typist = thread::spawn(move || input.write_all(&data));
    let reader = thread::spawn(move || {
        let mut shown = Vec::new();
        output.read_to_end(&mut shown).map(|_| shown)
    });
    let ended = run(agent(), &Start { stdin: true, ..command("cat") }, stdio).unwrap();
    assert_eq!(ended, Ended::Exited(0));
    typist.join().unwrap().unwrap();
    assert!(reader.join().unwrap().unwrap() == expected);
}

#[test]
fn a_reader_that_leaves_early_ends_the_command() {
    let (stdio, _input, mut output, _errors) = pipes();
    let reader = thread::spawn(move || output.read_exact(&mut [0; 10]));
    assert_eq!(run(agent(), &command("yes"), stdio).unwrap(), Ended::Exited(128 + 13));
    reader.join().unwrap().unwrap();
}

/// A session whose typist presses keys; what the session was when they were pressed.
fn keys(typed: &[&[u8]], leaving: Leaving, script: &str) -> (Ended, String) {
    let (stdio, mut input, mut output, _errors) = pipes();
    let terminal = Some(Size { columns: 80, rows: 24 });
    let start = Start { stdin: true, terminal, ..command(script) };
    let (mut session, _handle) = Session::new(agent(), &start, stdio).unwrap();
    session.watch(&"ctrl-p,ctrl-q".parse().unwrap(), leaving);
    let session = thread::spawn(move || session.run().unwrap());
    output.read_exact(&mut [0; 4]).unwrap();
    typed.iter().for_each(|keys| input.write_all(keys).unwrap());
    let ended = session.join().unwrap();
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    (ended, rest)
}

#[test]
fn keys_leave_a_command_that_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let [go, told] = ["go", "told"].map(|name| folder.path().join(name).display().to_string());
    let script = format!("echo up; while ! test -e {go}; do sleep 0.05; done; echo on; echo on >{told}");
    let (ended, _) = keys(&[b"\x10", b"\x11"], Leaving::Session, &script);
    assert_eq!(ended, Ended::Detached);
    assert!(!std::path::Path::new(&told).exists());
    std::fs::write(go, "").unwrap();
    while std::fs::read(&told).unwrap_or_default() != b"on\n" {
        thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[test]
fn keys_leave_standard_input_and_output() {
    let (send, left) = mpsc::channel();
    let leaving = Leaving::Stdio(Box::new(move || send.send(()).unwrap()));
    // What is typed after the keys is nobody's, and what is said after them is not shown.
    let (ended, rest) = keys(&[b"\x10\x11x\n"], leaving, "stty -echo; echo up; sleep 0.3; echo more; exit 6");
    assert_eq!((ended, &*rest), (Ended::Exited(6), ""));
    left.recv().unwrap();
}

#[test]
fn keys_that_are_not_all_of_them_are_the_commands() {
    let script = "stty raw -echo; echo up.; head -c 4 | od -An -tx1";
    let (ended, rest) = keys(&[b"\x10", b"\x10a\x11"], Leaving::Session, script);
    assert_eq!((ended, rest.trim()), (Ended::Exited(0), "10 10 61 11"));
    let refused = Leaving::Refused("it goes on");
    let (ended, rest) = keys(&[b"\x10\x11", b"b"], refused, "stty raw -echo; echo up.; head -c 1");
    assert_eq!((ended, rest.trim()), (Ended::Exited(0), "b"));
}

#[test]
fn both_outputs_are_copied_whole() {
    let (copied, copy) = io::pipe().unwrap();
    let (stdio, _input, output, errors) = pipes();
    let stdio = Stdio { copy: Some(copy.into()), ..stdio };
    let all = |mut from: io::PipeReader| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            from.read_to_end(&mut bytes).unwrap();
            bytes
        })
    };
    let (copied, output, errors) = (all(copied), all(output), all(errors));
    let script = "head -c 500000 /dev/zero; head -c 300000 /dev/zero | tr '\\0' e >&2";
    assert_eq!(run(agent(), &command(script), stdio).unwrap(), Ended::Exited(0));
    let [copied, output, errors] = [copied, output, errors].map(|reader| reader.join().unwrap());
    assert_eq!((output.len(), errors.len(), copied.len()), (500_000, 300_000, 800_000));
    assert_eq!(copied.iter().filter(|byte| **byte == b'e').count(), 300_000);

    // A reader of the copy that leaves is no reader of the command's.
    let (stdio, _input, mut output, _errors) = pipes();
    let stdio = Stdio { copy: Some(io::pipe().unwrap().1.into()), ..stdio };
    let ended = run(agent(), &command("echo one; sleep 0.1; echo two; exit 4"), stdio).unwrap();
    let mut shown = String::new();
    output.read_to_string(&mut shown).unwrap();
    assert_eq!((ended, &*shown), (Ended::Exited(4), "one\ntwo\n"));
}

#[test]
fn a_detached_command_that_cannot_run_is_told() {
    let missing = Start { arguments: vec!["no-such-program".into()], ..Start::default() };
    assert!(matches!(run_detached(agent(), &missing).unwrap(), Ended::NotRun(127, _)));
    assert_eq!(run_detached(agent(), &command("exit 3")).unwrap(), Ended::Detached);
}

#[test]
fn input_for_a_command_that_takes_none_is_left_alone() {
    let stdio = Stdio { stdin: Some(File::open("/dev/zero").unwrap().into()), ..pipes().0 };
    let start = Start { stdin: true, ..command("exec <&-; sleep 0.2; exit 3") };
    assert_eq!(run(agent(), &start, stdio).unwrap(), Ended::Exited(3));
}

#[test]
fn signals_and_sizes_reach_the_command_while_nobody_reads() {
    let (stdio, _input, mut output, _errors) = pipes();
    let (session, handle) = Session::new(agent(), &command("yes"), stdio).unwrap();
    let session = thread::spawn(move || session.run());
    output.read_exact(&mut [0; 10]).unwrap();
    handle.signal(15);
    // The command has ended, but what it said is waited for.
    let mut rest = Vec::new();
    output.read_to_end(&mut rest).unwrap();
    assert_eq!(session.join().unwrap().unwrap(), Ended::Exited(128 + 15));

    let (stdio, _input, mut output, _errors) = pipes();
    let script = "trap 'stty size; exit 5' WINCH; echo up; while :; do sleep 0.05; done";
    let terminal = Some(Size { columns: 80, rows: 24 });
    let start = Start { terminal, stdin: true, ..command(script) };
    let (session, handle) = Session::new(agent(), &start, stdio).unwrap();
    let session = thread::spawn(move || session.run());
    output.read_exact(&mut [0; 4]).unwrap();
    handle.resize(Size { columns: 99, rows: 11 });
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "11 99\r\n");
    assert_eq!(session.join().unwrap().unwrap(), Ended::Exited(5));
}

/// The error of a session whose agent says `bytes` and no more.
fn broken(bytes: &[u8]) -> String {
    let (host, mut agent) = UnixStream::pair().unwrap();
    agent.write_all(bytes).unwrap();
    agent.shutdown(std::net::Shutdown::Write).unwrap();
    let error = format!("{:#}", run(host, &command("true"), pipes().0).unwrap_err());
    assert!(!error.contains('\n'), "{error}");
    error
}

#[test]
fn hostile_agents_are_refused_in_one_line() {
    assert!(broken(b"").contains("ended before"));
    assert!(broken(b"\x05\0\0\0\x07").contains("ended before"));
    assert!(broken(b"\xff\xff\xff\xff").contains("at most"));
    assert!(broken(b"\x01\0\0\0\x7f").contains("not understood"));
    assert!(broken(b"\x01\0\0\0\x01").contains("not for a session"));
    assert!(
        broken(b"\x01\0\0\0\x0d").contains("not for a session"),
        "nobody asked it to let the command go on"
    );
    assert!(
        broken(b"\x03\0\0\0\x0c\x05\x00").contains("not for a session"),
        "a code that is neither 126 nor 127"
    );
}

#[test]
fn endless_acknowledgements_are_borne() {
    let (host, mut agent) = UnixStream::pair().unwrap();
    let flood = thread::spawn(move || {
        for _ in 0..20_000 {
            agent.write_all(b"\x06\0\0\0\x09\xff\xff\xff\xff\x0f").unwrap();
        }
        agent.write_all(b"\x03\0\0\0\x0b\x00\x07").unwrap();
        agent
    });
    assert_eq!(run(host, &command("true"), pipes().0).unwrap(), Ended::Exited(7));
    flood.join().unwrap();
}

#[test]
fn a_command_that_is_too_long_is_refused_before_it_is_sent() {
    let error = Session::new(agent(), &command(&"x".repeat(100_000)), pipes().0).unwrap_err();
    assert!(error.to_string().contains("too long"));
}
