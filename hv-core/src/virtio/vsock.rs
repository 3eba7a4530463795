//! The virtio socket device (VIRTIO 1.2, 5.10): stream sockets between the guest and the host, without a network.
//!
//! Every connection has a host end, one end of a Unix socket: in this process ([`VsockHandle::connect`],
//! [`VsockHandle::listen`]) or another's ([`VsockHandle::serve`]). Nothing is dropped: who does not read holds up who
//! writes, by credit towards the guest and by a full socket towards the host.

mod clients;
mod connection;
mod connections;
mod credit;
mod packet;
mod receive;
#[cfg(test)]
mod tests;
mod worker;

use std::{
    collections::{HashMap, VecDeque},
    fmt, io, mem,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Context;

pub use self::connections::MAX_CONNECTIONS;
use self::worker::Worker;
use super::{Activation, Kind, QueueWorker, VirtioDevice};
use crate::io::Bell;

/// `VIRTIO_VSOCK_F_STREAM`.
const F_STREAM: u32 = 0;

/// Sizes of the queues: rx, tx, event.
const QUEUE_SIZES: [u16; 3] = [128, 128, 16];

/// The most connections that may wait for the guest's driver.
const MAX_WAITING: usize = 128;

/// Takes the host end of a connection that the guest made. Called on the device's thread, so it must not block; it
/// may call the handle. To refuse, it drops the stream.
pub type Accept = Box<dyn FnMut(UnixStream) + Send>;

/// A virtio socket device.
pub struct Vsock {
    name: String,
    cid: u32,
    /// The most connections.
    most: usize,
    shared: Arc<Shared>,
}

/// The host's hand on a socket device, for as long as it likes; all clones are the same.
///
/// When the device or the machine is reset all connections end, and their host ends read the end. What listens, and
/// what waits for a driver, stays for the next one.
#[derive(Clone)]
pub struct VsockHandle(Arc<Shared>);

/// What the device, its worker and its handles share. The lock is held for a moment only, and never over a call of
/// anybody's code.
#[derive(Default)]
struct Shared(Mutex<State>);

#[derive(Default)]
struct State {
    orders: Orders,
    /// Who takes connections of the guest, by port of the host.
    listeners: HashMap<u32, Arc<Mutex<Accept>>>,
    /// All sockets that other processes may use.
    served: Vec<Arc<Served>>,
    /// Wakes the worker, while there is one.
    bell: Option<Bell>,
}

/// What handles want of the worker.
#[derive(Default)]
struct Orders {
    /// Connections to make: ports of the guest, and our ends.
    connect: VecDeque<(u32, UnixStream)>,
    /// All connections are to end.
    interrupt: bool,
}

/// A socket that other processes may use.
struct Served {
    listener: UnixListener,
    /// Where it is; the guest's port n of the host is at `PATH_n`.
    path: Option<PathBuf>,
}

impl Vsock {
    /// A device whose guest has this CID: 3 or more, and not `u32::MAX` (5.10.4).
    pub fn new(name: impl Into<String>, cid: u32) -> (Self, VsockHandle) {
        let shared = Arc::new(Shared::default());
        let handle = VsockHandle(Arc::clone(&shared));
        (Self { name: name.into(), cid, most: MAX_CONNECTIONS, shared }, handle)
    }
}

impl VsockHandle {
    /// A connection to `port` of the guest, which may be used at once: what is written waits for the guest to accept,
    /// and if it refuses the stream reads the end. The stream blocks unless it is told not to.
    ///
    /// Without a driver in the guest the connection waits for one.
    ///
    /// # Errors
    /// The host is out of descriptors, or too many connections wait for a driver (`WouldBlock`).
    pub fn connect(&self, port: u32) -> io::Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut state = self.0.state();
        if state.orders.connect.len() >= MAX_WAITING {
            let reason = format!("{MAX_WAITING} connections wait for the guest's socket driver");
            return Err(io::Error::new(io::ErrorKind::WouldBlock, reason));
        }
        state.orders.connect.push_back((port, ours));
        drop(state);
        self.0.ring();
        Ok(theirs)
    }

    /// Has `accept` called for each connection of the guest to `port` of the host, instead of what was for that port
    /// before.
    pub fn listen(&self, port: u32, accept: Accept) {
        self.0.state().listeners.insert(port, Arc::new(Mutex::new(accept)));
    }

    /// Lets other processes use the socket, as Firecracker and Cloud Hypervisor do: who connects to `listener` and
    /// writes `CONNECT PORT` in a line reads `OK HOST_PORT` in a line once the guest accepts, and the end if it
    /// refuses; then all is for the guest. And a connection of the guest to a port n of the host for which nothing
    /// [listens](Self::listen) goes to the Unix socket `PATH_n`, if `listener` is bound to `PATH`.
    ///
    /// Without a driver in the guest, processes wait in the listener's backlog.
    ///
    /// # Errors
    /// The listener cannot be made non-blocking.
    pub fn serve(&self, listener: UnixListener) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        let path = listener.local_addr()?.as_pathname().map(Path::to_path_buf);
        self.0.state().served.push(Arc::new(Served { listener, path }));
        self.0.ring();
        Ok(())
    }

    /// Ends all connections and tells the driver, by a transport reset event (5.10.6.7): the guest goes on elsewhere
    /// or at another time than the host ends of its connections.
    pub fn interrupt(&self) {
        self.0.state().orders.interrupt = true;
        self.0.ring();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the worker, if there is one; else it looks when it starts.
    fn ring(&self) {
        let bell = self.state().bell.clone();
        if let Some(bell) = bell {
            bell.ring();
        }
    }

    fn take_orders(&self) -> Orders {
        mem::take(&mut self.state().orders)
    }

    fn set_bell(&self, bell: Option<Bell>) {
        self.state().bell = bell;
    }

    /// Those of the served sockets that come after the first `known`.
    fn served_since(&self, known: usize) -> Vec<Arc<Served>> {
        self.state().served.get(known..).unwrap_or_default().to_vec()
    }

    /// The host end for a connection of the guest to `port`, if anybody takes it.
    fn reach(&self, port: u32) -> io::Result<UnixStream> {
        let state = self.state();
        if let Some(accept) = state.listeners.get(&port).cloned() {
            drop(state);
            let (ours, theirs) = UnixStream::pair()?;
            ours.set_nonblocking(true)?;
            let mut accept = accept.lock().unwrap_or_else(PoisonError::into_inner);
            accept(theirs);
            return Ok(ours);
        }
        let paths: Vec<_> = state.served.iter().filter_map(|served| served.path.clone()).collect();
        drop(state);
        let mut result = Err(io::ErrorKind::ConnectionRefused.into());
        for path in paths {
            let mut path = path.into_os_string();
            path.push(format!("_{port}"));
            // Does not wait for a process with a full backlog.
            result = mio::net::UnixStream::connect(path).map(UnixStream::from);
            if result.is_ok() {
                break;
            }
        }
        result
    }
}

