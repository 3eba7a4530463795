//! Tests of the UART.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use proptest::prelude::*;

use super::*;
use crate::devices::{
    testing::{Level, Written, accesses, play},
    uart::INPUT_LIMIT,
};

/// Offsets: data, interrupt enable, interrupt identification and FIFO control, line control, modem control, line
/// status, modem status, scratch.
const DATA: u64 = 0;
const IER: u64 = 1;
const IIR: u64 = 2;
const FCR: u64 = 2;
const LCR: u64 = 3;
const MCR: u64 = 4;
const LSR: u64 = 5;
const MSR: u64 = 6;
const SCR: u64 = 7;

/// DTR, RTS, OUT2: as a driver leaves the port open.
const OPEN: u8 = 0x0b;

fn uart() -> (Uart16550, Arc<Level>, Written) {
    let (level, line) = Level::new();
    let written = Written::default();
    (Uart16550::new(line, Box::new(written.clone())), level, written)
}

fn read(uart: &Uart16550, offset: u64) -> u8 {
    let mut data = [0];
    uart.read(offset, &mut data);
    data[0]
}

fn write(uart: &Uart16550, offset: u64, value: u8) {
    uart.write(offset, &[value]);
}

#[test]
fn output_reaches_the_sink_byte_by_byte() {
    let (uart, _, written) = uart();
    for byte in *b"login: " {
        assert_eq!(read(&uart, LSR), 0x60);
        write(&uart, DATA, byte);
    }
    assert_eq!(*written.0.lock().unwrap(), b"login: ");
}

/// The steps by which Linux tells a 16550A from its relatives.
#[test]
fn linux_detects_a_16550a() {
    let (uart, _, written) = uart();
    write(&uart, IER, 0);
    assert_eq!(read(&uart, IER), 0);
    write(&uart, IER, 0x0f);
    assert_eq!(read(&uart, IER), 0x0f);
    write(&uart, IER, 0);
    write(&uart, MCR, 0x1a);
    assert_eq!(read(&uart, MSR) & 0xf0, 0x90, "loopback: RTS to CTS, OUT2 to DCD");
    write(&uart, MCR, 0);
    write(&uart, LCR, 0xbf);
    write(&uart, FCR, 0);
    write(&uart, LCR, 0);
    write(&uart, FCR, 1);
    assert_eq!(read(&uart, IIR) >> 6, 3, "FIFOs that work");
    for latch in [0x80, 0xbf] {
        write(&uart, LCR, latch);
        assert_ne!(read(&uart, 2), 0, "no EFR");
    }
    write(&uart, LCR, 0);
    write(&uart, IER, 0x40);
    assert_eq!(read(&uart, IER), 0, "no UUE bit");
    write(&uart, SCR, 0xa5);
    assert_eq!(read(&uart, SCR), 0xa5);
    assert!(written.0.lock().unwrap().is_empty());
}

#[test]
fn the_fifo_holds_16_bytes_in_loopback() {
    let (uart, _, written) = uart();
    write(&uart, FCR, 0x07);
    write(&uart, MCR, 0x10);
    for byte in 0..=255 {
        write(&uart, DATA, byte);
    }
    assert_eq!(read(&uart, LSR) & 0x02, 0x02, "overrun");
    assert_eq!(read(&uart, LSR) & 0x02, 0, "told once");
    let mut received = Vec::new();
    while read(&uart, LSR) & 1 != 0 {
        received.push(read(&uart, DATA));
    }
    assert_eq!(received, (0..16).collect::<Vec<_>>());
    assert!(written.0.lock().unwrap().is_empty(), "nothing leaves the chip");
}

#[test]
fn the_divisor_latch_hides_data_and_interrupt_enable() {
    let (uart, _, written) = uart();
    write(&uart, LCR, 0x83);
    uart.write(DATA, &0x0102u16.to_le_bytes());
    let mut divisor = [0; 2];
    uart.read(DATA, &mut divisor);
    assert_eq!(divisor, [2, 1]);
    write(&uart, LCR, 0x03);
    assert_eq!(read(&uart, IER), 0);
    assert!(written.0.lock().unwrap().is_empty());
}

#[test]
fn the_transmitter_interrupts_when_turned_on_and_after_each_byte() {
    let (uart, level, _) = uart();
    write(&uart, MCR, OPEN);
    assert_eq!(read(&uart, IIR), 0x01);
    for _ in 0..2 {
        write(&uart, IER, 0x02);
        assert!(level.is_high());
        assert_eq!(read(&uart, IIR), 0x02);
        assert!(!level.is_high(), "identifying it is enough");
        assert_eq!(read(&uart, IIR), 0x01);
        write(&uart, IER, 0);
    }
    write(&uart, IER, 0x02);
    read(&uart, IIR);
    write(&uart, DATA, b'x');
    assert!(level.is_high());
    write(&uart, MCR, OPEN & !0x08);
    assert!(!level.is_high(), "OUT2 disconnects the line");
}

