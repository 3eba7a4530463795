//! The 16550A UART.
//!
//! Bytes that the guest transmits reach the sink at once, before the store that sent them is done, so a prompt
//! without a newline is seen. Bytes for the guest wait in a bounded buffer until its receiver has room.

mod registers;

use std::{
    fmt,
    io::Write,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{bus::BusDevice, device::Device, irq::IrqLine};
use registers::Registers;

/// Size of the window in ports.
pub const WINDOW: u64 = 8;
/// Bytes that may wait for the guest's receiver.
pub const INPUT_LIMIT: usize = 4096;

/// The UART, as one window of [`WINDOW`] ports (COM1: 0x3f8).
pub struct Uart16550 {
    shared: Arc<Shared>,
    /// Apart from the registers, so that a slow sink holds up the guest's output but not its input.
    sink: Mutex<Sink>,
}

/// The other end of the guest's receive line, for any thread.
#[derive(Clone)]
pub struct UartInput(Arc<Shared>);

struct Shared {
    port: Mutex<Port>,
    room: Condvar,
}

struct Port {
    registers: Registers,
    line: IrqLine,
}

struct Sink {
    output: Box<dyn Write + Send>,
    failed: bool,
}

impl Uart16550 {
    /// A UART that transmits to `sink` and interrupts by `line`.
    pub fn new(line: IrqLine, sink: Box<dyn Write + Send>) -> Self {
        let port = Mutex::new(Port { registers: Registers::default(), line });
        let shared = Arc::new(Shared { port, room: Condvar::new() });
        Self { shared, sink: Mutex::new(Sink { output: sink, failed: false }) }
    }

    /// The handle by which the guest's input arrives.
    pub fn input(&self) -> UartInput {
        UartInput(Arc::clone(&self.shared))
    }
}

impl UartInput {
    /// Sends as many of `bytes` as there is room for and says how many that were; it never waits.
    pub fn send(&self, bytes: &[u8]) -> usize {
        let mut port = self.0.port();
        let sent = port.registers.send(bytes);
        port.drive_line();
        sent
    }

    /// Waits until there is room for a byte, or `timeout` is over; says whether there is.
    pub fn wait_for_room(&self, timeout: Duration) -> bool {
        let full = |port: &mut Port| port.registers.room() == 0;
        let waited = self.0.room.wait_timeout_while(self.0.port(), timeout, full);
        let (port, _) = waited.unwrap_or_else(PoisonError::into_inner);
        port.registers.room() != 0
    }
}

impl Shared {
    fn port(&self) -> MutexGuard<'_, Port> {
        self.port.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Port {
    fn drive_line(&self) {
        self.line.set(self.registers.interrupts());
    }
}

impl Sink {
    /// Passes bytes on. A sink that fails loses them, which the log says once per failure: the guest must live.
    fn transmit(&mut self, bytes: &[u8]) {
        match self.output.write_all(bytes).and_then(|()| self.output.flush()) {
            Ok(()) => self.failed = false,
            Err(error) if !self.failed => {
                self.failed = true;
                tracing::warn!("serial output is lost: {error}");
            }
            Err(_) => {}
        }
    }
}

impl BusDevice for Uart16550 {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let mut port = self.shared.port();
        let room = port.registers.room();
        super::read_bytes(offset, data, |offset| port.registers.read(offset));
        port.drive_line();
        if port.registers.room() > room {
            self.shared.room.notify_all();
        }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        let mut transmitted = [0; 8];
        let mut count = 0;
        let mut port = self.shared.port();
        super::write_bytes(offset, data, |offset, value| {
            if let Some(byte) = port.registers.write(offset, value)
                && let Some(slot) = transmitted.get_mut(count)
            {
                *slot = byte;
                count += 1;
            }
        });
        port.drive_line();
        drop(port);
        // The receiver may have been emptied or connected.
        self.shared.room.notify_all();
        if let Some(bytes) = transmitted.get(..count).filter(|bytes| !bytes.is_empty()) {
            self.sink.lock().unwrap_or_else(PoisonError::into_inner).transmit(bytes);
        }
    }
}

impl Device for Uart16550 {
    fn name(&self) -> &str {
        "uart16550"
    }

    /// Input that the guest has not yet received still waits for the next one.
    fn reset(&self) {
        let mut port = self.shared.port();
        port.registers.reset();
        port.drive_line();
    }
}

impl fmt::Debug for Uart16550 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Uart16550")
    }
}

impl fmt::Debug for UartInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UartInput")
    }
}

#[cfg(test)]
mod tests;
