//! Three members of a segment, and more than there may be.

use std::{fs, os::unix::fs::PermissionsExt};

use super::*;
use crate::testing::{Ram, Worker, frame};

const ALL: [u8; 6] = [0xff; 6];

fn mac(number: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, number]
}

fn member(folder: &Path, name: &str) -> Worker<Segment> {
    Worker::new(Segment::join(folder, name).unwrap())
}

fn names(worker: &Worker<Segment>) -> Vec<&str> {
    let mut names: Vec<_> = worker.backend.members.iter().map(Member::name).collect();
    names.sort_unstable();
    names
}

#[test]
fn members_hear_each_other_and_only_those_who_are_meant() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("segment");
    let [mut one, mut two, mut three] = ["one", "two", "three"].map(|name| member(&path, name));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    // Nobody has said anything but hello.
    assert_eq!(one.receive().unwrap(), None);
    assert_eq!(names(&one), ["three", "two"]);

    let question = frame(ALL, mac(1), b"where is two");
    assert!(one.send(&question).unwrap());
    assert_eq!([two.next(), three.next()], [question.clone(), question]);
    // It is known where one is, so three hears nothing.
    let answer = frame(mac(1), mac(2), b"here");
    assert!(two.send(&answer).unwrap());
    assert_eq!(one.next(), answer);
    assert_eq!(three.receive().unwrap(), None);
    let large = frame(mac(2), mac(1), &[7; 65_000]);
    assert!(one.send(&large).unwrap());
    assert!(two.next() == large);
    assert_eq!(three.receive().unwrap(), None);
    // To an address that nobody was heard from.
    let lost = frame(mac(9), mac(1), b"anybody");
    assert!(one.send(&lost).unwrap());
    assert_eq!([two.next(), three.next()], [lost.clone(), lost]);
    assert!(one.send(&[1; 13]).unwrap());
    assert_eq!(two.receive().unwrap(), None);
}

#[test]
fn a_member_that_was_killed_is_forgotten_and_its_name_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("segment");
    let [mut one, mut two, mut three] = ["one", "two", "three"].map(|name| member(&path, name));
    one.receive().unwrap();
    two.receive().unwrap();
    assert!(three.send(&frame(ALL, mac(3), b"hello")).unwrap());
    one.next();
    two.next();
    // As it is when a process is killed: its socket is closed, its path stays.
    fs::hard_link(path.join("three"), path.join("kept")).unwrap();
    drop(three);
    fs::rename(path.join("kept"), path.join("three")).unwrap();
    assert!(one.send(&frame(mac(3), mac(1), b"still there?")).unwrap());
    assert_eq!(names(&one), ["two"]);
    assert!(!path.join("three").exists());
    // Two notices by a frame to all, and still reaches one.
    assert!(two.send(&frame(ALL, mac(2), b"who is there")).unwrap());
    assert_eq!(names(&two), ["one"]);
    assert_eq!(one.next(), frame(ALL, mac(2), b"who is there"));

    let mut three = member(&path, "three");
    assert!(three.send(&frame(ALL, mac(3), b"back")).unwrap());
    assert_eq!([one.next(), two.next()], [frame(ALL, mac(3), b"back"), frame(ALL, mac(3), b"back")]);
    let reply = frame(mac(3), mac(1), b"welcome");
    assert!(one.send(&reply).unwrap());
    assert_eq!(three.next(), reply);
    assert_eq!(two.receive().unwrap(), None);
}

#[test]
fn a_member_that_comes_back_under_its_name_is_met_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("segment");
    let [mut one, mut two] = ["one", "two"].map(|name| member(&path, name));
    assert!(two.send(&frame(ALL, mac(2), b"hello")).unwrap());
    one.next();
    drop(two);
    let mut two = member(&path, "two");
    // The first frame finds out, and the second is for whoever has the address now.
    let to_two = frame(mac(2), mac(1), b"is it you?");
    assert!(one.send(&to_two).unwrap());
    assert_eq!(two.receive().unwrap(), None);
    assert!(one.send(&to_two).unwrap());
    assert_eq!(two.next(), to_two);
}

