//! The registers of the 16550A, without locks and lines (National Semiconductor PC16550D data sheet).
//!
//! Nothing takes time here: a byte is transmitted when it is stored, and the receiver's character time-out, which on
//! a real line comes after four characters of silence, has always passed.

use std::collections::VecDeque;

use crate::devices::uart::{Arriving, UartRegisters};

const FIFO_DEPTH: usize = 16;

const LCR_DLAB: u8 = 1 << 7;

const FCR_ENABLE: u8 = 1;
const FCR_CLEAR_RECEIVER: u8 = 1 << 1;

const IER_RECEIVED: u8 = 1;
const IER_TRANSMITTER_EMPTY: u8 = 1 << 1;
const IER_LINE_STATUS: u8 = 1 << 2;
const IER_MODEM_STATUS: u8 = 1 << 3;

const IIR_NONE: u8 = 0x01;
const IIR_MODEM_STATUS: u8 = 0x00;
const IIR_TRANSMITTER_EMPTY: u8 = 0x02;
const IIR_RECEIVED: u8 = 0x04;
const IIR_LINE_STATUS: u8 = 0x06;
const IIR_CHARACTER_TIMEOUT: u8 = 0x0c;
const IIR_FIFOS: u8 = 0xc0;

const LSR_DATA_READY: u8 = 1;
const LSR_OVERRUN: u8 = 1 << 1;
const LSR_TRANSMITTER_EMPTY: u8 = 1 << 5 | 1 << 6;

const MCR_DTR: u8 = 1;
const MCR_RTS: u8 = 1 << 1;
const MCR_OUT1: u8 = 1 << 2;
/// On a PC this output connects the interrupt.
const MCR_OUT2: u8 = 1 << 3;
const MCR_LOOPBACK: u8 = 1 << 4;

const MSR_CTS: u8 = 1 << 4;
const MSR_DSR: u8 = 1 << 5;
const MSR_RI: u8 = 1 << 6;
const MSR_DCD: u8 = 1 << 7;
const MSR_TRAILING_RI: u8 = 1 << 2;

/// The register file, the receiver and what waits on the line before it.
pub(super) struct Registers {
    /// Sent by the other end, not yet received.
    arriving: Arriving,
    receiver: VecDeque<u8>,
    divisor: [u8; 2],
    interrupt_enable: u8,
    fifo_control: u8,
    line_control: u8,
    modem_control: u8,
    scratch: u8,
    overrun: bool,
    /// The transmitter became empty, and nobody has been told.
    transmitter_emptied: bool,
    modem_changes: u8,
}

impl Default for Registers {
    fn default() -> Self {
        Self {
            arriving: Arriving::default(),
            receiver: VecDeque::with_capacity(FIFO_DEPTH),
            // 9600 baud
            divisor: [12, 0],
            interrupt_enable: 0,
            fifo_control: 0,
            line_control: 0,
            modem_control: 0,
            scratch: 0,
            overrun: false,
            transmitter_emptied: false,
            modem_changes: 0,
        }
    }
}

impl UartRegisters for Registers {
    fn arriving(&mut self) -> &mut Arriving {
        &mut self.arriving
    }

    /// The other end sends while this one says that it is ready (DTR), and the receiver has room. A driver that is
    /// still trying out the chip has not said so, and loses nothing.
    fn receive(&mut self) {
        if self.loopback() || self.modem_control & MCR_DTR == 0 {
            return;
        }
        let free = self.receiver_depth().saturating_sub(self.receiver.len());
        self.receiver.extend(self.arriving.take(free));
    }

    fn interrupts(&self) -> bool {
        let connected = self.modem_control & (MCR_OUT2 | MCR_LOOPBACK) == MCR_OUT2;
        connected && self.cause() != IIR_NONE
    }
}

impl Registers {
    /// Master reset. What still waits on the line does not know of it.
    pub(super) fn reset(&mut self) {
        *self = Self { arriving: std::mem::take(&mut self.arriving), ..Self::default() };
    }

    /// A load of the register at `offset`.
    pub(super) fn read(&mut self, offset: u64) -> u8 {
        let value = match offset {
            0 if self.divisor_latch() => self.divisor[0],
            1 if self.divisor_latch() => self.divisor[1],
            0 => self.receiver.pop_front().unwrap_or(0),
            1 => self.interrupt_enable,
            2 => self.identify_interrupt(),
            3 => self.line_control,
            4 => self.modem_control,
            5 => self.line_status(),
            6 => std::mem::take(&mut self.modem_changes) | self.modem_inputs(),
            7 => self.scratch,
            _ => 0xff,
        };
        self.receive();
        value
    }

