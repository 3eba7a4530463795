//! Two consoles on one screen: each log record once, all else as it came.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::chardev::{Full, testing::Tight};

use Port::{Uart, Virtio};

/// What the screen shows of these writes, all at one time.
fn shown(writes: &[(Port, &str)]) -> String {
    let (mut lines, mut out, now) = (Lines::default(), Vec::new(), Instant::now());
    for (port, text) in writes {
        lines.write(*port, text.as_bytes(), now, &mut out);
    }
    String::from_utf8(out).unwrap()
}

const LOG: &str =
    "[    0.000000] Linux version 6.1\r\n[    0.000000] Command line: x\r\n[   10.123456] ok\r\n";

#[test]
fn a_log_that_both_bring_is_shown_once_whoever_is_first() {
    assert_eq!(shown(&[(Uart, LOG), (Virtio, LOG)]), LOG);
    assert_eq!(shown(&[(Virtio, LOG), (Uart, LOG)]), LOG);
    let news = "[   11.000000] news\r\n";
    assert_eq!(shown(&[(Uart, LOG), (Virtio, LOG), (Virtio, news), (Uart, news)]), format!("{LOG}{news}"));
}

#[test]
fn a_log_byte_by_byte_against_one_in_whole_is_shown_once() {
    let mut writes: Vec<_> =
        LOG.as_bytes().chunks(1).map(|byte| (Uart, str::from_utf8(byte).unwrap())).collect();
    writes.insert(40, (Virtio, LOG));
    assert_eq!(shown(&writes), LOG);
}

#[test]
fn line_ends_do_not_make_records_differ() {
    assert_eq!(
        shown(&[(Uart, "[    1.000000] a\r\n"), (Virtio, "[    1.000000] a\n")]),
        "[    1.000000] a\r\n"
    );
}

#[test]
fn a_caller_in_the_stamp_is_part_of_a_record() {
    let line = "[    1.000000][    T1] a\n[    1.000000][   C12] b\n";
    assert_eq!(shown(&[(Uart, line), (Virtio, line)]), line);
}

#[test]
fn a_message_that_came_twice_is_shown_twice() {
    let twice = "[    0.000000] same\n[    0.000000] same\n";
    assert_eq!(shown(&[(Uart, twice)]), twice);
    assert_eq!(shown(&[(Uart, twice), (Virtio, twice)]), twice);
}

#[test]
fn what_is_no_record_passes_as_often_as_it_comes() {
    for line in
        ["login: x\n", "[1.5] x\n", "[  OK  ] Started\n", "[    1.000000]x\n", "[1.0000000] x\n", "[\n", "\n"]
    {
        assert_eq!(shown(&[(Uart, line), (Virtio, line)]), format!("{line}{line}"), "{line:?}");
    }
}

#[test]
fn bytes_that_cannot_be_a_record_are_not_held_back() {
    for start in
        ["login: ", "x", "[ OK", "[    1.2x", "[    1.000000]x", "[    1.000000][X", "[                  "]
    {
        assert_eq!(shown(&[(Uart, start)]), start);
    }
    for start in ["[", "[    ", "[    1.", "[    1.000000]", "[    1.000000][  T", "[    1.000000] mess"] {
        assert_eq!(shown(&[(Uart, start)]), "");
    }
}

#[test]
fn one_port_alone_passes_unchanged() {
    let all =
        format!("boot\r\n{LOG}login: \x1b[1mroot\x1b[0m\r\n[    1.000000] {}\n$ ", "long ".repeat(1000));
    let writes: Vec<_> =
        all.as_bytes().chunks(7).map(|piece| (Virtio, str::from_utf8(piece).unwrap())).collect();
    assert_eq!(shown(&writes), all);
}

#[test]
fn an_over_long_record_is_cut_in_neither_case() {
    let long = format!("[    1.000000] {}\n", "x".repeat(5000));
    assert_eq!(shown(&[(Uart, &long), (Virtio, &long)]), long);
}

#[test]
fn a_record_breaks_into_a_prompt_on_a_line_of_its_own() {
    let shown =
        shown(&[(Virtio, "login: "), (Uart, "[    5.000000] usb\r\n"), (Virtio, "ro"), (Virtio, "ot\r\n")]);
    assert_eq!(shown, "login: \r\n[    5.000000] usb\r\nroot\r\n");
}

