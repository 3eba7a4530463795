//! Sessions while the reaper of the first process is at work. A test process of its own: it reaps every child there is.
#![cfg(target_os = "linux")]

use std::{os::unix::net::UnixStream, sync::Arc, thread};

use hv_agent_protocol::{AgentMessage, HostMessage, Outgoing, Reader, Start, Status};
use hv_init::{Children, session};

const THREADS: usize = 16;
const COMMANDS: usize = 100;

/// How the host sees a command end.
fn run(children: &Children) -> Result<Status, String> {
    let (host, guest) = UnixStream::pair().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| session::serve(&guest, children).unwrap());
        let mut outgoing = Outgoing::default();
        let start = Start { arguments: vec!["true".to_owned()], ..Start::default() };
        outgoing.push(&HostMessage::Start(start)).unwrap();
        outgoing.write_to(&host).unwrap();
        let mut reader = Reader::new(&host);
        loop {
            match reader.receive().unwrap().unwrap() {
                AgentMessage::Exited(status) => return Ok(status),
                AgentMessage::Failed { reason, .. } => return Err(reason.to_owned()),
                _ => {}
            }
        }
    })
}

#[test]
fn commands_that_end_at_once_have_a_status() {
    let children = Arc::new(Children::default());
    let reaped = Arc::clone(&children);
    thread::spawn(move || reaped.reap());
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| (0..COMMANDS).for_each(|_| assert_eq!(run(&children), Ok(Status::Code(0)))));
        }
    });
}
