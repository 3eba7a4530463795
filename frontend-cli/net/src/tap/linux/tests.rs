//! Real taps, in a network namespace of the tests' own.

use std::{
    env,
    fs::OpenOptions,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    process::Command,
    time::Duration,
};

use super::*;
use crate::{
    checksum::Sum,
    tap,
    testing::{Ram, Worker},
};

/// Runs the ignored test `name` after `setup`, by `start` (a command that makes the namespace and starts a shell).
fn within(start: &[&str], setup: &str, name: &str) {
    let mut command = Command::new(start[0]);
    command.args(&start[1..]).args(["ip", "tuntap", "add", "t0", "mode", "tap"]);
    match command.output() {
        Ok(output) if output.status.success() => {}
        other => {
            println!("skipped: no namespace with taps here: {other:?}");
            return;
        }
    }
    let script = format!("{setup} \"$0\" --exact --ignored --nocapture tap::linux::tests::{name}");
    let output = Command::new(start[0])
        .args(&start[1..])
        .args(["sh", "-ec", &script])
        .arg(env::current_exe().unwrap())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}{output:?}");
}

fn refusal(name: &str, queues: u16) -> NetError {
    let error = tap::open(name, queues).err().unwrap();
    assert!(error.to_string().contains(name), "{error}");
    error
}

#[test]
fn frames_pass_a_tap() {
    let setup = "ip tuntap add hv-one mode tap; ip link set hv-one up; ip addr add 10.9.9.1/24 dev hv-one;
        ip neigh add 10.9.9.2 lladdr 52:54:00:00:00:02 dev hv-one;";
    within(&["unshare", "-Urn"], setup, "inside_frames_pass_a_tap");
}

#[test]
#[ignore = "for the namespace of the test above"]
fn inside_frames_pass_a_tap() {
    let tap = attach("hv-one", 1).unwrap().remove(0);
    let mut tap = Worker::with(tap, Offloads::all());
    // Of the host: its checksum is left to the guest.
    let host = UdpSocket::bind("10.9.9.1:7000").unwrap();
    let (header, mut got) = loop {
        // The host's kernel needs a while to see that the tap has somebody at its other end.
        host.send_to(b"to the guest", "10.9.9.2:7001").unwrap();
        tap.wait_at_most(Duration::from_millis(100));
        let mut frames = std::iter::from_fn(|| tap.receive().unwrap());
        if let Some(found) = frames.find(|(_, bytes)| bytes.ends_with(b"to the guest")) {
            break found;
        }
    };
    assert_eq!(header.flags, FrameHeader::NEEDS_CHECKSUM);
    assert_eq!((header.checksum_start, header.checksum_offset), (34, 6));
    // The same back, with the checksum left to the host: both ends swapped, so the pseudo header's sum stays.
    let (macs, addresses) = ([0..6, 6..12], [26..30, 30..34]);
    for [one, other] in [macs, addresses] {
        let first = got[one.clone()].to_vec();
        got.copy_within(other.clone(), one.start);
        got[other].copy_from_slice(&first);
    }
    let ports = [got[36], got[37], got[34], got[35]];
    got[34..38].copy_from_slice(&ports);
    assert!(tap.backend.send(header, Ram::with(&got).buffer()).unwrap());
    host.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut back = [0; 64];
    let (len, from) = host.recv_from(&mut back).unwrap();
    assert_eq!(&back[..len], b"to the guest");
    assert_eq!(from, SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 9, 9, 2)), 7001));

    // What is no frame is dropped; the tap goes on.
    assert!(tap.send(&[1, 2, 3]).unwrap());
    let nonsense = FrameHeader { gso_type: 0x7f, gso_size: 1, ..header };
    assert!(tap.backend.send(nonsense, Ram::with(&got).buffer()).unwrap());
    assert!(tap.backend.is_up());

    // The guest wants to complete checksums no more: the host does.
    tap.backend.set_accepted(Offloads::empty()).unwrap();
    host.send_to(b"again", "10.9.9.2:7001").unwrap();
    let (header, got) = loop {
        tap.wait_at_most(Duration::from_millis(100));
        let mut frames = std::iter::from_fn(|| tap.receive().unwrap());
        if let Some(found) = frames.find(|(_, bytes)| bytes.ends_with(b"again")) {
            break found;
        }
    };
    assert_eq!(header.flags, 0);
    let udp = &got[34..];
    let pseudo = Sum::default().add(&got[26..34]).add(&[0, 17]).add(&udp[4..6]);
    assert!(pseudo.add(udp).is_right());
    assert_eq!(tap.backend.next_len(), Some(1518));

    // Without segmentation the longest frame is the interface's.
    let registry = tap.poll.registry().try_clone().unwrap();
    tap.backend.set_accepted(Offloads::all()).unwrap();
    assert_eq!(tap.backend.next_len(), Some(MAX_FRAME));
    tap.backend.stop(&registry);
    tap.backend.start(Offloads::empty(), &registry).unwrap();
    assert_eq!(tap.backend.next_len(), Some(1518));

    // It goes away under the guest.
    assert!(Command::new("ip").args(["link", "del", "hv-one"]).status().unwrap().success());
    while tap.backend.is_up() {
        tap.wait();
    }
    assert!(tap.send(&got).is_err());
    assert_eq!(tap.backend.next_len(), None);
    tap.backend.stop(&registry);
    tap.backend.start(Offloads::all(), &registry).unwrap();
    assert!(!tap.backend.is_up());
}

