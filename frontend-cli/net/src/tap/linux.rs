//! `Tap`: frames between guest RAM and a tap's queue, each in one system call, with their headers.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    sync::Arc,
};

use hv_core::{
    memory::{GuestBuffer, volatile_io},
    net::{FRAME_HEADER_SIZE, FrameHeader, MAX_FRAME, MAX_PLAIN_FRAME, NetBackend, Offloads, Received},
};
use rustix::{
    fs::OFlags,
    io::Errno,
    net::{AddressFamily, SocketType, netdevice, socket},
};

use super::control;
use crate::{
    NetError,
    readiness::{Readiness, tokens},
};

const IFF_TAP: u16 = 0x0002;
const IFF_MULTI_QUEUE: u16 = 0x0100;
const IFF_ATTACH_QUEUE: u16 = 0x0200;
const IFF_DETACH_QUEUE: u16 = 0x0400;
const IFF_NO_PI: u16 = 0x1000;
const IFF_VNET_HDR: u16 = 0x4000;

const TUN_F_CSUM: usize = 1;
const TUN_F_TSO4: usize = 2;
const TUN_F_TSO6: usize = 4;
const TUN_F_TSO_ECN: usize = 8;

/// Bytes that stand around the packet in a frame: the Ethernet header and a VLAN tag.
const AROUND: usize = 14 + 4;

/// One queue pair of a tap.
#[derive(Debug)]
pub(super) struct Tap {
    name: String,
    tun: File,
    /// Any socket, by which interfaces are asked.
    any: Arc<OwnedFd>,
    /// Whether the interface must be told when a driver uses this queue: it would spread its frames over all.
    is_one_of_many: bool,
    readiness: Readiness,
    /// Bytes of the longest frame that it gives.
    longest: usize,
    is_readable: bool,
    /// The interface was removed.
    is_gone: bool,
}

pub(super) fn attach(name: &str, queues: u16) -> Result<Vec<Tap>, NetError> {
    let owned = || name.to_owned();
    let fail = |step| move |reason: io::Error| NetError::Tap { name: name.to_owned(), step, reason };
    // For its user is to know first that the name is wrong.
    let any = Arc::new(any_socket().map_err(fail("socket"))?);
    let index = netdevice::name_to_index(&any, name).map_err(|_| NetError::NoSuchTap { name: owned() })?;
    let mut taps = Vec::new();
    let mut multi_queue = queues > 1;
    while taps.len() < usize::from(queues) {
        let tun = open_tun(name)?;
        match try_attach(&tun, name, multi_queue) {
            Err(Errno::INVAL) if taps.is_empty() => {
                // It may have been made for the other number of queues.
                let other = try_attach(&tun, name, !multi_queue);
                if queues > 1 {
                    return Err(match other {
                        Ok(()) | Err(Errno::BUSY) => NetError::TapQueues { name: owned(), queues },
                        Err(_) => NetError::NotATap { name: owned() },
                    });
                }
                other.map_err(|error| refusal(name, error))?;
                multi_queue = !multi_queue;
            }
            tried => tried.map_err(|error| refusal(name, error))?,
        }
        // Had it been removed meanwhile, a privileged user would have made one now, which goes with `tun`.
        if netdevice::name_to_index(&any, name) != Ok(index) {
            return Err(NetError::NoSuchTap { name: owned() });
        }
        let size = i32::try_from(FRAME_HEADER_SIZE).unwrap_or_default();
        control::set_header_size(&tun, size).map_err(fail("TUNSETVNETHDRSZ"))?;
        if multi_queue {
            control::set_queue(&tun, IFF_DETACH_QUEUE).map_err(fail("TUNSETQUEUE"))?;
        }
        taps.push(Tap {
            name: owned(),
            tun,
            any: Arc::clone(&any),
            is_one_of_many: multi_queue,
            readiness: Readiness::new(tokens::TAP),
            longest: MAX_PLAIN_FRAME,
            is_readable: true,
            is_gone: false,
        });
    }
    Ok(taps)
}

fn any_socket() -> io::Result<OwnedFd> {
    Ok(socket(AddressFamily::UNIX, SocketType::DGRAM, None)?)
}

fn open_tun(name: &str) -> Result<File, NetError> {
    let flags = (OFlags::NONBLOCK | OFlags::CLOEXEC).bits().cast_signed();
    let opened = OpenOptions::new().read(true).write(true).custom_flags(flags).open("/dev/net/tun");
    opened.map_err(|reason| NetError::TunDevice { name: name.to_owned(), reason })
}

fn try_attach(tun: &File, name: &str, multi_queue: bool) -> Result<(), Errno> {
    let flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | if multi_queue { IFF_MULTI_QUEUE } else { 0 };
    control::attach(tun, name, flags).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::INVAL))
}

