//! `Framework`: an interface of vmnet.framework, by its C calls (`vmnet/vmnet.h`, `xpc/xpc.h`, `dispatch/queue.h`).
#![expect(
    unsafe_code,
    reason = "vmnet.framework is C functions, blocks and objects that are counted by hand"
)]

use std::{
    ffi::{c_char, c_int, c_ulong, c_void},
    mem,
    ptr::{self, NonNull},
    sync::Arc,
    time::Duration,
};

use hv_core::{
    memory::{GuestBuffer, Segment},
    net::{MAX_FRAME, MAX_PLAIN_FRAME},
};
use vm_memory::GuestMemoryBackend;

use super::{
    Mode,
    cable::Interface,
    events::{Events, Started},
    status::Status,
};
use crate::{NetError, ethernet};

/// How long a start may take: the first one starts a service of macOS's.
const START: Duration = Duration::from_secs(30);
/// How long a stop may take.
const STOP: Duration = Duration::from_secs(5);
/// Frames that wait in an interface, at most that many of which are thrown away at a start.
const MOST_WAITING: usize = 4096;

/// `operating_modes_t`.
const VMNET_HOST_MODE: u64 = 1000;
const VMNET_SHARED_MODE: u64 = 1001;
/// `interface_event_t`.
const VMNET_INTERFACE_PACKETS_AVAILABLE: u32 = 1;

/// `struct vmpktdesc`.
#[repr(C)]
struct Packet {
    size: usize,
    pieces: *mut libc::iovec,
    count: u32,
    flags: u32,
}

/// A block of the C language with one captured pointer (the ABI of blocks, "Block Implementation Specification").
#[repr(C)]
struct Block {
    isa: *const c_void,
    flags: c_int,
    reserved: c_int,
    invoke: *const c_void,
    descriptor: *const Descriptor,
    /// An `Arc<Events>` that somebody else owns.
    events: *const c_void,
}

/// What a copy of a block needs: it is its bytes alone, as `flags` says by being 0.
#[repr(C)]
struct Descriptor {
    reserved: c_ulong,
    size: c_ulong,
}

static DESCRIPTOR: Descriptor = Descriptor { reserved: 0, size: size_of::<Block>() as c_ulong };

unsafe extern "C" {
    static _NSConcreteStackBlock: [*const c_void; 32];
    fn dispatch_queue_create(label: *const c_char, attributes: *const c_void) -> *mut c_void;
    fn dispatch_release(object: *mut c_void);
    fn xpc_dictionary_create(
        keys: *const *const c_char,
        values: *const *mut c_void,
        count: usize,
    ) -> *mut c_void;
    fn xpc_dictionary_set_uint64(dictionary: *mut c_void, key: *const c_char, value: u64);
    fn xpc_dictionary_set_bool(dictionary: *mut c_void, key: *const c_char, value: bool);
    fn xpc_dictionary_get_uint64(dictionary: *mut c_void, key: *const c_char) -> u64;
    fn xpc_release(object: *mut c_void);
}

#[link(name = "vmnet", kind = "framework")]
unsafe extern "C" {
    static vmnet_operation_mode_key: *const c_char;
    static vmnet_allocate_mac_address_key: *const c_char;
    static vmnet_max_packet_size_key: *const c_char;
    fn vmnet_start_interface(
        description: *mut c_void,
        queue: *mut c_void,
        handler: *const Block,
    ) -> *mut c_void;
    fn vmnet_interface_set_event_callback(
        interface: *mut c_void,
        mask: u32,
        queue: *mut c_void,
        handler: *const Block,
    ) -> u32;
    fn vmnet_read(interface: *mut c_void, packets: *mut Packet, count: *mut c_int) -> u32;
    fn vmnet_write(interface: *mut c_void, packets: *mut Packet, count: *mut c_int) -> u32;
    fn vmnet_stop_interface(interface: *mut c_void, queue: *mut c_void, handler: *const Block) -> u32;
}

/// The events behind `block`, owned: who waits for the end of a call may give up its own before the handler returns.
///
/// # Safety
/// `block` is one of [`Block::new`] or a copy, and its events are still owned by somebody.
unsafe fn events_of(block: *const Block) -> Arc<Events> {
    // SAFETY: as above; `Framework` gives its events up only after the last handler was called. The pointer is of an
    // `Arc`, and the count that is added belongs to what is made of it.
    unsafe {
        let events: *const Events = (*block).events.cast();
        Arc::increment_strong_count(events);
        Arc::from_raw(events)
    }
}

