//! Tests of the carrying of input.

use std::{
    io::Write,
    sync::{Condvar, Mutex},
    thread,
};

use super::*;

/// A guest that takes bytes only when told to, and has room for four.
#[derive(Default)]
struct Guest {
    held: Mutex<(Vec<u8>, Vec<u8>)>,
    room: Condvar,
}

impl Guest {
    fn take(&self) -> Vec<u8> {
        let mut held = self.held.lock().unwrap();
        let new = std::mem::take(&mut held.0);
        held.1.extend(new);
        self.room.notify_all();
        held.1.clone()
    }
}

impl GuestInput for Guest {
    fn send(&self, bytes: &[u8]) -> usize {
        let mut held = self.held.lock().unwrap();
        let taken = bytes.len().min(4 - held.0.len());
        held.0.extend(&bytes[..taken]);
        taken
    }

    fn wait_for_room(&self, timeout: Duration) {
        let held = self.held.lock().unwrap();
        drop(self.room.wait_timeout_while(held, timeout, |held| held.0.len() == 4).unwrap());
    }
}

#[test]
fn piped_bytes_arrive_whole_and_unchanged_however_slow_the_guest() {
    let text: Vec<u8> = (0..=255).cycle().take(20_000).collect();
    let (reader, mut writer) = io::pipe().unwrap();
    let guest = Guest::default();
    thread::scope(|scope| {
        scope.spawn(|| {
            writer.write_all(&text).unwrap();
            drop(writer);
        });
        let carrier = scope.spawn(|| carry(&reader, &guest));
        while !carrier.is_finished() {
            guest.take();
        }
        carrier.join().unwrap().unwrap();
    });
    assert_eq!(guest.take(), text);
}

#[test]
fn the_keys_of_hv_are_heard_while_the_guest_takes_nothing() {
    let (reader, mut writer) = io::pipe().unwrap();
    let guest = Guest::default();
    writer.write_all(b"abcdefgh\x01?\x01x").unwrap();
    drop(writer);
    let mut heard = Vec::new();
    carry_keys(&reader, &guest, |key| heard.push(key)).unwrap();
    assert_eq!(heard, [Key::Help, Key::Leave]);
    assert_eq!(guest.take(), b"abcd");
}

#[test]
fn typed_bytes_wait_for_a_guest_without_room() {
    let (reader, mut writer) = io::pipe().unwrap();
    let guest = Guest::default();
    writer.write_all(b"abcdefgh").unwrap();
    thread::scope(|scope| {
        let carrier = scope.spawn(|| carry_keys(&reader, &guest, |_| {}));
        while guest.take() != b"abcdefgh" {
            thread::yield_now();
        }
        drop(writer);
        carrier.join().unwrap().unwrap();
    });
}

#[test]
fn no_input_at_all_ends_at_once() {
    let null = std::fs::File::open("/dev/null").unwrap();
    carry(&null, &Guest::default()).unwrap();
    carry_keys(&null, &Guest::default(), |_| panic!("no key was pressed")).unwrap();
}
