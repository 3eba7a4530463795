//! What every UART has beside its registers: a sink for what the guest transmits, and the line its input arrives on.

use std::{
    collections::VecDeque,
    fmt,
    io::Write,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::irq::IrqLine;

/// Bytes that may wait for the guest's receiver.
pub const INPUT_LIMIT: usize = 4096;

/// The other end of the guest's receive line, for any thread.
#[derive(Clone)]
pub struct UartInput(Arc<dyn Receiver>);

impl UartInput {
    /// Sends as many of `bytes` as there is room for and says how many that were; it never waits.
    pub fn send(&self, bytes: &[u8]) -> usize {
        self.0.send(bytes)
    }

    /// Waits until there is room for a byte, or `timeout` is over; says whether there is.
    pub fn wait_for_room(&self, timeout: Duration) -> bool {
        self.0.wait_for_room(timeout)
    }
}

impl fmt::Debug for UartInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UartInput")
    }
}

/// The registers of one kind of UART, without locks and lines.
pub(super) trait UartRegisters: Send + 'static {
    /// What waits for the receiver.
    fn arriving(&mut self) -> &mut Arriving;
    /// Moves what waits into the receiver, as far as it has room and listens.
    fn receive(&mut self);
    /// Whether the interrupt output is high.
    fn interrupts(&self) -> bool;
}

/// Bytes that the other end sent and the guest has not yet received: [`INPUT_LIMIT`] at most.
#[derive(Default)]
pub(super) struct Arriving(VecDeque<u8>);

impl Arriving {
    fn room(&self) -> usize {
        INPUT_LIMIT.saturating_sub(self.0.len())
    }

    fn push(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.room());
        self.0.extend(bytes.iter().take(taken));
        taken
    }

    /// Takes the next bytes, `most` of them at most.
    pub(super) fn take(&mut self, most: usize) -> impl ExactSizeIterator<Item = u8> + '_ {
        self.0.drain(..most.min(self.0.len()))
    }
}

/// A UART around its registers.
pub(super) struct Uart<R> {
    port: Arc<Port<R>>,
    /// Apart from the registers, so that a slow sink holds up the guest's output but not its input.
    sink: Mutex<Sink>,
}

struct Port<R> {
    state: Mutex<State<R>>,
    room: Condvar,
}

struct State<R> {
    registers: R,
    line: IrqLine,
}

struct Sink {
    output: Box<dyn Write + Send>,
    failed: bool,
}

impl<R: UartRegisters> Uart<R> {
    /// A UART that transmits to `sink` and interrupts by `line`.
    pub(super) fn new(registers: R, line: IrqLine, sink: Box<dyn Write + Send>) -> Self {
        let port = Port { state: Mutex::new(State { registers, line }), room: Condvar::new() };
        Self { port: Arc::new(port), sink: Mutex::new(Sink { output: sink, failed: false }) }
    }

    /// The handle by which the guest's input arrives.
    pub(super) fn input(&self) -> UartInput {
        UartInput(Arc::clone(&self.port) as Arc<dyn Receiver>)
    }

    /// One access to the registers. The interrupt line follows it, and senders hear of room it made.
    pub(super) fn access<T>(&self, access: impl FnOnce(&mut R) -> T) -> T {
        let mut state = self.port.state();
        let before = state.registers.arriving().room();
        let answer = access(&mut state.registers);
        state.registers.receive();
        state.drive_line();
        if state.registers.arriving().room() > before {
            self.port.room.notify_all();
        }
        answer
    }

    /// Passes bytes on before it returns.
    pub(super) fn transmit(&self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.sink.lock().unwrap_or_else(PoisonError::into_inner).transmit(bytes);
        }
    }
}

impl<R: UartRegisters> Port<R> {
    fn state(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R: UartRegisters> State<R> {
    fn drive_line(&self) {
        self.line.set(self.registers.interrupts());
    }
}

/// What a [`UartInput`] sends to, whatever the kind of UART.
trait Receiver: Send + Sync {
    fn send(&self, bytes: &[u8]) -> usize;
    fn wait_for_room(&self, timeout: Duration) -> bool;
}

impl<R: UartRegisters> Receiver for Port<R> {
    fn send(&self, bytes: &[u8]) -> usize {
        let mut state = self.state();
        let sent = state.registers.arriving().push(bytes);
        state.registers.receive();
        state.drive_line();
        sent
    }

    fn wait_for_room(&self, timeout: Duration) -> bool {
        let full = |state: &mut State<R>| state.registers.arriving().room() == 0;
        let waited = self.room.wait_timeout_while(self.state(), timeout, full);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.registers.arriving().room() != 0
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