/// The handler of `vmnet_start_interface`.
unsafe extern "C" fn started(block: *const Block, status: u32, parameters: *mut c_void) {
    let longest = match NonNull::new(parameters) {
        // SAFETY: the handler's second argument is a dictionary or null, and the key a constant of the framework.
        Some(parameters) => unsafe {
            xpc_dictionary_get_uint64(parameters.as_ptr(), vmnet_max_packet_size_key)
        },
        None => 0,
    };
    // SAFETY: a block is called with itself as its first argument.
    unsafe { events_of(block) }.started(Started { status: Status(status), longest });
}

/// The handler of `vmnet_interface_set_event_callback`.
unsafe extern "C" fn frames(block: *const Block, _events: u32, _parameters: *mut c_void) {
    // SAFETY: as in `started`.
    unsafe { events_of(block) }.frames();
}

/// The handler of `vmnet_stop_interface`.
unsafe extern "C" fn stopped(block: *const Block, _status: u32) {
    // SAFETY: as in `started`.
    unsafe { events_of(block) }.stopped();
}

impl Block {
    /// A block that calls `invoke`; what takes it makes a copy if it keeps it.
    fn new(invoke: *const c_void, events: &Arc<Events>) -> Self {
        let isa = (&raw const _NSConcreteStackBlock).cast();
        Self {
            isa,
            flags: 0,
            reserved: 0,
            invoke,
            descriptor: &raw const DESCRIPTOR,
            events: Arc::as_ptr(events).cast(),
        }
    }
}

/// A started interface.
#[derive(Debug)]
pub(super) struct Framework {
    interface: NonNull<c_void>,
    /// A serial queue: after the handler of the stop it calls no other.
    queue: NonNull<c_void>,
    events: Arc<Events>,
    longest: usize,
    /// For frames in several pieces: vmnet refuses those, as others saw.
    frame: Vec<u8>,
}

// SAFETY: the calls of vmnet and of dispatch queues may be made on any thread, and here they are by one at a time.
unsafe impl Send for Framework {}

impl Framework {
    pub(super) fn start(mode: Mode) -> Result<Self, NetError> {
        let fail = || NetError::Vmnet { reason: "it does not answer", status: 0 };
        let events = Arc::new(Events::default());
        // SAFETY: the label is a C string that the queue copies; null attributes make a serial queue.
        let queue = unsafe { dispatch_queue_create(c"hv.vmnet".as_ptr(), ptr::null()) };
        let queue = NonNull::new(queue).ok_or_else(fail)?;
        let handler = Block::new(started as *const c_void, &events);
        let mode = match mode {
            Mode::Shared => VMNET_SHARED_MODE,
            Mode::Host => VMNET_HOST_MODE,
        };
        // The guest's card has an address of its own.
        // SAFETY: the dictionary is ours until its release, its keys are constants of the framework, and the call keeps what
        // it needs of it. `handler` has `events`, which are given up below only after it was called.
        let interface = unsafe {
            let description = xpc_dictionary_create(ptr::null(), ptr::null(), 0);
            xpc_dictionary_set_uint64(description, vmnet_operation_mode_key, mode);
            xpc_dictionary_set_bool(description, vmnet_allocate_mac_address_key, false);
            let interface = vmnet_start_interface(description, queue.as_ptr(), &raw const handler);
            xpc_release(description);
            interface
        };
        let Some(interface) = NonNull::new(interface) else {
            // Whether its handler will be called is not said: queue and events are left to it.
            mem::forget(events);
            return Err(Status::NOT_AUTHORIZED.refusal(false));
        };
        let Ok(started) = events.wait_for_start(START) else {
            mem::forget(events);
            return Err(fail());
        };
        if let Err(status) = started.status.check() {
            // SAFETY: the queue is ours, and its last handler was called.
            unsafe { dispatch_release(queue.as_ptr()) };
            return Err(status.refusal(rustix::process::geteuid().is_root()));
        }
        let longest = usize::try_from(started.longest).unwrap_or(usize::MAX);
        let longest = if longest == 0 { MAX_PLAIN_FRAME } else { longest.clamp(ethernet::HEADER, MAX_FRAME) };
        let framework = Self { interface, queue, events, longest, frame: vec![0; longest] };
        let handler = Block::new(frames as *const c_void, &framework.events);
        // SAFETY: interface and queue are there until the drop, and so are the events behind the handler.
        let status = unsafe {
            vmnet_interface_set_event_callback(
                framework.interface.as_ptr(),
                VMNET_INTERFACE_PACKETS_AVAILABLE,
                framework.queue.as_ptr(),
                &raw const handler,
            )
        };
        let is_root = rustix::process::geteuid().is_root();
        Status(status).check().map_err(|status| status.refusal(is_root))?;
        Ok(framework)
    }

