//! The controls of `/dev/net/tun` and of network interfaces (`linux/if_tun.h`, `netdevice(7)`), made safe.
#![expect(unsafe_code, reason = "ioctl takes numbers and pointers that only its documentation ties together")]

use std::{ffi::c_int, io, os::fd::AsFd};

use rustix::ioctl::{self, IntegerSetter, Opcode, Setter, Updater, opcode};

const TUNSETIFF: Opcode = opcode::write::<c_int>(b'T', 202);
const TUNSETOFFLOAD: Opcode = opcode::write::<c_int>(b'T', 208);
const TUNSETVNETHDRSZ: Opcode = opcode::write::<c_int>(b'T', 216);
const TUNSETQUEUE: Opcode = opcode::write::<c_int>(b'T', 217);
const SIOCGIFMTU: Opcode = 0x8921;

/// `struct ifreq`: an interface's name, and a value that depends on the call.
#[repr(C)]
struct Request {
    name: [u8; 16],
    value: [u8; 24],
}

impl Request {
    /// `name` has at most 15 bytes.
    fn new(name: &str) -> io::Result<Self> {
        let mut request = Self { name: [0; 16], value: [0; 24] };
        let to = request.name[..15].get_mut(..name.len()).ok_or(io::ErrorKind::InvalidInput)?;
        to.copy_from_slice(name.as_bytes());
        Ok(request)
    }
}

/// Ties `tun`, an open `/dev/net/tun`, to the interface `name`.
pub(super) fn attach(tun: impl AsFd, name: &str, flags: u16) -> io::Result<()> {
    let mut request = Request::new(name)?;
    request.value[..2].copy_from_slice(&flags.to_ne_bytes());
    // SAFETY: the kernel reads a `struct ifreq` (40 bytes on 64-bit hosts, which `Request` is) and writes one back.
    Ok(unsafe { ioctl::ioctl(tun, Updater::<TUNSETIFF, Request>::new(&mut request)) }?)
}

/// Has the interface that `tun` is tied to use this queue or not, by `flags`.
pub(super) fn set_queue(tun: impl AsFd, flags: u16) -> io::Result<()> {
    let mut request = Request::new("")?;
    request.value[..2].copy_from_slice(&flags.to_ne_bytes());
    // SAFETY: the kernel reads a `struct ifreq` (40 bytes on 64-bit hosts, which `Request` is).
    Ok(unsafe { ioctl::ioctl(tun, Updater::<TUNSETQUEUE, Request>::new(&mut request)) }?)
}

/// Has each frame stand behind a header of `size` bytes.
pub(super) fn set_header_size(tun: impl AsFd, size: c_int) -> io::Result<()> {
    // SAFETY: the kernel reads an `int` behind the pointer.
    Ok(unsafe { ioctl::ioctl(tun, Setter::<TUNSETVNETHDRSZ, c_int>::new(size)) }?)
}

/// Says which work on frames its reader does (`TUN_F_*`).
pub(super) fn set_offloads(tun: impl AsFd, offloads: usize) -> io::Result<()> {
    // SAFETY: the argument is the number itself; no memory is touched.
    Ok(unsafe { ioctl::ioctl(tun, IntegerSetter::<TUNSETOFFLOAD>::new_usize(offloads)) }?)
}

/// The MTU of the interface `name`, in bytes; `socket` is any.
pub(super) fn mtu(socket: impl AsFd, name: &str) -> io::Result<usize> {
    let mut request = Request::new(name)?;
    // SAFETY: the kernel reads a `struct ifreq` (40 bytes on 64-bit hosts, which `Request` is) and writes one back.
    unsafe { ioctl::ioctl(socket, Updater::<SIOCGIFMTU, Request>::new(&mut request)) }?;
    let [a, b, c, d, ..] = request.value;
    usize::try_from(i32::from_ne_bytes([a, b, c, d])).map_err(io::Error::other)
}
