//! Output whose reader is slow, gone or closed.

use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::chardev::WaitingSink;

const PATIENCE: Duration = Duration::from_secs(20);

/// A reader that reads one write at a time, when told to.
struct Slow {
    permits: Receiver<()>,
    writes: Sender<Vec<u8>>,
}

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.permits.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
        let taken = &bytes[..bytes.len().min(3000)];
        self.writes.send(taken.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn slow() -> (Output, Sender<()>, Receiver<Vec<u8>>) {
    let (permit, permits) = channel();
    let (writes, written) = channel();
    (Output::start(Slow { permits, writes }).unwrap(), permit, written)
}

fn fill(output: &mut Output) -> usize {
    let mut taken = 0;
    // Twice in a row, for the thread may take the first lot.
    let mut refusals = 0;
    while refusals < 2 {
        match output.write(&[b'x'; 1000]) {
            Ok(()) => taken += 1000,
            Err(Full) => {
                refusals += 1;
                thread::sleep(Duration::from_millis(50));
            }
        }
    }
    taken
}

#[test]
fn a_slow_reader_holds_the_writer_up_and_loses_nothing() {
    let (mut output, permit, written) = slow();
    let taken = fill(&mut output);
    assert!(taken < 4 * LIMIT, "bounded");
    let (woken, wakes) = channel();
    output.on_room(Arc::new(move || {
        let _ = woken.send(());
    }));
    let mut read = 0;
    while read < taken {
        permit.send(()).unwrap();
        read += written.recv_timeout(PATIENCE).unwrap().len();
    }
    wakes.recv_timeout(PATIENCE).unwrap();
    assert!(output.finish(PATIENCE));
    assert_eq!(read, taken);
}

#[test]
fn closing_frees_a_writer_that_waits() {
    let (mut output, _permit, _written) = slow();
    fill(&mut output);
    let mut waiting = WaitingSink::new(output.clone());
    let writer = thread::spawn(move || waiting.write_all(b"one more"));
    thread::sleep(Duration::from_millis(20));
    output.close();
    writer.join().unwrap().unwrap();
    assert!(output.finish(PATIENCE));
}

#[test]
fn a_waiting_writer_goes_on_when_the_reader_does() {
    let (output, permit, written) = slow();
    let sent: Vec<u8> = (0..6 * LIMIT).map(|at| at.to_le_bytes()[0]).collect();
    let (mut waiting, expected) = (WaitingSink::new(output.clone()), sent.clone());
    let writer = thread::spawn(move || sent.chunks(777).try_for_each(|piece| waiting.write_all(piece)));
    let mut read = Vec::new();
    while read.len() < expected.len() {
        permit.send(()).unwrap();
        read.extend(written.recv_timeout(PATIENCE).unwrap());
    }
    writer.join().unwrap().unwrap();
    assert!(read == expected);
}

#[test]
fn a_reader_that_is_gone_costs_nothing() {
    let (mut output, permit, written) = slow();
    drop((permit, written));
    for _ in 0..1000 {
        while output.write(&[b'x'; 1000]).is_err() {
            thread::yield_now();
        }
    }
    assert!(output.finish(PATIENCE));
}

#[test]
fn what_is_left_is_written_after_the_last_handle_is_gone() {
    let (mut output, permit, written) = slow();
    output.write(b"no end of line").unwrap();
    drop(output);
    permit.send(()).unwrap();
    assert_eq!(written.recv_timeout(PATIENCE).unwrap(), b"no end of line");
    assert!(written.recv_timeout(PATIENCE).is_err(), "the thread ended and dropped its end");
}
