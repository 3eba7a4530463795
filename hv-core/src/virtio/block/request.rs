//! A block request: what a chain asks for, with everything the guest said checked (VIRTIO 1.2, 5.2.6).
//!
//! No assumption is made on framing (2.7.4): header, data and status may be split over descriptors in any way.

#[cfg(test)]
mod tests;

use std::ops::Range;

use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT,
    VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP,
};
use vm_memory::{Address, GuestAddress};

use crate::{
    block::SECTOR_SIZE,
    memory::{GuestRam, Segment, parts},
    virtio::Chain,
};

/// Bytes of a disk's serial number as the guest reads it.
pub const SERIAL_LEN: u32 = 20;

/// Largest range of a discard, in sectors: 2 GiB. A hint that costs a host little.
pub const MAX_DISCARD_SECTORS: u32 = 1 << 22;
/// Ranges of one discard request.
pub const MAX_DISCARD_RANGES: u32 = 16;
/// Largest range to zero, in sectors: 16 MiB, which a host without a better way writes.
pub const MAX_ZERO_SECTORS: u32 = 1 << 15;
/// Ranges of one write-zeroes request.
pub const MAX_ZERO_RANGES: u32 = 1;

const HEADER_LEN: u32 = 16;
const RANGE_LEN: u32 = 16;

/// What the device answers, as the number in the status byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// Done.
    Ok = 0,
    /// It failed, or it could never succeed.
    IoError = 1,
    /// The device does not do that.
    Unsupported = 2,
}

/// What requests may ask for.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Size of the disk in bytes.
    pub capacity: u64,
    /// It cannot be changed.
    pub read_only: bool,
    /// `VIRTIO_BLK_F_DISCARD` was negotiated.
    pub discard: bool,
    /// `VIRTIO_BLK_F_WRITE_ZEROES` was negotiated.
    pub write_zeroes: bool,
}

/// A range to discard or to zero, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskRange {
    /// Which bytes.
    pub bytes: Range<u64>,
    /// Its space may be given back.
    pub unmap: bool,
}

/// What a request asks for. Offsets are in bytes and lie, with the data, within the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Read into the data buffers from here on.
    Read(u64),
    /// Write the data buffers from here on.
    Write(u64),
    /// Make all that was written durable.
    Flush,
    /// Say the serial number.
    Identify,
    /// Discard these ranges of [`Lists::ranges`].
    Discard(Range<usize>),
    /// Zero these ranges of [`Lists::ranges`].
    WriteZeroes(Range<usize>),
    /// Nothing: answer so.
    Refuse(Status),
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Gives the chain back.
    pub head: u16,
    /// What to do.
    pub action: Action,
    /// Its data buffers, in [`Lists::segments`]; written by the device for reads and serials.
    pub data: Range<usize>,
    /// Bytes in them.
    pub len: u32,
    /// Where the status byte goes.
    pub status: GuestAddress,
}

impl Request {
    /// The bytes that it moves, or zeroes, as far as it is work for the disk.
    pub fn cost(&self, lists: &Lists) -> Option<u64> {
        match &self.action {
            Action::Read(_) | Action::Write(_) => Some(self.len.into()),
            Action::Discard(_) => Some(0),
            Action::WriteZeroes(ranges) => {
                let ranges = lists.ranges.get(ranges.clone()).unwrap_or_default();
                Some(ranges.iter().map(|range| range.bytes.end - range.bytes.start).sum())
            }
            Action::Flush | Action::Identify | Action::Refuse(_) => None,
        }
    }
}

/// The parts of a batch of requests that vary in length, kept to be used again.
#[derive(Debug, Default)]
pub struct Lists {
    /// Data buffers of requests, in their order.
    pub segments: Vec<Segment>,
    /// Ranges of requests.
    pub ranges: Vec<DiskRange>,
}

impl Lists {
    /// Empties them.
    pub fn clear(&mut self) {
        self.segments.clear();
        self.ranges.clear();
    }
}

/// The chain has no byte for the status: the driver broke the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("block request without room for its status")]
pub struct NoStatus;

/// Reads the request that `chain` holds and puts its parts at the ends of `lists`.
///
/// # Errors
/// It cannot even be answered.
pub fn parse(chain: &Chain, ram: &GuestRam, limits: &Limits, lists: &mut Lists) -> Result<Request, NoStatus> {
    let last = chain.writable().last().ok_or(NoStatus)?;
    // Segments are never empty and lie in RAM.
    let status = last.address.unchecked_add(u64::from(last.len - 1));
    let start = lists.segments.len();
    let (action, len) = match action(chain, ram, limits, lists) {
        Ok(parsed) => parsed,
        Err(refusal) => {
            lists.segments.truncate(start);
            (Action::Refuse(refusal), 0)
        }
    };
    Ok(Request { head: chain.head(), action, data: start..lists.segments.len(), len, status })
}

