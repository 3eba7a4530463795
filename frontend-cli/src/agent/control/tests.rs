//! Agents, most of them hostile.

use std::{io::Write, thread};

use super::*;

const SOON: Duration = Duration::from_millis(50);
const LATER: Duration = Duration::from_secs(60);

fn frames(messages: &[AgentMessage<'_>]) -> Vec<u8> {
    let (mut outgoing, mut bytes) = (Outgoing::default(), Vec::new());
    messages.iter().for_each(|message| outgoing.push(message).unwrap());
    outgoing.write_to(&mut bytes).unwrap();
    bytes
}

fn accept(bytes: &[u8], timeout: Duration) -> (anyhow::Result<Control>, UnixStream) {
    let (host, mut agent) = UnixStream::pair().unwrap();
    agent.write_all(bytes).unwrap();
    (Control::accept(host, timeout), agent)
}

fn refused(bytes: &[u8]) -> String {
    let error = format!("{:#}", accept(bytes, LATER).0.unwrap_err());
    assert!(!error.contains('\n'), "{error}");
    error
}

const HELLO: AgentMessage<'_> = AgentMessage::Hello { version: VERSION, release: "6.1.0\n" };

#[test]
fn a_guest_comes_up_and_ends() {
    let (control, agent) = accept(&frames(&[HELLO, AgentMessage::Ready, AgentMessage::Rebooting]), LATER);
    let mut control = control.unwrap();
    assert_eq!(control.release(), "6.1.0 ");
    control.wait_until_ready(LATER).unwrap();
    assert_eq!(control.next(None).unwrap(), Some(News::Rebooting));
    control.handle().power_off(Duration::from_millis(7)).unwrap();
    let mut reader = Reader::new(agent);
    let welcome = reader.receive::<HostMessage<'_>>().unwrap();
    assert!(matches!(welcome, Some(HostMessage::Welcome { version: VERSION, time: 1.. })));
    assert_eq!(reader.receive().unwrap(), Some(HostMessage::PowerOff { grace: 7 }));
    drop(reader);
    assert_eq!(control.next(None).unwrap(), None);
}

#[test]
fn a_boot_that_failed_is_one_line() {
    let reason = format!("no\ndisk{}", "x".repeat(5000));
    let (control, _agent) = accept(&frames(&[HELLO, AgentMessage::BootFailed { reason: &reason }]), LATER);
    let error = control.unwrap().wait_until_ready(LATER).unwrap_err().to_string();
    assert!(error.starts_with("the guest cannot be brought up: no disk"), "{error}");
    assert!(error.len() < 600);
}

#[test]
fn hostile_agents_are_refused_in_one_line() {
    assert!(refused(b"\xff\xff\xff\xff").contains("at most"));
    assert!(refused(b"\x01\0\0\0\x7f").contains("not understood"));
    assert!(refused(&frames(&[AgentMessage::Ready])).contains("not hello"));
    assert!(refused(&frames(&[AgentMessage::Hello { version: 9, release: "" }])).contains("version 9"));
    let (control, _agent) = accept(&frames(&[HELLO, AgentMessage::Started { pid: 1 }]), LATER);
    assert!(control.unwrap().next(None).unwrap_err().to_string().contains("where it may not"));
}

#[test]
fn an_agent_that_drips_is_given_up() {
    assert!(format!("{:#}", accept(b"\x20\0", SOON).0.unwrap_err()).contains("in time"));
    let (host, mut agent) = UnixStream::pair().unwrap();
    agent.write_all(b"\x00\xf0\0\0").unwrap();
    let drip = thread::spawn(move || {
        while agent.write_all(&[0]).is_ok() {
            thread::sleep(Duration::from_millis(5));
        }
    });
    assert!(Control::accept(host, SOON).is_err());
    drip.join().unwrap();
}
