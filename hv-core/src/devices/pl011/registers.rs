//! The registers of the PL011, without locks and lines (Arm DDI 0183, chapter 3).
//!
//! Nothing takes time here: a byte is transmitted when it is stored, and the receive time-out, which on a real line
//! comes after 32 bits of silence, comes with the byte. UARTEN is kept and never asked for: there is no firmware that
//! would have turned the UART on for an early console, or for a driver of SBSA's generic UART, which cannot.

use std::{collections::VecDeque, mem};

use crate::devices::{
    primecell,
    uart::{Arriving, UartRegisters},
};

/// Depth of the receive FIFO since r1p5 (2.1.1).
const FIFO_DEPTH: usize = 32;

/// `UARTPeriphID0` to 3: part 0x011, designed by Arm, r1p5 (3.3.14).
const PERIPHERAL_ID: [u8; 4] = [0x11, 0x10, 0x34, 0x00];

const DR: u64 = 0x000;
/// Receive status when loaded, error clear when stored to.
const RSR: u64 = 0x004;
const FR: u64 = 0x018;
const ILPR: u64 = 0x020;
const IBRD: u64 = 0x024;
const FBRD: u64 = 0x028;
const LCR_H: u64 = 0x02c;
const CR: u64 = 0x030;
const IFLS: u64 = 0x034;
const IMSC: u64 = 0x038;
const RIS: u64 = 0x03c;
const MIS: u64 = 0x040;
const ICR: u64 = 0x044;
const DMACR: u64 = 0x048;

/// Data register: overrun error.
const DR_OE: u32 = 1 << 11;
/// Receive status: overrun error.
const RSR_OE: u32 = 1 << 3;

/// Flags: receive FIFO empty, receive FIFO full, transmit FIFO empty. The transmit FIFO is never full.
const FR_RXFE: u32 = 1 << 4;
const FR_RXFF: u32 = 1 << 6;
const FR_TXFE: u32 = 1 << 7;

/// Line control: enable FIFOs.
const LCR_FEN: u32 = 1 << 4;

/// Control: loopback enable.
const CR_LBE: u32 = 1 << 7;
const CR_RXE: u32 = 1 << 9;
const CR_DTR: u32 = 1 << 10;
const CR_RTS: u32 = 1 << 11;
/// What a driver raises that has the port open, and lowers when it closes it.
const CR_OPEN: u32 = CR_DTR | CR_RTS;
const CR_OUT1: u32 = 1 << 12;
const CR_OUT2: u32 = 1 << 13;
/// Bits 3 to 6 are reserved (3.3.8).
const CR_MASK: u32 = 0xff87;
/// Control at power-on: transmit and receive enabled, the UART not.
const CR_POWER_ON: u32 = 0x300;
/// FIFO levels at power-on: half full, both.
const IFLS_POWER_ON: u32 = 0x12;

/// Interrupts of the modem inputs, by bit.
const RI: u32 = 1;
const CTS: u32 = 1 << 1;
const DCD: u32 = 1 << 2;
const DSR: u32 = 1 << 3;
/// Interrupts: received up to the trigger level, transmitted, receive time-out, overrun.
const RX: u32 = 1 << 4;
const TX: u32 = 1 << 5;
const RT: u32 = 1 << 6;
const OE: u32 = 1 << 10;
const INTERRUPTS: u32 = 0x7ff;

/// A guest that looks at the flags so often, and does nothing else in between, waits for input.
const PATIENCE: u8 = 16;

/// The register file, the receive FIFO and what waits on the line before it.
pub(super) struct Registers {
    /// Sent by the other end, not yet received.
    arriving: Arriving,
    receiver: VecDeque<u8>,
    /// A byte found the FIFO full since the last was taken.
    overrun: bool,
    receive_status: u32,
    low_power: u32,
    integer_divisor: u32,
    fraction_divisor: u32,
    line_control: u32,
    control: u32,
    levels: u32,
    mask: u32,
    raw: u32,
    dma_control: u32,
    /// Loads of the flags since the last other access.
    looks: u8,
    /// A driver found the FIFO empty and turned its interrupts on.
    waits: bool,
}

impl Default for Registers {
    fn default() -> Self {
        Self {
            arriving: Arriving::default(),
            receiver: VecDeque::with_capacity(FIFO_DEPTH),
            overrun: false,
            receive_status: 0,
            low_power: 0,
            integer_divisor: 0,
            fraction_divisor: 0,
            line_control: 0,
            control: CR_POWER_ON,
            levels: IFLS_POWER_ON,
            mask: 0,
            raw: 0,
            dma_control: 0,
            looks: 0,
            waits: false,
        }
    }
}

impl UartRegisters for Registers {
    fn arriving(&mut self) -> &mut Arriving {
        &mut self.arriving
    }

    /// The other end sends while the receiver is on, has room, and somebody wants input. Linux throws away what it
    /// finds in the FIFO when it opens the port, so what was typed before must not be there yet.
    fn receive(&mut self) {
        if self.control & (CR_RXE | CR_LBE) != CR_RXE || !self.wanted() {
            return;
        }
        let free = self.depth().saturating_sub(self.receiver.len());
        let before = self.receiver.len();
        self.receiver.extend(self.arriving.take(free));
        if self.receiver.len() > before {
            self.received();
        }
    }

    fn interrupts(&self) -> bool {
        self.raw & self.mask != 0
    }
}

