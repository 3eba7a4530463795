//! One port of a console: two queues on the guest's side, a sink and an input on the host's.

use std::sync::{Arc, Mutex, PoisonError};

use super::{HostPort, MAX_NAME};
use crate::{
    chardev::{CharSink, Full, Input, Wake},
    io::EventLoop,
    virtio::{Chain, QueueError, Virtqueue},
};

/// The largest piece of output that is handed on at once, and of input.
const PIECE: u32 = 16 << 10;

/// Output of one port in one turn: a reset waits for no more, however long the guest's buffers are.
const TURN_BYTES: u32 = 1 << 20;

/// The host's end, which outlives the guest's drivers.
pub(super) struct Host {
    pub(super) name: String,
    sink: Mutex<Box<dyn CharSink>>,
    input: Input,
}

/// Both ends, while a driver is there.
pub(super) struct Port {
    host: Arc<Host>,
    /// For input.
    receive: Option<Virtqueue>,
    /// For output.
    transmit: Option<Virtqueue>,
    unsent: Option<Unsent>,
    piece: Vec<u8>,
}

/// Output that the sink took only in part yet.
struct Unsent {
    chain: Chain,
    /// Bytes taken.
    offset: u32,
}

/// Why a turn of output ended.
enum Turn {
    /// There is no more.
    Done,
    /// The sink is full; it will wake us.
    Full,
    /// It was long enough.
    Over,
}

impl Host {
    pub(super) fn new(port: HostPort) -> Self {
        let HostPort { mut name, sink, input } = port;
        name.truncate(name.floor_char_boundary(MAX_NAME));
        Self { name, sink: Mutex::new(sink), input }
    }

    fn write(&self, bytes: &[u8]) -> Result<(), Full> {
        self.sink.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    /// From now on calls `wake` when there is room or input.
    pub(super) fn wake_with(&self, wake: Wake) {
        self.sink.lock().unwrap_or_else(PoisonError::into_inner).on_room(Arc::clone(&wake));
        self.input.on_input(wake);
    }
}

impl Port {
    pub(super) fn new(host: Arc<Host>, receive: Option<Virtqueue>, transmit: Option<Virtqueue>) -> Self {
        Self { host, receive, transmit, unsent: None, piece: Vec::new() }
    }

    /// Hands the guest's output on.
    pub(super) fn send(&mut self, event_loop: &EventLoop) -> Result<(), QueueError> {
        let Self { host, transmit: Some(queue), unsent, piece, .. } = self else { return Ok(()) };
        queue.disable_doorbell()?;
        let turn = send_turn(host, queue, unsent, piece)?;
        queue.signal()?;
        let more = match turn {
            Turn::Full => false,
            Turn::Over => true,
            Turn::Done => queue.enable_doorbell()?,
        };
        if more {
            ring(event_loop, queue);
        }
        Ok(())
    }

    /// Gives the guest the host's input, as far as it has buffers. Doorbells are of use only when it has none.
    pub(super) fn receive(&mut self, event_loop: &EventLoop) -> Result<(), QueueError> {
        let Self { host, receive: Some(queue), piece, .. } = self else { return Ok(()) };
        queue.disable_doorbell()?;
        let mut more = false;
        for _ in 0..queue.size() {
            more = !host.input.is_empty();
            if !more {
                break;
            }
            let Some(chain) = queue.pop()? else {
                more = queue.enable_doorbell()?;
                break;
            };
            piece.resize(PIECE.min(chain.writable_len()) as usize, 0);
            let count = host.input.read(piece);
            let written = chain.write_at(queue.ram(), 0, piece.get(..count).unwrap_or_default());
            // At most PIECE.
            queue.push(chain.head(), u32::try_from(written).unwrap_or(PIECE))?;
            queue.recycle(chain);
        }
        queue.signal()?;
        if more {
            ring(event_loop, queue);
        }
        Ok(())
    }
}

fn send_turn(
    host: &Host,
    queue: &mut Virtqueue,
    unsent: &mut Option<Unsent>,
    piece: &mut Vec<u8>,
) -> Result<Turn, QueueError> {
    let mut bytes_left = TURN_BYTES;
    for _ in 0..queue.size() {
        let mut current = match unsent.take() {
            Some(current) => current,
            None => match queue.pop()? {
                Some(chain) => Unsent { chain, offset: 0 },
                None => return Ok(Turn::Done),
            },
        };
        while current.offset < current.chain.readable_len() {
            let len = PIECE.min(current.chain.readable_len() - current.offset);
            if bytes_left < len {
                *unsent = Some(current);
                return Ok(Turn::Over);
            }
            piece.resize(len as usize, 0);
            current.chain.read_at(queue.ram(), current.offset, piece);
            if host.write(piece).is_err() {
                *unsent = Some(current);
                return Ok(Turn::Full);
            }
            current.offset += len;
            bytes_left -= len;
        }
        queue.push(current.chain.head(), 0)?;
        queue.recycle(current.chain);
    }
    Ok(Turn::Over)
}

/// Has `queue` looked at again.
pub(super) fn ring(event_loop: &EventLoop, queue: &Virtqueue) {
    if let Ok(source) = u8::try_from(queue.index()) {
        event_loop.bell(source).ring();
    }
}