    /// A store to the register at `offset`; answers the byte that goes out on the line.
    pub(super) fn write(&mut self, offset: u64, value: u8) -> Option<u8> {
        let mut transmitted = None;
        match offset {
            0 if self.divisor_latch() => self.divisor[0] = value,
            1 if self.divisor_latch() => self.divisor[1] = value,
            0 => transmitted = self.transmit(value),
            1 => self.enable_interrupts(value & 0x0f),
            2 => self.control_fifos(value),
            3 => self.line_control = value,
            4 => self.control_modem(value & 0x1f),
            7 => self.scratch = value,
            _ => {}
        }
        self.receive();
        transmitted
    }

    fn divisor_latch(&self) -> bool {
        self.line_control & LCR_DLAB != 0
    }

    fn loopback(&self) -> bool {
        self.modem_control & MCR_LOOPBACK != 0
    }

    fn fifos(&self) -> bool {
        self.fifo_control & FCR_ENABLE != 0
    }

    fn receiver_depth(&self) -> usize {
        if self.fifos() { FIFO_DEPTH } else { 1 }
    }

    fn transmit(&mut self, value: u8) -> Option<u8> {
        self.transmitter_emptied = true;
        if !self.loopback() {
            return Some(value);
        }
        if self.receiver.len() < self.receiver_depth() {
            self.receiver.push_back(value);
        } else {
            self.overrun = true;
        }
        None
    }

    fn enable_interrupts(&mut self, value: u8) {
        // The transmitter is empty, and says so whenever its interrupt is turned on.
        if value & !self.interrupt_enable & IER_TRANSMITTER_EMPTY != 0 {
            self.transmitter_emptied = true;
        }
        self.interrupt_enable = value;
    }

    fn control_fifos(&mut self, value: u8) {
        if (value ^ self.fifo_control) & FCR_ENABLE != 0 || value & FCR_CLEAR_RECEIVER != 0 {
            self.receiver.clear();
        }
        // The other bits count only together with the enable bit.
        self.fifo_control = if value & FCR_ENABLE != 0 { value } else { 0 };
    }

    fn control_modem(&mut self, value: u8) {
        let before = self.modem_inputs();
        self.modem_control = value;
        let now = self.modem_inputs();
        let trailing_ring = if before & !now & MSR_RI != 0 { MSR_TRAILING_RI } else { 0 };
        self.modem_changes |= ((before ^ now) & !MSR_RI) >> 4 | trailing_ring;
    }

    /// CTS, DSR, RI and DCD: the other end is always there and ready; in loopback they are this end's own outputs.
    fn modem_inputs(&self) -> u8 {
        if !self.loopback() {
            return MSR_CTS | MSR_DSR | MSR_DCD;
        }
        let wires = [(MCR_RTS, MSR_CTS), (MCR_DTR, MSR_DSR), (MCR_OUT1, MSR_RI), (MCR_OUT2, MSR_DCD)];
        wires
            .iter()
            .filter(|(output, _)| self.modem_control & output != 0)
            .fold(0, |all, (_, input)| all | input)
    }

    fn line_status(&mut self) -> u8 {
        let ready = if self.receiver.is_empty() { 0 } else { LSR_DATA_READY };
        let overrun = if std::mem::take(&mut self.overrun) { LSR_OVERRUN } else { 0 };
        LSR_TRANSMITTER_EMPTY | ready | overrun
    }

    /// The pending interrupt of the highest priority.
    fn cause(&self) -> u8 {
        let enabled = |bit| self.interrupt_enable & bit != 0;
        if enabled(IER_LINE_STATUS) && self.overrun {
            IIR_LINE_STATUS
        } else if enabled(IER_RECEIVED) && !self.receiver.is_empty() {
            if self.receiver.len() >= self.trigger() { IIR_RECEIVED } else { IIR_CHARACTER_TIMEOUT }
        } else if enabled(IER_TRANSMITTER_EMPTY) && self.transmitter_emptied {
            IIR_TRANSMITTER_EMPTY
        } else if enabled(IER_MODEM_STATUS) && self.modem_changes != 0 {
            IIR_MODEM_STATUS
        } else {
            IIR_NONE
        }
    }

    fn trigger(&self) -> usize {
        match self.fifo_control >> 6 {
            0 => 1,
            1 => 4,
            2 => 8,
            _ => 14,
        }
    }

    fn identify_interrupt(&mut self) -> u8 {
        let cause = self.cause();
        if cause == IIR_TRANSMITTER_EMPTY {
            self.transmitter_emptied = false;
        }
        cause | if self.fifos() { IIR_FIFOS } else { 0 }
    }
}
