//! The real passt and gvproxy, where they are installed.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
    time::Duration,
};

use hv_core::net::NetBackend;

use super::{
    super::{datagram, stream},
    numbered,
};
use crate::testing::Worker;

/// A child that is ended with its test.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks by ARP who has address `whose`, as one who has `own`, until that is answered.
fn ask<B: NetBackend>(card: &mut Worker<B>, whose: [u8; 4], own: [u8; 4]) {
    let mac = [2, 0, 0, 0, 0, 1];
    let mut question = vec![0xff; 6];
    question.extend(mac);
    question.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    question.extend(mac.iter().chain(&own).chain(&[0; 6]).chain(&whose));
    assert!(card.send(&question).unwrap());
    loop {
        let frame = card.next();
        if frame[12..14] == [8, 6] && frame[20..22] == [0, 2] {
            assert_eq!(frame[28..32], whose);
            assert_eq!(frame[..6], mac);
            return;
        }
    }
}

/// Starts `program`, which makes a socket that `connect` reaches; `None`, and a word about it, if it cannot run here.
fn started<T>(mut program: Command, connect: impl Fn() -> io::Result<T>) -> Option<(Ended, T)> {
    let Ok(mut child) = program.stderr(Stdio::null()).spawn().map(Ended) else {
        println!("skipped: {} is not installed", program.get_program().display());
        return None;
    };
    loop {
        if let Ok(connected) = connect() {
            return Some((child, connected));
        }
        if child.0.try_wait().unwrap().is_some() {
            println!("skipped: {program:?} cannot run here");
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn passt_itself_answers_and_may_be_started_again() {
    let folder = tempfile::tempdir().unwrap();
    // It gives its privileges up before it makes the socket.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let path = folder.path().join("passt.socket");
    let command = || {
        let mut command = Command::new("passt");
        command.args(["--foreground", "--quiet", "--gateway", "10.0.2.2"]);
        command.args(["--address", "10.0.2.15", "--netmask", "24", "--socket"]).arg(&path);
        command
    };
    let Some((child, card)) = started(command(), || stream::Stream::connect(&path)) else { return };
    let mut card = Worker::new(card);
    ask(&mut card, [10, 0, 2, 2], [10, 0, 2, 15]);
    drop(child);
    while card.backend.is_up() {
        card.wait();
    }
    let _child = command().stderr(Stdio::null()).spawn().map(Ended).unwrap();
    while !card.backend.is_up() {
        card.wait();
    }
    ask(&mut card, [10, 0, 2, 2], [10, 0, 2, 15]);
}

/// What gvproxy calls itself and a guest.
const GVPROXY: ([u8; 4], [u8; 4]) = ([192, 168, 127, 1], [192, 168, 127, 2]);

fn gvproxy(option: &str, url: String) -> Command {
    let mut command = Command::new("gvproxy");
    command.args(["-ssh-port", "-1", option]).arg(url);
    command
}

#[test]
fn gvproxy_itself_answers_as_qemu_expects_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gvproxy.socket");
    let command = gvproxy("-listen-qemu", format!("unix://{}", path.display()));
    let Some((child, card)) = started(command, || stream::Stream::connect(&path)) else { return };
    let mut card = Worker::new(card);
    ask(&mut card, GVPROXY.0, GVPROXY.1);
    drop(child);
    while card.backend.is_up() {
        card.wait();
    }
}

#[test]
fn gvproxy_itself_answers_as_vfkit_expects_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gvproxy.socket");
    // Old ones do this on macOS only.
    let command = || gvproxy("-listen-vfkit", format!("unixgram://{}", path.display()));
    let Some((child, card)) =
        started(command(), || datagram::Datagram::connect(&path, &std::env::temp_dir()))
    else {
        return;
    };
    let mut card = Worker::new(card);
    ask(&mut card, GVPROXY.0, GVPROXY.1);
    drop(child);
    assert!(card.send(&numbered(1, 60)).is_err());
    assert!(!card.backend.is_up());
    // It was killed, so its path is there still, and in the way of the next.
    let _ = fs::remove_file(&path);
    let _child = command().stderr(Stdio::null()).spawn().map(Ended).unwrap();
    while !card.backend.is_up() {
        card.wait();
    }
    ask(&mut card, GVPROXY.0, GVPROXY.1);
}
