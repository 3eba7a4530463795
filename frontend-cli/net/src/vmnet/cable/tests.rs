//! The cable on an interface that answers as it is told.

use std::collections::VecDeque;

use super::*;
use crate::testing::Ram;

const LONGEST: usize = 1514;

#[derive(Debug, Default)]
struct Scripted {
    reads: VecDeque<Result<usize, Status>>,
    writes: VecDeque<Result<bool, Status>>,
    written: Vec<u64>,
    discarded: usize,
}

impl Interface for Scripted {
    fn longest(&self) -> usize {
        LONGEST
    }

    fn wake(&self, _: Option<mio::Waker>) {}

    fn discard(&mut self) {
        self.discarded += 1;
    }

    fn read(&mut self, buffer: GuestBuffer<'_>) -> Result<Option<usize>, Status> {
        let Some(answer) = self.reads.pop_front() else { return Ok(None) };
        let len = answer?;
        buffer.copy_from(&vec![7; len.min(LONGEST)]).unwrap();
        Ok(Some(len))
    }

    fn write(&mut self, frame: GuestBuffer<'_>) -> Result<bool, Status> {
        let answer = self.writes.pop_front().unwrap_or(Ok(true));
        if answer == Ok(true) {
            self.written.push(frame.len());
        }
        answer
    }
}

fn started(interface: Scripted) -> (Cable<Scripted>, mio::Poll) {
    let poll = mio::Poll::new().unwrap();
    let mut cable = Cable::new(interface);
    assert_eq!(cable.next_len(), None);
    cable.start(Offloads::empty(), poll.registry()).unwrap();
    assert_eq!(cable.interface.discarded, 1);
    (cable, poll)
}

fn lengths(cable: &mut Cable<Scripted>) -> Vec<usize> {
    let ram = Ram::new();
    std::iter::from_fn(|| {
        let longest = cable.next_len()?;
        assert_eq!(longest, LONGEST);
        cable.receive(ram.buffer()).unwrap().map(|received| received.len)
    })
    .collect()
}

#[test]
fn frames_are_read_until_there_is_none_and_again_when_told() {
    let (mut cable, poll) =
        started(Scripted { reads: [Ok(60), Ok(1514), Ok(14)].into(), ..Scripted::default() });
    assert_eq!(lengths(&mut cable), [60, 1514, 14]);
    cable.interface.reads.push_back(Ok(99));
    assert_eq!(cable.next_len(), None, "nobody told of it");
    cable.wake(&mio::Events::with_capacity(1));
    assert_eq!(lengths(&mut cable), [99]);
    cable.wake(&mio::Events::with_capacity(1));
    cable.stop(poll.registry());
    assert_eq!((cable.next_len(), cable.deadline()), (None, None));
}

#[test]
fn frames_of_wrong_lengths_are_dropped_a_few_at_a_time() {
    let (mut cable, _poll) =
        started(Scripted { reads: [Ok(0), Ok(13), Ok(1515), Ok(60)].into(), ..Scripted::default() });
    assert_eq!(lengths(&mut cable), [60]);
    cable.interface.reads = std::iter::repeat_n(Ok(3), MOST_DROPPED).chain([Ok(61)]).collect();
    cable.wake(&mio::Events::with_capacity(1));
    assert!(lengths(&mut cable).is_empty());
    assert!(cable.deadline().is_some());
    cable.wake(&mio::Events::with_capacity(1));
    assert_eq!((lengths(&mut cable), cable.deadline()), (vec![61], None));
}

#[test]
fn a_failed_read_is_told_and_not_tried_in_a_circle() {
    let (mut cable, _poll) =
        started(Scripted { reads: [Err(Status(1004)), Ok(60)].into(), ..Scripted::default() });
    let error = cable.receive(Ram::new().buffer()).unwrap_err();
    assert!(error.to_string().contains("1004"), "{error}");
    assert_eq!(cable.next_len(), None);
    cable.wake(&mio::Events::with_capacity(1));
    assert_eq!(lengths(&mut cable), [60]);
}

#[test]
fn frames_wait_for_room_and_what_is_no_frame_is_dropped() {
    let full = [Ok(false), Err(Status::BUFFER_EXHAUSTED), Ok(true)];
    let (mut cable, _poll) = started(Scripted { writes: full.into(), ..Scripted::default() });
    let send = |cable: &mut Cable<Scripted>, len| {
        cable.send(FrameHeader::default(), Ram::with(&vec![1; len]).buffer())
    };
    for (expected, waits) in [(false, true), (false, true), (true, false)] {
        assert_eq!((send(&mut cable, 60).unwrap(), cable.deadline().is_some()), (expected, waits));
        cable.wake(&mio::Events::with_capacity(1));
    }
    for len in [13, 1515] {
        assert!(send(&mut cable, len).unwrap());
    }
    assert_eq!(cable.interface.written, [60]);
    cable.interface.writes =
        [Err(Status::INVALID_ARGUMENT), Err(Status::PACKET_TOO_BIG), Err(Status(1001))].into();
    assert!(send(&mut cable, 60).unwrap() && send(&mut cable, 60).unwrap());
    assert!(send(&mut cable, 60).unwrap_err().to_string().contains("1001"));
    assert_eq!(cable.interface.written, [60]);
}