impl VirtioDevice for Vsock {
    fn kind(&self) -> Kind {
        Kind::Vsock
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn features(&self) -> u64 {
        1 << F_STREAM
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    /// The guest's CID (5.10.4).
    fn read_config(&self, offset: usize, data: &mut [u8]) {
        for (to, from) in data.iter_mut().zip(u64::from(self.cid).to_le_bytes().into_iter().skip(offset)) {
            *to = from;
        }
    }

    fn activate(&mut self, with: Activation) -> anyhow::Result<Vec<Box<dyn QueueWorker>>> {
        let mut queues = with.queues.into_iter();
        let mut next = || queues.next().flatten();
        let receive = next().context("the driver enabled no virtqueue for packets to it")?;
        let transmit = next().context("the driver enabled no virtqueue for packets of it")?;
        let shared = Arc::clone(&self.shared);
        let worker = Worker::new(self.cid.into(), self.most, shared, [receive, transmit], next());
        Ok(vec![Box::new(worker.context("cannot watch sockets")?)])
    }

    fn reset(&mut self) {
        self.shared.set_bell(None);
    }
}

impl fmt::Debug for Vsock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vsock({}, CID {})", self.name, self.cid)
    }
}

impl fmt::Debug for VsockHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.state();
        let (ports, sockets) = (state.listeners.len(), state.served.len());
        write!(f, "VsockHandle({ports} ports and {sockets} sockets listen)")
    }
}
