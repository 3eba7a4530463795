//! `Writer`: blocks of a pcapng file (draft-ietf-opsawg-pcapng): one section, one Ethernet interface, packets.

use std::{
    fs::File,
    io::{self, Write},
    time::{SystemTime, UNIX_EPOCH},
};

/// Bytes that are written at once.
const BATCH: usize = 64 << 10;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const INTERFACE: u32 = 1;
const ENHANCED_PACKET: u32 = 6;

/// `LINKTYPE_ETHERNET`.
const ETHERNET: u16 = 1;
/// No packet is cut short: more than any is long.
const SNAP_LENGTH: u32 = 1 << 18;

const END_OF_OPTIONS: u16 = 0;
/// `shb_userappl`.
const APPLICATION: u16 = 4;
/// `if_name`.
const NAME: u16 = 2;
/// `if_tsresol`.
const RESOLUTION: u16 = 9;
/// Nanoseconds: ten to the minus this.
const NANOSECONDS: u8 = 9;
/// `epb_flags`.
const FLAGS: u16 = 2;

/// Which way a packet went, as the guest's card sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Inbound,
    Outbound,
}

/// The file, and blocks on their way into it.
#[derive(Debug)]
pub(super) struct Writer {
    file: File,
    waiting: Vec<u8>,
    /// Bytes of the file that are whole blocks.
    written: u64,
}

impl Writer {
    pub(super) fn new(file: File) -> io::Result<Self> {
        let mut writer = Self { file, waiting: Vec::new(), written: 0 };
        writer.block(SECTION_HEADER, |body| {
            body.extend(BYTE_ORDER.to_le_bytes());
            // Version 1.0; how long the section is will be seen.
            body.extend([1, 0, 0, 0]);
            body.extend(u64::MAX.to_le_bytes());
            option(body, APPLICATION, concat!("hv ", env!("CARGO_PKG_VERSION")).as_bytes());
            option(body, END_OF_OPTIONS, &[]);
        });
        writer.block(INTERFACE, |body| {
            body.extend(ETHERNET.to_le_bytes());
            body.extend([0, 0]);
            body.extend(SNAP_LENGTH.to_le_bytes());
            option(body, NAME, b"guest");
            option(body, RESOLUTION, &[NANOSECONDS]);
            option(body, END_OF_OPTIONS, &[]);
        });
        writer.flush()?;
        Ok(writer)
    }

    /// Adds a packet that passes now.
    pub(super) fn packet(&mut self, direction: Direction, packet: &[u8]) -> io::Result<()> {
        let len = u32::try_from(packet.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        // Nanoseconds leave 64 bits in the year 2554.
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        let flags: u32 = match direction {
            Direction::Inbound => 1,
            Direction::Outbound => 2,
        };
        self.block(ENHANCED_PACKET, |body| {
            // The only interface; the upper half of the time comes first.
            body.extend(0_u32.to_le_bytes());
            body.extend(now.to_le_bytes()[4..].iter().chain(&now.to_le_bytes()[..4]));
            body.extend(len.to_le_bytes());
            body.extend(len.to_le_bytes());
            body.extend_from_slice(packet);
            pad(body);
            option(body, FLAGS, &flags.to_le_bytes());
            option(body, END_OF_OPTIONS, &[]);
        });
        if self.waiting.len() >= BATCH { self.flush() } else { Ok(()) }
    }

    /// Writes what waits.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let result = self.file.write_all(&self.waiting);
        match &result {
            Ok(()) => self.written += self.waiting.len() as u64,
            // Half a block would make the file look broken; a pipe has no length to set.
            Err(_) => drop(self.file.set_len(self.written)),
        }
        self.waiting.clear();
        result
    }

    /// Has what is written from now on go to `file`.
    #[cfg(test)]
    pub(super) fn break_file(&mut self, file: File) {
        self.file = file;
    }

    /// Adds a block of `kind` whose body `fill` appends, in whole words.
    fn block(&mut self, kind: u32, fill: impl FnOnce(&mut Vec<u8>)) {
        let start = self.waiting.len();
        self.waiting.extend(kind.to_le_bytes());
        self.waiting.extend([0; 4]);
        fill(&mut self.waiting);
        // A body is a packet and some options.
        let len = u32::try_from(self.waiting.len() - start + 4).unwrap_or_default();
        self.waiting[start + 4..start + 8].copy_from_slice(&len.to_le_bytes());
        self.waiting.extend(len.to_le_bytes());
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Err(error) = self.flush() {
            tracing::warn!("the network capture lost its end: {error}");
        }
    }
}

/// An option, of fewer than 64 KiB.
fn option(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend(kind.to_le_bytes());
    body.extend(u16::try_from(value.len()).unwrap_or_default().to_le_bytes());
    body.extend_from_slice(value);
    pad(body);
}

/// Zeros up to a whole word; all that came before is whole words and what is to be padded.
fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}
