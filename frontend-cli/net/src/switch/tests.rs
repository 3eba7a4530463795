//! Frames go where their addresses are.

use super::*;
use crate::{
    offload::tests::{is_right, tcp},
    testing::{Plain, Ram, Worker, frame},
};

const ALL: Mac = [0xff; 6];
const GUEST: Mac = [2; 6];
const PEER: Mac = [4; 6];
const GATEWAY: Mac = [6; 6];

fn card() -> (Worker<Switch>, Plain, Plain) {
    let (out, segment) = (Plain::default(), Plain::default());
    let switch = Switch::new(Box::new(out.clone()), Box::new(segment.clone())).unwrap();
    (Worker::new(switch), out, segment)
}

fn give(plain: &Plain, bytes: Vec<u8>) {
    plain.to_give.lock().unwrap().push_back((FrameHeader::default(), bytes));
}

fn taken(plain: &Plain) -> Vec<Vec<u8>> {
    plain.sent.lock().unwrap().drain(..).map(|(_, bytes)| bytes).collect()
}

#[test]
fn frames_go_to_the_side_of_their_address() {
    let (mut card, out, segment) = card();
    let to_all = frame(ALL, GUEST, b"who is there");
    assert!(card.send(&to_all).unwrap());
    assert_eq!([taken(&out), taken(&segment)], [[to_all.clone()], [to_all]]);
    // Not seen yet: it is beyond the way out.
    let to_peer = frame(PEER, GUEST, b"to the peer");
    assert!(card.send(&to_peer).unwrap());
    assert_eq!([taken(&out), taken(&segment)], [vec![to_peer.clone()], vec![]]);

    give(&segment, frame(GUEST, PEER, b"from the peer"));
    give(&out, frame(GUEST, GATEWAY, b"from the gateway"));
    // One that says it is the gateway changes nothing, and neither does one from no single card.
    give(&segment, frame(GUEST, GATEWAY, b"not from the gateway"));
    give(&segment, frame(GUEST, ALL, b"nonsense"));
    let got: Vec<_> = (0..4).map(|_| card.next()).collect();
    assert_eq!(got.iter().filter(|frame| frame.ends_with(b"gateway")).count(), 2);
    assert_eq!(card.receive().unwrap(), None);
    assert!(card.send(&to_peer).unwrap());
    let to_gateway = frame(GATEWAY, GUEST, b"to the gateway");
    assert!(card.send(&to_gateway).unwrap());
    assert_eq!([taken(&out), taken(&segment)], [vec![to_gateway], vec![to_peer]]);
    assert!(card.send(&[1]).unwrap());
    assert_eq!([taken(&out), taken(&segment)], [vec![], Vec::<Vec<u8>>::new()]);
}

#[test]
fn work_left_to_others_is_done_for_the_segment() {
    let (mut card, _, segment) = card();
    let payload = vec![9; 9000];
    let (header, bytes) = tcp(false, &payload, 1448);
    // Its destination was seen on the segment.
    give(&segment, frame(GUEST, [2; 6], b"hello"));
    card.next();
    *segment.is_full.lock().unwrap() = true;
    assert!(card.backend.send(header, Ram::with(&bytes).buffer()).unwrap());
    // The next one waits until the segment has these.
    assert!(!card.backend.send(header, Ram::with(&bytes).buffer()).unwrap());
    assert!(taken(&segment).is_empty());
    *segment.is_full.lock().unwrap() = false;
    card.backend.wake(&mio::Events::with_capacity(1));
    let packets = taken(&segment);
    assert_eq!(packets.len(), 7);
    assert!(packets.iter().all(|packet| is_right(packet)));
    let content: Vec<u8> = packets.iter().flat_map(|packet| packet[54..].to_vec()).collect();
    assert_eq!(content, payload);
}

#[test]
fn a_broadcast_that_waits_goes_once_to_each_side() {
    let (mut card, out, segment) = card();
    *out.is_full.lock().unwrap() = true;
    let to_all = frame(ALL, GUEST, b"x");
    assert!(!card.send(&to_all).unwrap());
    *out.is_full.lock().unwrap() = false;
    assert!(card.send(&to_all).unwrap());
    assert_eq!([taken(&out), taken(&segment)], [[to_all.clone()], [to_all.clone()]]);
    // A segment that takes nothing holds up no broadcast and takes no memory without bound.
    *segment.is_full.lock().unwrap() = true;
    for _ in 0..10 * MOST_WAITING {
        assert!(card.send(&to_all).unwrap());
    }
    assert_eq!(taken(&out).len(), 10 * MOST_WAITING);
    assert_eq!(card.backend.waiting.len(), MOST_WAITING);
}