/// What is to be done, and with how many bytes of data, whose buffers are added to `lists`.
fn action(
    chain: &Chain,
    ram: &GuestRam,
    limits: &Limits,
    lists: &mut Lists,
) -> Result<(Action, u32), Status> {
    let mut header = [0; HEADER_LEN as usize];
    if chain.read_at(ram, 0, &mut header) < header.len() {
        return Err(Status::IoError);
    }
    let [t0, t1, t2, t3, _, _, _, _, sector @ ..] = header;
    let sector = u64::from_le_bytes(sector);
    // One byte of the writable part is the status, and the header was whole.
    let (incoming, outgoing) = (chain.writable_len() - 1, chain.readable_len() - HEADER_LEN);
    match u32::from_le_bytes([t0, t1, t2, t3]) {
        VIRTIO_BLK_T_IN => {
            let offset = limits.place(sector, incoming)?;
            lists.segments.extend(parts(chain.writable(), 0, incoming));
            Ok((Action::Read(offset), incoming))
        }
        VIRTIO_BLK_T_OUT => {
            limits.check_writable()?;
            let offset = limits.place(sector, outgoing)?;
            lists.segments.extend(parts(chain.readable(), HEADER_LEN, outgoing));
            Ok((Action::Write(offset), outgoing))
        }
        VIRTIO_BLK_T_FLUSH => Ok((Action::Flush, 0)),
        VIRTIO_BLK_T_GET_ID => {
            lists.segments.extend(parts(chain.writable(), 0, incoming));
            Ok((Action::Identify, incoming))
        }
        VIRTIO_BLK_T_DISCARD if limits.discard => {
            limits.check_writable()?;
            ranges(chain, ram, limits, RangeRules::DISCARD, lists).map(|ranges| (Action::Discard(ranges), 0))
        }
        VIRTIO_BLK_T_WRITE_ZEROES if limits.write_zeroes => {
            limits.check_writable()?;
            let ranges = ranges(chain, ram, limits, RangeRules::WRITE_ZEROES, lists)?;
            Ok((Action::WriteZeroes(ranges), 0))
        }
        _ => Err(Status::Unsupported),
    }
}

impl Limits {
    fn check_writable(&self) -> Result<(), Status> {
        if self.read_only { Err(Status::IoError) } else { Ok(()) }
    }

    /// The byte offset of `sector`, if `len` bytes from there are whole sectors of the disk.
    fn place(&self, sector: u64, len: u32) -> Result<u64, Status> {
        let len = u64::from(len);
        let offset = sector.checked_mul(SECTOR_SIZE).ok_or(Status::IoError)?;
        let end = offset.checked_add(len).ok_or(Status::IoError)?;
        if end <= self.capacity && len.is_multiple_of(SECTOR_SIZE) {
            Ok(offset)
        } else {
            Err(Status::IoError)
        }
    }
}

/// What discard and write-zeroes requests may say.
#[derive(Clone, Copy)]
struct RangeRules {
    max_ranges: u32,
    max_sectors: u32,
    flags: u32,
}

impl RangeRules {
    const DISCARD: Self = Self { max_ranges: MAX_DISCARD_RANGES, max_sectors: MAX_DISCARD_SECTORS, flags: 0 };
    const WRITE_ZEROES: Self = Self {
        max_ranges: MAX_ZERO_RANGES,
        max_sectors: MAX_ZERO_SECTORS,
        flags: VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP,
    };
}

/// Reads and checks all ranges of a request before any is acted on; says where in `lists` they are.
fn ranges(
    chain: &Chain,
    ram: &GuestRam,
    limits: &Limits,
    rules: RangeRules,
    lists: &mut Lists,
) -> Result<Range<usize>, Status> {
    let len = chain.readable_len() - HEADER_LEN;
    let count = len / RANGE_LEN;
    if count == 0 || count > rules.max_ranges || !len.is_multiple_of(RANGE_LEN) {
        return Err(Status::IoError);
    }
    let start = lists.ranges.len();
    for index in 0..count {
        let mut raw = [0; RANGE_LEN as usize];
        chain.read_at(ram, HEADER_LEN + index * RANGE_LEN, &mut raw);
        match range(raw, limits, rules) {
            Ok(range) => lists.ranges.push(range),
            Err(status) => {
                lists.ranges.truncate(start);
                return Err(status);
            }
        }
    }
    Ok(start..lists.ranges.len())
}

/// One `virtio_blk_discard_write_zeroes`: first sector, sectors, flags.
fn range(raw: [u8; RANGE_LEN as usize], limits: &Limits, rules: RangeRules) -> Result<DiskRange, Status> {
    let [s0, s1, s2, s3, s4, s5, s6, s7, n0, n1, n2, n3, flags @ ..] = raw;
    let sector = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
    let sectors = u32::from_le_bytes([n0, n1, n2, n3]);
    let flags = u32::from_le_bytes(flags);
    // Reserved flags, and unmap on a discard, are unsupported (5.2.6.2).
    if flags & !rules.flags != 0 {
        return Err(Status::Unsupported);
    }
    if sectors > rules.max_sectors {
        return Err(Status::IoError);
    }
    let start = limits.place(sector, 0)?;
    // At most 2^22 sectors of 2^9 bytes, and the start is within the disk.
    let end = start.checked_add(u64::from(sectors) * SECTOR_SIZE).ok_or(Status::IoError)?;
    if end > limits.capacity {
        return Err(Status::IoError);
    }
    Ok(DiskRange { bytes: start..end, unmap: flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP != 0 })
}
