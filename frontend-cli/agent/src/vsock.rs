//! Sockets of `AF_VSOCK`. A connected one is handled as a `UnixStream`, which is any stream socket.
#![expect(unsafe_code, reason = "rustix has no address type for AF_VSOCK")]

use std::{io, mem::size_of, os::fd::OwnedFd, os::unix::net::UnixStream, ptr::from_ref};

use rustix::net::{
    AddressFamily, SocketFlags, SocketType, acceptfrom_with,
    addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque},
    bind, connect, listen, socket_with,
};

/// Any context identifier of this machine.
const CID_ANY: u32 = u32::MAX;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// `struct sockaddr_vm` (`linux/vm_sockets.h`).
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Address {
    family: u16,
    reserved: u16,
    port: u32,
    cid: u32,
    flags: u8,
    zero: [u8; 3],
}

const _: () = assert!(size_of::<Address>() == 16 && Address::LENGTH == 16);

impl Address {
    const LENGTH: SocketAddrLen = 16;

    fn new(cid: u32, port: u32) -> Self {
        Self { family: AddressFamily::VSOCK.as_raw(), reserved: 0, port, cid, flags: 0, zero: [0; 3] }
    }
}

// SAFETY: the pointer is to a whole `sockaddr_vm` that lives during the call, and the length is its size.
unsafe impl SocketAddrArg for Address {
    unsafe fn with_sockaddr<R>(&self, call: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R) -> R {
        call(from_ref(self).cast(), Self::LENGTH)
    }
}

fn socket() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::VSOCK, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
}

/// Connects to `port` of the machine `cid`.
pub(crate) fn connect_to(cid: u32, port: u32) -> io::Result<UnixStream> {
    let socket = socket()?;
    connect(&socket, &Address::new(cid, port))?;
    Ok(socket.into())
}

/// Accepts connections to a port of this machine.
#[derive(Debug)]
pub(crate) struct Listener(OwnedFd);

impl Listener {
    pub(crate) fn bind(port: u32) -> io::Result<Self> {
        let socket = socket()?;
        bind(&socket, &Address::new(CID_ANY, port))?;
        listen(&socket, BACKLOG)?;
        Ok(Self(socket))
    }

    /// Waits for a connection, and says from which machine it comes.
    pub(crate) fn accept(&self) -> io::Result<(UnixStream, u32)> {
        let (socket, peer) = acceptfrom_with(&self.0, SocketFlags::CLOEXEC)?;
        let peer = peer.ok_or(io::ErrorKind::NotConnected)?;
        let whole = usize::try_from(peer.addr_len()).is_ok_and(|length| length >= size_of::<Address>());
        if peer.address_family() != AddressFamily::VSOCK || !whole {
            return Err(io::ErrorKind::Unsupported.into());
        }
        // SAFETY: the kernel wrote a whole `sockaddr_vm` there, as family and length say; all bytes are valid in one.
        let address = unsafe { peer.as_ptr().cast::<Address>().read_unaligned() };
        Ok((socket.into(), address.cid))
    }
}
