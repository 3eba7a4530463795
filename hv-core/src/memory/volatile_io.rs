//! Vectored I/O between the host's files and sockets and guest RAM, without a copy and without a reference to guest RAM.
#![expect(
    unsafe_code,
    reason = "preadv, readv and their like on memory that the guest changes meanwhile take raw pointers"
)]

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
};

use vm_memory::{GuestMemoryBackend, VolatileSlice};

use super::{GuestBuffer, Segment, parts};

/// Pieces per system call. The smallest limit of a supported host is 1024; beyond this the calls cost nothing.
const MAX_PIECES: usize = 128;

/// The most pieces that hosts take in one system call.
const MOST_PIECES: usize = 1024;

const NO_PIECE: libc::iovec = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };

#[derive(Debug, Clone, Copy)]
enum Direction {
    Read,
    Write,
}

/// Fills `buffer` from `file`, starting at byte `offset` of it.
///
/// # Errors
/// The host's, or `UnexpectedEof` if the file ends early.
pub fn read_at(file: &File, offset: u64, buffer: GuestBuffer<'_>) -> io::Result<()> {
    transfer(Direction::Read, file, offset, buffer)
}

/// Stores `buffer` in `file`, starting at byte `offset` of it.
///
/// # Errors
/// The host's, or `WriteZero` if it takes no more bytes.
pub fn write_at(file: &File, offset: u64, buffer: GuestBuffer<'_>) -> io::Result<()> {
    transfer(Direction::Write, file, offset, buffer)
}

/// Reads once from `fd`, into `head` and then into `buffer`; says how many bytes came, 0 at the end of a stream.
///
/// # Errors
/// The host's, `WouldBlock` among them, or `InvalidInput` if `buffer` has more pieces than the host takes at once.
pub fn scatter(fd: BorrowedFd<'_>, head: &mut [u8], buffer: GuestBuffer<'_>) -> io::Result<usize> {
    let head = libc::iovec { iov_base: head.as_mut_ptr().cast(), iov_len: head.len() };
    transfer_once(Direction::Read, fd, head, buffer, 0)
}

/// Writes `head` and then `buffer` without its first `skip` bytes to `fd`, once; says how many bytes went.
///
/// # Errors
/// The host's, `WouldBlock` among them, or `InvalidInput` if `buffer` has more pieces than the host takes at once.
pub fn gather(fd: BorrowedFd<'_>, head: &[u8], buffer: GuestBuffer<'_>, skip: usize) -> io::Result<usize> {
    // The host only reads it.
    let head = libc::iovec { iov_base: head.as_ptr().cast_mut().cast(), iov_len: head.len() };
    transfer_once(Direction::Write, fd, head, buffer, skip)
}