fn refusal(name: &str, error: Errno) -> NetError {
    let name = name.to_owned();
    match error {
        Errno::PERM | Errno::ACCESS => NetError::TapOfAnother { name },
        Errno::BUSY | Errno::TOOBIG => NetError::TapBusy { name },
        Errno::INVAL => NetError::NotATap { name },
        Errno::NODEV => NetError::NoSuchTap { name },
        other => NetError::Tap { name, step: "TUNSETIFF", reason: other.into() },
    }
}

impl Tap {
    /// What an error of its descriptor says of the tap.
    fn note(&mut self, error: &io::Error) {
        if Errno::from_io_error(error) == Some(Errno::BADFD) {
            self.lose();
        }
    }

    fn lose(&mut self) {
        self.is_readable = false;
        if !self.is_gone {
            self.is_gone = true;
            tracing::warn!("tap {} was removed; its guest's link is down", self.name);
        }
    }
}

impl NetBackend for Tap {
    fn takes(&self) -> Offloads {
        Offloads::all()
    }

    fn gives(&self) -> Offloads {
        Offloads::all()
    }

    fn start(&mut self, accepted: Offloads, registry: &mio::Registry) -> io::Result<()> {
        if self.is_one_of_many
            && !self.readiness.is_started()
            && let Err(error) = control::set_queue(&self.tun, IFF_ATTACH_QUEUE)
        {
            // There is no interface to use it any more.
            tracing::debug!("tap {}: its queue cannot be used: {error}", self.name);
            self.lose();
        }
        self.set_accepted(accepted)?;
        self.is_readable = !self.is_gone;
        self.readiness.start(registry)?;
        self.readiness.add(self.tun.as_fd())
    }

    fn set_accepted(&mut self, accepted: Offloads) -> io::Result<()> {
        let flags = [
            (Offloads::CHECKSUM, TUN_F_CSUM),
            (Offloads::TSO4, TUN_F_TSO4),
            (Offloads::TSO6, TUN_F_TSO6),
            (Offloads::ECN, TUN_F_TSO_ECN),
        ];
        let wanted = flags.iter().filter(|(offload, _)| accepted.contains(*offload));
        let offloads = wanted.fold(0, |all, (_, flag)| all | flag);
        // Segmentation needs checksums; a driver that has one without the other gets neither.
        let offloads = if offloads & TUN_F_CSUM == 0 { 0 } else { offloads };
        self.longest = if offloads & (TUN_F_TSO4 | TUN_F_TSO6) != 0 {
            MAX_FRAME
        } else {
            control::mtu(&self.any, &self.name).map_or(MAX_PLAIN_FRAME, |mtu| (mtu + AROUND).min(MAX_FRAME))
        };
        match control::set_offloads(&self.tun, offloads) {
            // No interface, no link: what the guest is to see, and no reason to end its card.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::BADFD) => {
                self.lose();
                Ok(())
            }
            done => done,
        }
    }

    fn stop(&mut self, _: &mio::Registry) {
        self.readiness.remove(self.tun.as_fd());
        self.readiness.stop();
        self.is_readable = false;
        if self.is_one_of_many
            && !self.is_gone
            && let Err(error) = control::set_queue(&self.tun, IFF_DETACH_QUEUE)
        {
            tracing::debug!("tap {}: its queue stays in use: {error}", self.name);
        }
    }

    fn wake(&mut self, events: &mio::Events) {
        if events.iter().any(|event| event.token() == tokens::TAP && event.is_error()) {
            self.lose();
        }
        self.is_readable = !self.is_gone;
        // Asked for again by the frame that waits, if there is still no room.
        self.readiness.wait_for_room(self.tun.as_fd(), false);
    }

    fn send(&mut self, header: FrameHeader, frame: GuestBuffer<'_>) -> io::Result<bool> {
        match volatile_io::gather(self.tun.as_fd(), &header.to_bytes(0), frame, 0) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readiness.wait_for_room(self.tun.as_fd(), true);
                Ok(false)
            }
            // No frame: too short, a header that contradicts it, too many pieces.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(true),
            Err(error) => {
                self.note(&error);
                Err(error)
            }
        }
    }

    fn next_len(&mut self) -> Option<usize> {
        self.is_readable.then_some(self.longest)
    }

    fn receive(&mut self, buffer: GuestBuffer<'_>) -> io::Result<Option<Received>> {
        if !self.is_readable {
            return Ok(None);
        }
        let mut header = [0; FRAME_HEADER_SIZE];
        match volatile_io::scatter(self.tun.as_fd(), &mut header, buffer) {
            Ok(read) => Ok(read
                .checked_sub(FRAME_HEADER_SIZE)
                .map(|len| Received { header: FrameHeader::from_bytes(header), len })),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.is_readable = false;
                Ok(None)
            }
            Err(error) => {
                self.note(&error);
                Err(error)
            }
        }
    }

    fn is_up(&self) -> bool {
        !self.is_gone
    }
}

#[cfg(test)]
mod tests;
