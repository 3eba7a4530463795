//! Tests of the PL011.

use std::{sync::Arc, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::{
    bus::Bus,
    devices::{
        testing::{Level, Written, accesses, play},
        uart::INPUT_LIMIT,
    },
};

const DR: u64 = 0x000;
const RSR: u64 = 0x004;
const FR: u64 = 0x018;
const IBRD: u64 = 0x024;
const FBRD: u64 = 0x028;
const LCR_H: u64 = 0x02c;
const CR: u64 = 0x030;
const IFLS: u64 = 0x034;
const IMSC: u64 = 0x038;
const RIS: u64 = 0x03c;
const MIS: u64 = 0x040;
const ICR: u64 = 0x044;

/// Flags: clear to send, data set ready, carrier; both FIFOs empty.
const IDLE: u32 = 0x97;
const RXFE: u32 = 1 << 4;
const RXFF: u32 = 1 << 6;
const RX: u32 = 1 << 4;
const TX: u32 = 1 << 5;
const RT: u32 = 1 << 6;
/// UARTEN, TXE, RXE.
const ON: u32 = 0x301;
/// And DTR, RTS: as Linux leaves the port open.
const OPEN: u32 = 0xf01;
/// FIFOs, 8 bits.
const FIFOS: u32 = 0x70;

fn uart() -> (Pl011, Arc<Level>, Written) {
    let (level, line) = Level::new();
    let written = Written::default();
    (Pl011::new(line, Box::new(written.clone())), level, written)
}

fn read(uart: &Pl011, offset: u64) -> u32 {
    let mut data = [0; 4];
    uart.read(offset, &mut data);
    u32::from_le_bytes(data)
}

fn write(uart: &Pl011, offset: u64, value: u32) {
    uart.write(offset, &value.to_le_bytes());
}

/// What is in the receiver, up to when the flags say that it is empty.
fn drain(uart: &Pl011) -> Vec<u8> {
    let mut received = Vec::new();
    while read(uart, FR) & RXFE == 0 {
        received.push(u8::try_from(read(uart, DR)).unwrap());
    }
    received
}

/// An open port as Linux sets it up, with the interrupts of `mask`.
fn open(mask: u32) -> (Pl011, Arc<Level>, Written) {
    let (uart, level, written) = uart();
    write(&uart, LCR_H, FIFOS);
    write(&uart, CR, OPEN);
    write(&uart, IMSC, mask);
    (uart, level, written)
}

#[test]
fn the_state_at_power_on_and_after_reset_is_that_of_the_manual() {
    let (uart, level, _) = uart();
    let check = || {
        let registers = [RSR, FR, IBRD, FBRD, LCR_H, CR, IFLS, IMSC, RIS, MIS, 0x020, 0x048];
        let values = [0, IDLE, 0, 0, 0, 0x300, 0x12, 0, 0, 0, 0, 0];
        assert_eq!(registers.map(|offset| read(&uart, offset)), values);
    };
    check();
    (0..0xfe0).step_by(4).for_each(|offset| write(&uart, offset, u32::MAX));
    uart.input().send(b"x");
    write(&uart, CR, OPEN);
    assert!(level.is_high());
    Device::reset(&uart);
    check();
    assert!(!level.is_high());
}

/// By which Linux's AMBA bus chooses `amba-pl011`, and the driver a FIFO of 32 bytes.
#[test]
fn it_identifies_itself_as_r1p5() {
    let (uart, _, _) = uart();
    let word = |base: u64| (0..4).fold(0, |id, byte| id | read(&uart, base + byte * 4) << (byte * 8));
    assert_eq!(word(0xfe0), 0x0034_1011);
    assert_eq!(word(0xff0), 0xb105_f00d);
}

/// `pl011_putc` of Linux's earlycon, which sets nothing up.
#[test]
fn an_early_console_writes_without_setting_up_anything() {
    let (uart, _, written) = uart();
    for byte in *b"Booting Linux" {
        assert_eq!(read(&uart, FR) & (1 << 5 | 1 << 3), 0, "not full, not busy");
        uart.write(DR, &[byte]);
    }
    assert_eq!(*written.0.lock().unwrap(), b"Booting Linux");
}

#[test]
fn each_width_stores_one_byte_and_odd_offsets_none() {
    let (uart, _, written) = uart();
    let mut bus = Bus::default();
    bus.insert(0x0900_0000, WINDOW, Arc::new(uart)).unwrap();
    for stored in [&b"a"[..], b"b1", b"c234", b"d2345678"] {
        bus.write(0x0900_0000, stored);
        bus.write(0x0900_0001, stored.get(..1).unwrap());
        bus.write(0x0900_0002, stored.get(..1).unwrap());
    }
    assert_eq!(*written.0.lock().unwrap(), b"abcd");
    for (offset, answer) in [(0x18, [0x97, 0]), (0x19, [0, 0]), (0x30, [0, 3]), (0x31, [0, 0])] {
        let mut data = [0xaa; 2];
        bus.read(0x0900_0000 + offset, &mut data);
        assert_eq!(data, answer, "{offset:#x}");
    }
}

#[test]
fn the_transmitter_interrupts_after_each_byte_until_cleared() {
    let (uart, level, _) = open(TX);
    assert!(!level.is_high(), "only a byte passes the trigger level");
    write(&uart, DR, 1);
    assert!(level.is_high());
    assert_eq!((read(&uart, RIS), read(&uart, MIS)), (TX, TX));
    write(&uart, ICR, TX);
    assert!(!level.is_high());
    write(&uart, IMSC, 0);
    write(&uart, DR, 2);
    assert_eq!((level.is_high(), read(&uart, RIS), read(&uart, MIS)), (false, TX, 0));
}

#[test]
fn a_byte_is_a_time_out_and_a_half_full_fifo_is_a_receive_interrupt() {
    let (uart, level, _) = open(RX | RT);
    assert_eq!(uart.input().send(&[7; 15]), 15);
    assert!(level.is_high());
    assert_eq!(read(&uart, RIS), RT);
    uart.input().send(&[7]);
    assert_eq!(read(&uart, RIS), RX | RT, "16 of 32");
    read(&uart, DR);
    assert_eq!(read(&uart, RIS), RT, "below the level again");
    assert_eq!(drain(&uart), [7; 15]);
    assert_eq!((read(&uart, RIS), level.is_high()), (0, false));
}

#[test]
fn the_trigger_level_is_the_guests() {
    for (level, bytes) in [(0, 4), (1, 8), (2, 16), (3, 24), (4, 28)] {
        let (uart, _, _) = open(RX);
        write(&uart, IFLS, level << 3);
        uart.input().send(&vec![1; bytes - 1]);
        assert_eq!(read(&uart, MIS), 0, "{bytes}");
        uart.input().send(&[1]);
        assert_eq!(read(&uart, MIS), RX, "{bytes}");
    }
    let (uart, _, _) = open(RX);
    write(&uart, LCR_H, FIFOS & !0x10);
    uart.input().send(b"ab");
    assert_eq!((read(&uart, MIS), read(&uart, FR) & RXFF), (RX, RXFF), "one holding register");
    assert_eq!(drain(&uart), b"ab");
}

#[test]
fn a_receive_interrupt_that_was_cleared_comes_again_with_the_next_byte() {
    let (uart, level, _) = open(RX | RT);
    uart.input().send(&[1; 16]);
    write(&uart, ICR, RX | RT);
    assert!(!level.is_high());
    uart.input().send(&[2]);
    assert_eq!((read(&uart, MIS), level.is_high()), (RX | RT, true));
}

#[test]
fn a_full_fifo_is_refilled_as_it_is_read() {
    let (uart, level, _) = open(RX | RT);
    let sent: Vec<u8> = (0..=255).collect();
    assert_eq!(uart.input().send(&sent), 256);
    assert_eq!(read(&uart, FR) & RXFF, RXFF);
    let mut received = Vec::new();
    while level.is_high() {
        received.push(u8::try_from(read(&uart, DR)).unwrap());
    }
    assert_eq!(received, sent);
}

/// `pl011_startup` of Linux throws away what it finds in the FIFO.
#[test]
fn input_waits_until_the_port_is_open_and_survives_the_drivers_start() {
    let (uart, level, written) = uart();
    uart.input().send(b"typed early");
    write(&uart, IMSC, RX | RT);
    for byte in *b"console before the port is open" {
        write(&uart, CR, ON);
        assert_eq!(read(&uart, FR) & RXFE, RXFE);
        write(&uart, DR, byte.into());
        read(&uart, FR);
        write(&uart, CR, 0x300);
    }
    write(&uart, LCR_H, FIFOS);
    write(&uart, CR, ON);
    start(&uart);
    assert!(level.is_high());
    assert_eq!(drain(&uart), b"typed early");
    assert_eq!(written.0.lock().unwrap().len(), 31);
}

#[test]
fn a_driver_that_polls_without_modem_lines_gets_input() {
    let (uart, _, _) = uart();
    write(&uart, CR, ON);
    uart.input().send(b"key");
    let mut received = Vec::new();
    for _ in 0..100 {
        if read(&uart, FR) & RXFE == 0 {
            received.push(u8::try_from(read(&uart, DR)).unwrap());
        }
    }
    assert_eq!(received, b"key");
}

#[test]
fn a_receiver_that_is_off_receives_nothing() {
    let (uart, _, _) = open(RX | RT);
    write(&uart, CR, OPEN & !0x200);
    uart.input().send(b"x");
    assert_eq!((read(&uart, RIS), drain(&uart)), (0, vec![]));
    write(&uart, CR, OPEN);
    assert_eq!(drain(&uart), b"x");
}

/// `pl011_hwinit`, `pl011_allocate_irq` and `pl011_enable_interrupts` of Linux; the driver of SBSA's generic UART, which
/// ACPI describes, does nothing else.
fn start(uart: &Pl011) {
    write(uart, ICR, 0x7d0);
    let mask = read(uart, IMSC);
    write(uart, IMSC, RX | RT);
    write(uart, IMSC, mask);
    write(uart, ICR, RX | RT);
    assert_eq!(drain(uart), b"");
    write(uart, IMSC, RX | RT);
}

#[test]
fn input_reaches_a_driver_of_the_generic_uart_once_it_waits_for_interrupts() {
    let (uart, level, _) = uart();
    write(&uart, ICR, 0x7d0);
    write(&uart, IMSC, RX | RT);
    uart.input().send(b"typed early");
    write(&uart, DR, b'.'.into());
    read(&uart, FR);
    assert!(!level.is_high(), "the console was set up, nobody waits");
    start(&uart);
    assert!(level.is_high());
    assert_eq!(drain(&uart), b"typed early");
    // A line discipline that is full stops the receiver for a while.
    write(&uart, IMSC, 0);
    uart.input().send(b"more");
    assert!(!level.is_high());
    write(&uart, IMSC, RX | RT);
    assert!(level.is_high());
    assert_eq!(drain(&uart), b"more");
}

#[test]
fn input_between_two_sessions_waits_for_the_second() {
    let (uart, _, _) = uart();
    write(&uart, LCR_H, FIFOS);
    for _ in 0..2 {
        write(&uart, CR, ON);
        uart.input().send(b"hello");
        start(&uart);
        write(&uart, CR, OPEN);
        assert_eq!(drain(&uart), b"hello");
        write(&uart, CR, ON);
        write(&uart, IMSC, 0);
        write(&uart, ICR, 0xffff);
        write(&uart, CR, 1);
    }
}

#[test]
fn loopback_returns_bytes_and_modem_lines_and_tells_of_overruns() {
    let (uart, _, written) = uart();
    write(&uart, LCR_H, FIFOS);
    write(&uart, CR, ON | 0x80 | 1 << 11);
    assert_eq!(read(&uart, FR) & 0x107, 1, "RTS to CTS");
    assert_eq!(read(&uart, RIS) & 0xf, 1 << 2 | 1 << 3, "carrier and data set ready fell");
    uart.input().send(b"not now");
    (0..33).for_each(|byte| write(&uart, DR, byte));
    assert_eq!((read(&uart, RSR), read(&uart, RIS) & 1 << 10), (1 << 3, 1 << 10));
    assert_eq!(read(&uart, DR), 1 << 11, "told with the next byte, once");
    assert_eq!(drain(&uart), (1..32).collect::<Vec<_>>());
    write(&uart, RSR, 0);
    assert_eq!(read(&uart, RSR), 0);
    assert!(written.0.lock().unwrap().is_empty(), "nothing leaves the chip");
}

#[test]
fn input_is_bounded_and_room_is_made_by_reading() {
    let (uart, _, _) = open(0);
    let input = uart.input();
    assert_eq!(input.send(&[7; INPUT_LIMIT]) + input.send(&[7; INPUT_LIMIT]), INPUT_LIMIT + 32);
    assert!(!input.wait_for_room(Duration::ZERO));
    read(&uart, DR);
    assert!(input.wait_for_room(Duration::ZERO));
    assert_eq!(input.send(b"ab"), 1);
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