#[test]
fn two_texts_at_once_keep_their_lines() {
    let both =
        shown(&[(Uart, "ab"), (Virtio, "12"), (Uart, "cd"), (Virtio, "34"), (Uart, "\n"), (Virtio, "5\n")]);
    assert_eq!(both, "abcd\n12345\n");
}

#[test]
fn a_port_that_stopped_within_a_line_yields() {
    let (mut lines, mut out, now) = (Lines::default(), Vec::new(), Instant::now());
    lines.write(Uart, b"abandoned", now, &mut out);
    lines.write(Virtio, b"$", now, &mut out);
    assert_eq!(out, b"abandoned");
    lines.write(Virtio, b" ", now + Duration::from_secs(1), &mut out);
    assert_eq!(out, b"abandoned\r\n$ ");
}

#[test]
fn nothing_is_held_back_without_bound() {
    let (mut lines, mut out, now) = (Lines::default(), Vec::new(), Instant::now());
    lines.write(Uart, b"unfinished", now, &mut out);
    lines.write(Virtio, &[b'x'; 5000], now, &mut out);
    assert_eq!(out.len(), "unfinished\r\n".len() + 5000);
}

#[test]
fn a_flush_shows_an_unfinished_record() {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let merge = ConsoleMerge::new(Arc::clone(&kept));
    merge.port(Uart).write(b"[    1.000000] BUG: un").unwrap();
    merge.flush().unwrap();
    assert_eq!(*kept.lock().unwrap(), b"[    1.000000] BUG: un");
}

#[test]
fn after_a_reset_the_log_is_new() {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let merge = ConsoleMerge::new(Arc::clone(&kept));
    merge.port(Uart).write(LOG.as_bytes()).unwrap();
    merge.port(Virtio).write(b"$ reboot").unwrap();
    assert_eq!(merge.active_port(), Some(Virtio));
    merge.reset();
    assert_eq!(merge.active_port(), None);
    merge.port(Virtio).write(LOG.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(kept.lock().unwrap().clone()).unwrap(), format!("{LOG}$ reboot\r\n{LOG}"));
}

#[test]
fn a_full_sink_loses_nothing_and_wakes_the_ports() {
    let tight = Tight::default();
    let merge = ConsoleMerge::new(tight.clone());
    let woken = Arc::new(Mutex::new(0));
    let mut port = merge.port(Uart);
    let count = Arc::clone(&woken);
    port.on_room(Arc::new(move || *count.lock().unwrap() += 1));
    port.write(b"one\n").unwrap();
    assert_eq!(port.write(b"two\n"), Err(Full));
    tight.make_room();
    assert_eq!((tight.kept(), *woken.lock().unwrap()), (b"one\n".to_vec(), 1));
    port.write(b"two\n").unwrap();
    tight.make_room();
    assert_eq!(tight.kept(), b"one\ntwo\n");
}

proptest! {
    /// However two ports that bring the same log cut it up, each record is shown once, in whole lines.
    #[test]
    fn any_interleaving_of_the_same_log_shows_each_record_once(
        cuts in prop::collection::vec((any::<bool>(), 1..40_usize), 1..200),
    ) {
        let log: String = (0..20).map(|n| format!("[{:5}.{:06}] record {n}\r\n", n / 3, n * 7)).collect();
        let (mut lines, mut out, now) = (Lines::default(), Vec::new(), Instant::now());
        let mut left = [log.as_bytes(); 2];
        for (virtio, len) in cuts.into_iter().chain([(false, log.len()), (true, log.len())]) {
            let port = if virtio { Virtio } else { Uart };
            let rest = &mut left[port as usize];
            let (piece, after) = rest.split_at(len.min(rest.len()));
            *rest = after;
            lines.write(port, piece, now, &mut out);
        }
        prop_assert_eq!(String::from_utf8(out).unwrap(), log);
    }

    /// Whatever one port writes in whatever pieces, the screen shows that and nothing else, after a flush.
    #[test]
    fn one_port_is_never_changed(pieces in prop::collection::vec("[\\[ 0-9.\\]TC\r\na]{0,30}", 0..50)) {
        let (mut lines, mut out, now) = (Lines::default(), Vec::new(), Instant::now());
        for piece in &pieces {
            lines.write(Uart, piece.as_bytes(), now, &mut out);
        }
        lines.flush(&mut out);
        prop_assert_eq!(String::from_utf8(out).unwrap(), pieces.concat());
    }
}