#[test]
fn the_receiver_interrupts_while_it_holds_bytes() {
    let (uart, level, _) = uart();
    write(&uart, FCR, 0x81);
    write(&uart, MCR, OPEN);
    write(&uart, IER, 0x01);
    assert!(!level.is_high());
    assert_eq!(uart.input().send(b"0123456"), 7);
    assert!(level.is_high());
    assert_eq!(read(&uart, IIR), 0xcc, "below the trigger of 8: character time-out");
    uart.input().send(b"7");
    assert_eq!(read(&uart, IIR), 0xc4);
    for expected in *b"01234567" {
        assert!(level.is_high());
        assert_eq!(read(&uart, DATA), expected);
    }
    assert!(!level.is_high());
    assert_eq!(read(&uart, IIR), 0xc1);
}

#[test]
fn line_status_comes_before_received_data() {
    let (uart, _, _) = uart();
    write(&uart, MCR, 0x18);
    write(&uart, IER, 0x07);
    write(&uart, DATA, 1);
    write(&uart, DATA, 2);
    assert_eq!(read(&uart, IIR), 0x06);
    read(&uart, LSR);
    assert_eq!(read(&uart, IIR), 0x04);
    read(&uart, DATA);
    assert_eq!(read(&uart, IIR), 0x02);
    assert_eq!(read(&uart, IIR), 0x01);
}

#[test]
fn modem_status_changes_are_told_once() {
    let (uart, _, _) = uart();
    assert_eq!(read(&uart, MSR), 0xb0);
    write(&uart, IER, 0x08);
    write(&uart, MCR, 0x14);
    assert_eq!(read(&uart, IIR), 0x00);
    assert_eq!(read(&uart, MSR), 0x4b, "CTS, DSR and DCD fell; RI is high");
    assert_eq!(read(&uart, IIR), 0x01);
    write(&uart, MCR, 0x10);
    assert_eq!(read(&uart, MSR), 0x04, "trailing edge of RI");
}

#[test]
fn input_waits_until_the_port_is_open_and_survives_the_probe() {
    let (uart, _, _) = uart();
    uart.input().send(b"typed early");
    assert_eq!(read(&uart, LSR) & 1, 0);
    write(&uart, FCR, 0x07);
    write(&uart, MCR, OPEN);
    let mut received = Vec::new();
    while read(&uart, LSR) & 1 != 0 {
        received.push(read(&uart, DATA));
    }
    assert_eq!(received, b"typed early");
}

#[test]
fn input_is_bounded_and_its_sender_is_woken() {
    let (uart, _, _) = uart();
    write(&uart, MCR, OPEN);
    let input = uart.input();
    assert!(input.wait_for_room(Duration::ZERO));
    let sent = input.send(&[7; INPUT_LIMIT]) + input.send(&[7; INPUT_LIMIT]);
    assert_eq!(sent, INPUT_LIMIT + 1, "one in the holding register");
    assert!(!input.wait_for_room(Duration::ZERO));
    let sender = thread::spawn(move || {
        assert!(input.wait_for_room(Duration::from_secs(60)));
        input.send(&[8; INPUT_LIMIT])
    });
    while !sender.is_finished() {
        read(&uart, DATA);
        thread::yield_now();
    }
    assert_ne!(sender.join().unwrap(), 0);
}

#[test]
fn reset_is_power_on() {
    let (uart, level, _) = uart();
    write(&uart, FCR, 1);
    write(&uart, MCR, OPEN);
    write(&uart, IER, 0x03);
    uart.input().send(b"x");
    assert!(level.is_high());
    Device::reset(&uart);
    assert!(!level.is_high());
    assert_eq!([IER, IIR, LCR, MCR, LSR].map(|offset| read(&uart, offset)), [0, 1, 0, 0, 0x60]);
}

#[test]
fn a_sink_that_fails_does_not_stop_the_guest() {
    struct Full(Arc<AtomicUsize>);
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Err(io::Error::from(io::ErrorKind::StorageFull))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let tries = Arc::new(AtomicUsize::new(0));
    let uart = Uart16550::new(Level::new().1, Box::new(Full(tries.clone())));
    write(&uart, DATA, 1);
    write(&uart, DATA, 2);
    assert_eq!(tries.load(Ordering::SeqCst), 2);
    assert_eq!(read(&uart, LSR), 0x60);
}

proptest! {
    #[test]
    fn any_access_is_answered(accesses in accesses(WINDOW), input in prop::collection::vec(any::<u8>(), 0..100)) {
        let (one, two) = (uart().0, uart().0);
        one.input().send(&input);
        two.input().send(&input);
        play([&one, &two], &accesses);
    }
}