#[test]
fn a_member_that_takes_nothing_costs_the_others_nothing_but_one_wait() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("segment");
    let [mut one, mut two, mut three] = ["one", "two", "three"].map(|name| member(&path, name));
    for worker in [&mut two, &mut three] {
        let own = if names(worker).len() == 1 { 2 } else { 3 };
        assert!(worker.send(&frame(ALL, mac(own), b"hello")).unwrap());
        one.next();
    }
    let to_two = frame(mac(2), mac(1), &[0; 1000]);
    let mut waits = 0;
    for _ in 0..2000 {
        while !one.send(&to_two).unwrap() {
            waits += 1;
            one.wait();
        }
    }
    assert!((1..100).contains(&waits), "{waits}");
    let to_three = frame(mac(3), mac(1), b"but you are there");
    assert!(one.send(&to_three).unwrap());
    // What three heard before.
    while three.next() != to_three {}
    // Two looks again, and gets the newest frames after what it had room for.
    while two.receive().unwrap().is_some() {}
    let after = frame(mac(2), mac(1), b"and you again");
    assert!(one.send(&after).unwrap());
    assert_eq!(two.next(), after);
    assert!(!one.backend.members.iter().any(|member| member.name() == "two" && member.is_behind()));
}

#[test]
fn a_member_that_is_slow_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("segment");
    let [mut one, mut two] = ["one", "two"].map(|name| member(&path, name));
    assert!(two.send(&frame(ALL, mac(2), b"hello")).unwrap());
    one.next();
    // It takes one whenever there is no room for more.
    let (mut got, mut waits) = (0_u32, 0);
    for number in 0..500_u32 {
        let bytes = frame(mac(2), mac(1), &number.to_be_bytes());
        while !one.send(&bytes).unwrap() {
            assert_eq!(two.next(), frame(mac(2), mac(1), &got.to_be_bytes()));
            got += 1;
            waits += 1;
            one.wait();
        }
    }
    assert!(waits > 0);
    while got < 500 {
        assert_eq!(two.next(), frame(mac(2), mac(1), &got.to_be_bytes()));
        got += 1;
    }
}

#[test]
fn what_cannot_join_is_told_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("segment");
    let refusal = |path: &Path, name: &str| join(path, name).err().unwrap();
    for name in ["", "a/b", ".hidden", "a b", &"x".repeat(65)] {
        assert!(matches!(refusal(&path, name), NetError::MemberName { .. }));
    }
    assert!(matches!(refusal(&path.join("x".repeat(100)), "one"), NetError::LongPath { .. }));
    assert!(matches!(refusal(&path.join("deeper"), "one"), NetError::Segment { .. }));

    let mut members: Vec<_> =
        (0..MOST_MEMBERS).map(|number| member(&path, &format!("guest-{number}"))).collect();
    assert!(matches!(refusal(&path, "guest-3"), NetError::MemberExists { .. }));
    assert!(matches!(refusal(&path, "one-more"), NetError::SegmentFull { limit: MOST_MEMBERS, .. }));
    members.pop();
    members.push(member(&path, "one-more"));
    assert_eq!(members[MOST_MEMBERS - 1].backend.members.len(), MOST_MEMBERS - 1);

    let open = folder.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(matches!(refusal(&open, "one"), NetError::SegmentFolder { .. }));
    std::os::unix::fs::symlink(&path, folder.path().join("link")).unwrap();
    assert!(matches!(refusal(&folder.path().join("link"), "one"), NetError::SegmentFolder { .. }));
}

#[test]
fn datagrams_of_any_kind_are_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("segment");
    let mut one = member(&path, "one");
    let sender = UnixDatagram::unbound().unwrap();
    let head = |name: &str| [&[u8::try_from(name.len()).unwrap()], name.as_bytes()].concat();
    let nonsense = [
        vec![],
        vec![255],
        vec![3, b'a'],
        head("../.."),
        head(""),
        [head("no-one"), vec![1; 13]].concat(),
        vec![0xc3; 300],
    ];
    sender.send_to(&[head("one"), frame(ALL, mac(8), b"I am you")].concat(), path.join("one")).unwrap();
    one.next();
    for bytes in nonsense {
        sender.send_to(&bytes, path.join("one")).unwrap();
        assert_eq!(one.receive().unwrap(), None, "{bytes:?}");
    }
    assert!(names(&one).is_empty());
    // Also across drivers.
    let registry = one.poll.registry().try_clone().unwrap();
    one.backend.stop(&registry);
    one.backend.start(Offloads::empty(), &registry).unwrap();
    let whole = [head("no-one"), frame(ALL, mac(7), b"from nowhere")].concat();
    sender.send_to(&whole, path.join("one")).unwrap();
    assert_eq!(one.next(), frame(ALL, mac(7), b"from nowhere"));
    assert!(
        one.backend.send(FrameHeader::default(), Ram::with(&frame(mac(7), mac(1), b"x")).buffer()).unwrap()
    );
}
