//! Packed kernels: a whole file of gzip or zstd, or one inside an EFI zboot program.
//!
//! They are unpacked as a stream, so that a small file cannot make a large buffer: the reader decides how much it
//! takes. What a stream holds itself is bounded by its format: 32 KiB for gzip, [`MOST_WINDOW`] for zstd.

use std::io::{self, BufReader, Read};

use flate2::bufread::GzDecoder;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

use super::{BootError, PayloadFile, field};

const GZIP: &[u8] = b"\x1f\x8b";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";

// The header of an EFI zboot program (Linux, drivers/firmware/efi/libstub/zboot-header.S).
const ZBOOT: &[u8] = b"zimg";
const ZBOOT_MARK: usize = 4;
const ZBOOT_PAYLOAD_OFFSET: usize = 8;
const ZBOOT_PAYLOAD_SIZE: usize = 12;
const ZBOOT_COMPRESSION: usize = 24;
const ZBOOT_COMPRESSION_SIZE: usize = 32;

/// The window of `zstd -22 --ultra`, by which kernels are packed.
const MOST_WINDOW: u64 = 128 << 20;
/// Read at a time.
const CHUNK: usize = 64 << 10;
/// What [`head`] is asked for.
const HEAD: u64 = 4096;

/// What is packed, and where it lies in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packed {
    method: Method,
    offset: u64,
    /// Bytes; to the end of the file where no header says so.
    size: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Gzip,
    Zstd,
}

/// A packed kernel's own bytes, in order.
pub(super) struct Unpacked<'a> {
    file: &'a PayloadFile,
    stream: Stream<'a>,
}

enum Stream<'a> {
    Gzip(Box<GzDecoder<Source<'a>>>),
    Zstd(Box<StreamingDecoder<Source<'a>, FrameDecoder>>),
}

type Source<'a> = BufReader<io::Take<Bytes<'a>>>;

/// A file from an offset on.
struct Bytes<'a> {
    file: &'a PayloadFile,
    offset: u64,
}

/// What is packed in the file that begins with `head`; `None` if nothing is.
///
/// # Errors
/// It is an EFI zboot program packed by another method: its name.
pub(super) fn find(head: &[u8]) -> Result<Option<Packed>, String> {
    let whole = |method| Ok(Some(Packed { method, offset: 0, size: u64::MAX }));
    if head.starts_with(GZIP) {
        return whole(Method::Gzip);
    }
    if head.starts_with(ZSTD) {
        return whole(Method::Zstd);
    }
    if !head.get(ZBOOT_MARK..).is_some_and(|bytes| bytes.starts_with(ZBOOT)) {
        return Ok(None);
    }
    let name = head.get(ZBOOT_COMPRESSION..).unwrap_or_default();
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    let name = name.get(..ZBOOT_COMPRESSION_SIZE).unwrap_or(name);
    let method = match name {
        b"gzip" => Method::Gzip,
        b"zstd" | b"zstd22" => Method::Zstd,
        name => return Err(name.escape_ascii().to_string()),
    };
    let word = |offset| field::u32(head, offset).map_or(0, u64::from);
    Ok(Some(Packed { method, offset: word(ZBOOT_PAYLOAD_OFFSET), size: word(ZBOOT_PAYLOAD_SIZE) }))
}

/// The first bytes, up to [`HEAD`], of what is `packed` in `file`.
pub(super) fn head(file: &PayloadFile, packed: &Packed) -> Result<Vec<u8>, BootError> {
    let mut unpacked = Unpacked::open(file, packed)?;
    let mut head = vec![0; usize::try_from(HEAD).unwrap_or(0)];
    let count = unpacked.fill(&mut head)?;
    head.truncate(count);
    Ok(head)
}

impl<'a> Unpacked<'a> {
    /// Begins to unpack what is `packed` in `file`.
    pub(super) fn open(file: &'a PayloadFile, packed: &Packed) -> Result<Self, BootError> {
        let size = file.size()?;
        let end = packed.offset.checked_add(packed.size.min(size));
        if packed.size != u64::MAX && end.is_none_or(|end| end > size || packed.size > size) {
            return Err(file.error("is a truncated EFI kernel: fetch or build it again"));
        }
        let bytes = Bytes { file, offset: packed.offset }.take(packed.size);
        let source = BufReader::with_capacity(CHUNK, bytes);
        let stream = match packed.method {
            Method::Gzip => Stream::Gzip(Box::new(GzDecoder::new(source))),
            Method::Zstd => {
                let stream = StreamingDecoder::new_with_max_window_size(source, MOST_WINDOW);
                Stream::Zstd(Box::new(stream.map_err(|_| damaged(file, "zstd"))?))
            }
        };
        Ok(Self { file, stream })
    }

    /// Fills `bytes`, and says how many there were: fewer only at the end, where checksums are right.
    pub(super) fn fill(&mut self, bytes: &mut [u8]) -> Result<usize, BootError> {
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.read(rest)? {
                0 => break,
                count => done += count,
            }
        }
        Ok(done)
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, BootError> {
        match &mut self.stream {
            Stream::Gzip(stream) => stream.read(bytes).map_err(|_| damaged(self.file, "gzip")),
            Stream::Zstd(stream) => {
                let count = stream.read(bytes).map_err(|_| damaged(self.file, "zstd"))?;
                let said = stream.decoder.get_checksum_from_data().filter(|_| count == 0);
                if said.is_some() && said != stream.decoder.get_calculated_checksum() {
                    return Err(damaged(self.file, "zstd"));
                }
                Ok(count)
            }
        }
    }
}

fn damaged(file: &PayloadFile, method: &str) -> BootError {
    file.error(format!(
        "cannot be unpacked, its {method} data are truncated or damaged: fetch or build it again"
    ))
}

impl Read for Bytes<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.file.fill(self.offset, bytes).map_err(io::Error::other)?;
        self.offset = self.offset.saturating_add(count as u64);
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