#[test]
fn frames_come_by_queues_that_are_used_only() {
    let setup = "ip tuntap add hv-many mode tap multi_queue; ip link set hv-many up;
        ip addr add 10.9.9.1/24 dev hv-many; ip neigh add 10.9.9.2 lladdr 52:54:00:00:00:02 dev hv-many;";
    within(&["unshare", "-Urn"], setup, "inside_frames_come_by_queues_that_are_used_only");
}

/// Sends frames of 64 flows to the guest; how many of them came by each queue.
fn flows(first: &mut Worker<Tap>, second: &mut Worker<Tap>) -> [usize; 2] {
    let all = |worker: &mut Worker<Tap>| {
        let frames = std::iter::from_fn(|| worker.receive().unwrap());
        frames.filter(|(_, bytes)| bytes.ends_with(b"a flow of its own")).count()
    };
    let hosts: Vec<_> = (0..64).map(|_| UdpSocket::bind("10.9.9.1:0").unwrap()).collect();
    loop {
        for host in &hosts {
            host.send_to(b"a flow of its own", "10.9.9.2:7001").unwrap();
        }
        first.wait_at_most(Duration::from_millis(100));
        second.wait_at_most(Duration::from_millis(1));
        // The host's kernel needs a while to see that the tap has somebody at its other end.
        let found = [all(first), all(second)];
        if found.iter().sum::<usize>() >= hosts.len() {
            return found;
        }
    }
}

#[test]
#[ignore = "for the namespace of the test above"]
fn inside_frames_come_by_queues_that_are_used_only() {
    let mut taps = attach("hv-many", 4).unwrap();
    let (mut second, mut first) = (Worker::new(taps.remove(1)), Worker::new(taps.remove(0)));
    let registry = second.poll.registry().try_clone().unwrap();
    let found = flows(&mut first, &mut second);
    assert!(found.iter().all(|count| *count > 0), "{found:?}");
    second.backend.stop(&registry);
    assert_eq!(flows(&mut first, &mut second)[1], 0);
    second.backend.start(Offloads::empty(), &registry).unwrap();
    let found = flows(&mut first, &mut second);
    assert!(found.iter().all(|count| *count > 0), "{found:?}");
}

#[test]
fn wrong_taps_are_named() {
    let setup = "ip tuntap add hv-one mode tap; ip tuntap add hv-tun mode tun; ip link add hv-dummy type bridge || true;
        ip tuntap add hv-many mode tap multi_queue;";
    within(&["unshare", "-Urn"], setup, "inside_wrong_taps_are_named");
}

#[test]
#[ignore = "for the namespace of the test above"]
fn inside_wrong_taps_are_named() {
    assert!(matches!(refusal("hv-none", 1), NetError::NoSuchTap { .. }));
    // None was made by asking.
    assert!(matches!(refusal("hv-none", 1), NetError::NoSuchTap { .. }));
    assert!(matches!(refusal("hv-tun", 1), NetError::NotATap { .. }));
    assert!(matches!(refusal("lo", 1), NetError::NotATap { .. }));
    assert!(matches!(refusal("lo", 2), NetError::NotATap { .. }));
    assert!(matches!(refusal("hv-one", 2), NetError::TapQueues { queues: 2, .. }));
    let one = tap::open("hv-one", 1).unwrap();
    assert!(matches!(refusal("hv-one", 1), NetError::TapBusy { .. }));
    drop(one);
    assert_eq!(tap::open("hv-one", 1).unwrap().len(), 1);
    assert_eq!(tap::open("hv-many", 4).unwrap().len(), 4);
    assert_eq!(tap::open("hv-many", 1).unwrap().len(), 1);
}

#[test]
fn a_tap_of_another_user_is_refused_and_ones_own_needs_no_privilege() {
    if !rustix::process::geteuid().is_root() || OpenOptions::new().write(true).open("/dev/net/tun").is_err() {
        println!("skipped: only root can make taps for two users");
        return;
    }
    let setup = "ip tuntap add hv-other mode tap user 12345; ip tuntap add hv-own mode tap user 0;
        setpriv --securebits +noroot --inh-caps=-all --bounding-set=-all";
    within(&["unshare", "-n"], setup, "inside_a_tap_of_another_user");
}

#[test]
#[ignore = "for the namespace of the test above"]
fn inside_a_tap_of_another_user() {
    assert!(matches!(refusal("hv-other", 1), NetError::TapOfAnother { .. }));
    assert_eq!(tap::open("hv-own", 1).unwrap().len(), 1);
}