fn transfer_once(
    direction: Direction,
    fd: BorrowedFd<'_>,
    head: libc::iovec,
    buffer: GuestBuffer<'_>,
    skip: usize,
) -> io::Result<usize> {
    // Most frames are one piece.
    if skip == 0
        && let &[Segment { address, len }] = buffer.segments
        && let Ok(slice) = buffer.ram.get_slice(address, len as usize)
    {
        return transfer_vector(direction, fd, &[head, piece(&slice)]);
    }
    let mut pieces = Vec::with_capacity(buffer.segments.len().saturating_add(2).min(MOST_PIECES));
    pieces.push(head);
    // What is skipped is beyond any buffer if it is no u32.
    let skip = u32::try_from(skip).unwrap_or(u32::MAX);
    for Segment { address, len } in parts(buffer.segments, skip, u32::MAX) {
        for slice in buffer.ram.get_slices(address, len as usize) {
            if pieces.len() == MOST_PIECES {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            pieces.push(piece(&slice.map_err(io::Error::other)?));
        }
    }
    transfer_vector(direction, fd, &pieces)
}

/// One system call on `pieces`, again if a signal interrupted it.
fn transfer_vector(direction: Direction, fd: BorrowedFd<'_>, pieces: &[libc::iovec]) -> io::Result<usize> {
    let count = libc::c_int::try_from(pieces.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    loop {
        // SAFETY: `fd` is open as long as it is borrowed. `pieces` holds `count` entries: the first is the caller's
        // `head`, which `scatter` holds exclusively and `gather` only has read, and each other is a run of guest RAM
        // that the caller's borrow keeps mapped. The kernel alone touches those bytes, no Rust reference to them
        // exists, and RAM that the guest changes meanwhile is bytes to both.
        let moved = unsafe {
            match direction {
                Direction::Read => libc::readv(fd.as_raw_fd(), pieces.as_ptr(), count),
                Direction::Write => libc::writev(fd.as_raw_fd(), pieces.as_ptr(), count),
            }
        };
        if let Ok(moved) = usize::try_from(moved) {
            return Ok(moved);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

fn transfer(direction: Direction, file: &File, mut offset: u64, buffer: GuestBuffer<'_>) -> io::Result<()> {
    // Most requests are one piece.
    if let &[Segment { address, len }] = buffer.segments
        && let Ok(slice) = buffer.ram.get_slice(address, len as usize)
    {
        return transfer_all(direction, file, offset, &mut [piece(&slice)]).map(drop);
    }
    let mut pieces = [NO_PIECE; MAX_PIECES];
    let mut count = 0;
    let mut add = |slice: &VolatileSlice<'_>| {
        if count == MAX_PIECES {
            offset += transfer_all(direction, file, offset, &mut pieces)?;
            count = 0;
        }
        pieces[count] = piece(slice);
        count += 1;
        io::Result::Ok(())
    };
    for &Segment { address, len } in buffer.segments {
        // Nearly every segment lies within one region of RAM.
        if let Ok(slice) = buffer.ram.get_slice(address, len as usize) {
            add(&slice)?;
            continue;
        }
        for slice in buffer.ram.get_slices(address, len as usize) {
            add(&slice.map_err(io::Error::other)?)?;
        }
    }
    transfer_all(direction, file, offset, &mut pieces[..count]).map(drop)
}

fn piece(slice: &VolatileSlice<'_>) -> libc::iovec {
    libc::iovec { iov_base: slice.ptr_guard_mut().as_ptr().cast(), iov_len: slice.len() }
}

/// Transfers every byte of `pieces`, however few the host takes at a time; says how many there were.
fn transfer_all(
    direction: Direction,
    file: &File,
    offset: u64,
    pieces: &mut [libc::iovec],
) -> io::Result<u64> {
    let (mut done, mut first) = (0, 0);
    loop {
        first += pieces[first..].iter().take_while(|piece| piece.iov_len == 0).count();
        let rest = &mut pieces[first..];
        if rest.is_empty() {
            return Ok(done);
        }
        let moved = transfer_some(direction, file, offset + done, rest)?;
        done += moved as u64;
        advance(rest, moved);
    }
}

/// One system call, again if a signal interrupted it; never says zero.
fn transfer_some(
    direction: Direction,
    file: &File,
    offset: u64,
    pieces: &[libc::iovec],
) -> io::Result<usize> {
    let offset = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    let count = libc::c_int::try_from(pieces.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let fd = file.as_raw_fd();
    loop {
        // SAFETY: `file` keeps the descriptor open. `pieces` holds `count` entries, and each is a run of guest RAM
        // that `transfer`'s borrow keeps mapped, or the rest of one. The kernel alone touches those bytes, no Rust
        // reference to them exists, and RAM that the guest changes meanwhile is bytes to both.
        let moved = unsafe {
            match (direction, pieces) {
                // The host has less to do for one piece that is no vector.
                (Direction::Read, [one]) => libc::pread(fd, one.iov_base, one.iov_len, offset),
                (Direction::Write, [one]) => libc::pwrite(fd, one.iov_base, one.iov_len, offset),
                (Direction::Read, _) => libc::preadv(fd, pieces.as_ptr(), count, offset),
                (Direction::Write, _) => libc::pwritev(fd, pieces.as_ptr(), count, offset),
            }
        };
        match (usize::try_from(moved), direction) {
            (Ok(0), Direction::Read) => return Err(io::ErrorKind::UnexpectedEof.into()),
            (Ok(0), Direction::Write) => return Err(io::ErrorKind::WriteZero.into()),
            (Ok(moved), _) => return Ok(moved),
            (Err(_), _) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

/// Takes the first `moved` bytes off `pieces`.
fn advance(pieces: &mut [libc::iovec], mut moved: usize) {
    for piece in pieces {
        let taken = moved.min(piece.iov_len);
        piece.iov_base = piece.iov_base.wrapping_byte_add(taken);
        piece.iov_len -= taken;
        moved -= taken;
        if moved == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