    /// Reads a frame into `piece`, which is as long as the longest; nothing if there is none.
    fn read_piece(&self, mut piece: libc::iovec) -> Result<Option<usize>, Status> {
        let mut packet = Packet { size: piece.iov_len, pieces: &raw mut piece, count: 1, flags: 0 };
        let mut count = 1;
        // SAFETY: the interface is started. The framework fills at most the `iov_len` bytes of the one piece, which
        // the callers keep valid, and writes length and count back.
        let status = unsafe { vmnet_read(self.interface.as_ptr(), &raw mut packet, &raw mut count) };
        Status(status).check()?;
        Ok((count > 0).then_some(packet.size))
    }

    /// The bytes of this interface's own frame.
    fn own_piece(&mut self, len: usize) -> libc::iovec {
        libc::iovec { iov_base: self.frame.as_mut_ptr().cast(), iov_len: len.min(self.frame.len()) }
    }
}

/// The first `len` bytes of `buffer`, if they lie in one piece.
fn piece_of(buffer: GuestBuffer<'_>, len: usize) -> Option<libc::iovec> {
    let &Segment { address, len: room } = buffer.segments.first()?;
    if (room as usize) < len {
        return None;
    }
    let slice = buffer.ram.get_slice(address, len).ok()?;
    Some(libc::iovec { iov_base: slice.ptr_guard_mut().as_ptr().cast(), iov_len: len })
}

impl Interface for Framework {
    fn longest(&self) -> usize {
        self.longest
    }

    fn wake(&self, waker: Option<mio::Waker>) {
        self.events.wake(waker);
    }

    fn discard(&mut self) {
        for _ in 0..MOST_WAITING {
            let piece = self.own_piece(self.longest);
            if !matches!(self.read_piece(piece), Ok(Some(_))) {
                return;
            }
        }
    }

    fn read(&mut self, buffer: GuestBuffer<'_>) -> Result<Option<usize>, Status> {
        // Guest RAM stays mapped while `buffer` is borrowed, and no reference to it exists.
        if let Some(piece) = piece_of(buffer, self.longest) {
            return self.read_piece(piece);
        }
        let piece = self.own_piece(self.longest);
        let Some(len) = self.read_piece(piece)? else { return Ok(None) };
        // Of a length that cannot be, nothing is given; who called drops it.
        let Some(frame) = self.frame.get(..len) else { return Ok(Some(len)) };
        match buffer.copy_from(frame) {
            Ok(copied) => Ok(Some(copied)),
            Err(_) => Ok(Some(0)),
        }
    }

    fn write(&mut self, frame: GuestBuffer<'_>) -> Result<bool, Status> {
        let len = usize::try_from(frame.len()).unwrap_or(usize::MAX);
        let mut piece = match piece_of(frame, len) {
            Some(piece) => piece,
            None => match frame.copy_to(&mut self.frame) {
                Ok(copied) => self.own_piece(copied),
                Err(_) => return Err(Status::INVALID_ARGUMENT),
            },
        };
        let mut packet = Packet { size: piece.iov_len, pieces: &raw mut piece, count: 1, flags: 0 };
        let mut count = 1;
        // SAFETY: the interface is started. The framework reads the one piece: guest RAM that the caller's borrow
        // keeps mapped and that no reference is to, or our own frame, which outlives the call.
        let status = unsafe { vmnet_write(self.interface.as_ptr(), &raw mut packet, &raw mut count) };
        Status(status).check()?;
        Ok(count > 0)
    }
}

impl Drop for Framework {
    fn drop(&mut self) {
        self.events.wake(None);
        let handler = Block::new(stopped as *const c_void, &self.events);
        // SAFETY: the interface is started, and stopped once; the events behind the handler are kept until it was called.
        let status =
            unsafe { vmnet_stop_interface(self.interface.as_ptr(), self.queue.as_ptr(), &raw const handler) };
        if Status(status) == Status::SUCCESS && self.events.wait_for_stop(STOP) {
            // SAFETY: the queue is ours, and its last handler was called.
            unsafe { dispatch_release(self.queue.as_ptr()) };
        } else {
            // A handler may still be called: what it uses stays, as the process is about to end anyway.
            mem::forget(Arc::clone(&self.events));
        }
    }
}