impl Registers {
    /// Back to power-on. What still waits on the line does not know of it.
    pub(super) fn reset(&mut self) {
        *self = Self { arriving: mem::take(&mut self.arriving), ..Self::default() };
    }

    /// A load of the register at `offset`.
    pub(super) fn read(&mut self, offset: u64) -> u32 {
        self.looks = if offset == FR { self.looks.saturating_add(1) } else { 0 };
        match offset {
            DR => self.take(),
            RSR => self.receive_status,
            FR => self.flags(),
            ILPR => self.low_power,
            IBRD => self.integer_divisor,
            FBRD => self.fraction_divisor,
            LCR_H => self.line_control,
            CR => self.control,
            IFLS => self.levels,
            IMSC => self.mask,
            RIS => self.raw,
            MIS => self.raw & self.mask,
            DMACR => self.dma_control,
            _ => primecell::identification(offset, PERIPHERAL_ID),
        }
    }

    /// A store to the register at `offset`; answers the byte that goes out on the line.
    pub(super) fn write(&mut self, offset: u64, value: u32) -> Option<u8> {
        let looked = mem::take(&mut self.looks) != 0;
        match offset {
            DR => return self.transmit(value.to_le_bytes()[0]),
            RSR => self.receive_status = 0,
            ILPR => self.low_power = value & 0xff,
            IBRD => self.integer_divisor = value & 0xffff,
            FBRD => self.fraction_divisor = value & 0x3f,
            LCR_H => self.line_control = value & 0xff,
            CR => self.write_control(value & CR_MASK),
            IFLS => self.levels = value & 0x3f,
            IMSC => {
                self.mask = value & INTERRUPTS;
                self.waits |= looked && self.receiver.is_empty() && value & (RX | RT) != 0;
            }
            ICR => self.raw &= !value,
            DMACR => self.dma_control = value & 7,
            _ => {}
        }
        None
    }

    /// Whether somebody is there who wants input: a driver with the port open, one that waits for an interrupt (of
    /// SBSA's generic UART, which has no modem lines, it is all that is seen), or one that polls.
    fn wanted(&self) -> bool {
        self.control & CR_OPEN != 0 || self.waits || self.looks >= PATIENCE
    }

    /// Bytes that the receive FIFO holds; without FIFOs it is one holding register (2.4.3).
    fn depth(&self) -> usize {
        if self.line_control & LCR_FEN != 0 { FIFO_DEPTH } else { 1 }
    }

    /// Bytes in the receive FIFO that raise its interrupt: 1/8, 1/4, 1/2, 3/4 or 7/8 of it (3.3.9). What the reserved
    /// values mean is nowhere said.
    fn trigger(&self) -> usize {
        if self.line_control & LCR_FEN == 0 {
            return 1;
        }
        match self.levels >> 3 {
            0 => FIFO_DEPTH / 8,
            1 => FIFO_DEPTH / 4,
            2 => FIFO_DEPTH / 2,
            3 => FIFO_DEPTH / 4 * 3,
            _ => FIFO_DEPTH / 8 * 7,
        }
    }

    /// The FIFO has grown. Both interrupts come by events, and stay cleared until the next one (2.8.2 to 2.8.5).
    fn received(&mut self) {
        self.raw |= RT;
        if self.receiver.len() >= self.trigger() {
            self.raw |= RX;
        }
    }

    fn take(&mut self) -> u32 {
        let overrun = if mem::take(&mut self.overrun) { DR_OE } else { 0 };
        let byte = self.receiver.pop_front().unwrap_or(0);
        if self.receiver.len() < self.trigger() {
            self.raw &= !RX;
        }
        if self.receiver.is_empty() {
            self.raw &= !RT;
        }
        u32::from(byte) | overrun
    }

    /// The byte is gone at once; with it the transmit FIFO has passed its trigger level.
    fn transmit(&mut self, byte: u8) -> Option<u8> {
        self.raw |= TX;
        if self.control & CR_LBE == 0 {
            return Some(byte);
        }
        if self.receiver.len() < self.depth() {
            self.receiver.push_back(byte);
            self.received();
        } else {
            self.overrun = true;
            self.receive_status |= RSR_OE;
            self.raw |= OE;
        }
        None
    }

    fn write_control(&mut self, value: u32) {
        let before = self.modem_inputs();
        let closed = self.control & !value & CR_OPEN != 0 && value & CR_OPEN == 0;
        self.waits &= !closed;
        self.control = value;
        self.raw |= before ^ self.modem_inputs();
    }

    /// The modem inputs by the bits of their interrupts: the other end is always there and ready; in loopback they
    /// are this end's own outputs.
    fn modem_inputs(&self) -> u32 {
        if self.control & CR_LBE == 0 {
            return CTS | DSR | DCD;
        }
        [(CR_RTS, CTS), (CR_DTR, DSR), (CR_OUT1, DCD), (CR_OUT2, RI)]
            .into_iter()
            .filter(|(output, _)| self.control & output != 0)
            .fold(0, |all, (_, input)| all | input)
    }

    fn flags(&self) -> u32 {
        let modem = self.modem_inputs();
        let inputs = [(CTS, 1), (DSR, 1 << 1), (DCD, 1 << 2), (RI, 1 << 8)]
            .into_iter()
            .filter(|(input, _)| modem & input != 0)
            .fold(0, |all, (_, flag)| all | flag);
        let empty = if self.receiver.is_empty() { FR_RXFE } else { 0 };
        let full = if self.receiver.len() >= self.depth() { FR_RXFF } else { 0 };
        FR_TXFE | inputs | empty | full
    }
}
