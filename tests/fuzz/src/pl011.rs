//! The PL011's registers, with input from the other end.

use std::sync::{Arc, Mutex};

use hv_core::{
    bus::BusDevice,
    device::Device,
    devices::{
        pl011::{Pl011, WINDOW},
        uart::INPUT_LIMIT,
    },
    irq::IrqLine,
    testing::RecordingChip,
};

use crate::{Input, sink::Written, twins::Access};

const SPI: u32 = 1;
const DATA: u64 = 0x000;
const FLAGS: u64 = 0x018;
const CONTROL: u64 = 0x030;
const MASKED_STATUS: u64 = 0x040;
const RECEIVER_EMPTY: u32 = 1 << 4;
/// DTR, RTS, receiver on.
const OPEN: u32 = 0xf01;

const REGISTERS: [u64; 16] = [
    DATA,
    0x004,
    FLAGS,
    0x020,
    0x024,
    0x028,
    0x02c,
    CONTROL,
    0x034,
    0x038,
    0x03c,
    MASKED_STATUS,
    0x044,
    0x048,
    0xfe0,
    0xffc,
];

/// Any accesses, with bytes arriving in between.
///
/// Transmitted is only what was stored to the data register; the line is high exactly while an enabled interrupt is
/// pending; what waits for the guest stays within its limit, and reading the port, once it is open, empties it.
///
/// # Panics
/// The UART breaks one of these.
pub fn pl011(data: &[u8]) {
    let make = || {
        let (chip, written) = (Arc::new(RecordingChip::default()), Arc::new(Mutex::new(Vec::new())));
        let line = IrqLine::new(chip.clone(), SPI);
        (Pl011::new(line, Box::new(Written(written.clone()))), chip, written)
    };
    let ((one, chip, written), (two, _, _)) = (make(), make());
    let mut input = Input::new(data);
    let mut stored = Vec::new();
    while !input.is_empty() {
        match input.u8() & 0xf {
            0 | 1 => {
                let arriving = vec![0x5a; usize::from(input.u16()) % (INPUT_LIMIT * 2)];
                let sent = one.input().send(&arriving);
                assert_eq!(sent, two.input().send(&arriving));
                assert!(sent <= INPUT_LIMIT + 32);
            }
            2 => {
                one.reset();
                two.reset();
            }
            _ => {
                let access = Access::read(&mut input, WINDOW).near(&mut input, &REGISTERS);
                access.play(&one, &two);
                stored.extend(access.stored_at(DATA));
            }
        }
        assert_eq!(chip.line(SPI), load(&one, MASKED_STATUS) != 0, "the line is not the masked status");
        load(&two, MASKED_STATUS);
    }
    one.write(CONTROL, &OPEN.to_le_bytes());
    let waiting = (0..).take_while(|_| load(&one, FLAGS) & RECEIVER_EMPTY == 0 && load(&one, DATA) <= 0xfff);
    assert!(waiting.count() <= INPUT_LIMIT + 32, "more waited than is allowed");
    let written = written.lock().unwrap();
    let mut stored = stored.iter();
    assert!(
        written.iter().all(|byte| stored.any(|stored| stored == byte)),
        "transmitted what was not stored"
    );
}

fn load(uart: &Pl011, offset: u64) -> u32 {
    let mut data = [0; 4];
    uart.read(offset, &mut data);
    u32::from_le_bytes(data)
}
