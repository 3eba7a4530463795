//! Packed data as a stream: gzip, xz and zstd by their first bytes, or as they are.

use std::io::{self, BufRead, Read};

use anyhow::{Result, bail};
use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

/// KiB that an xz stream may make its decoder allocate; `xz -9` needs 65 MiB.
const MOST_XZ_MEMORY: u32 = 192 << 10;
/// The window of `zstd -22 --ultra`.
const MOST_ZSTD_WINDOW: u64 = 128 << 20;

const REFUSED: &[(&[u8], &str)] =
    &[(b"BZh", "bzip2"), (b"\x5d\0\0", "lzma"), (b"\x04\x22\x4d\x18", "lz4"), (b"\x89LZO", "lzop")];

/// What `source` holds, unpacked if it is packed.
///
/// # Errors
/// It is packed by a method that is not known here.
pub(crate) fn unpacked<'a>(mut source: impl BufRead + 'a) -> Result<Box<dyn Read + 'a>> {
    let head = source.fill_buf()?;
    if let Some((_, method)) = REFUSED.iter().find(|(mark, _)| head.starts_with(mark)) {
        bail!("is packed by {method}, which is not known here: repack it by xz, zstd or gzip");
    }
    Ok(match head {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(source)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            Box::new(XzReader::new_mem_limit(source, true, MOST_XZ_MEMORY))
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(Zstd { frame: Some(Frame::new(source)?) }),
        _ => Box::new(source),
    })
}

/// All that `source` has.
///
/// # Errors
/// It has more than `most` bytes.
pub(crate) fn read_all(source: impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("is larger than {most} bytes")));
    }
    Ok(bytes)
}

/// A reader that fails beyond its limit, where `take` would just end.
pub(crate) struct Bounded<R> {
    source: R,
    left: u64,
}

impl<R: Read> Bounded<R> {
    pub(crate) fn new(source: R, most: u64) -> Self {
        Self { source, left: most }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(bytes)?;
        self.left =
            self.left.checked_sub(count as u64).ok_or_else(|| io::Error::other("unpacks without end"))?;
        Ok(count)
    }
}

/// Frames of zstd, one after the other.
struct Zstd<R: BufRead> {
    frame: Option<Frame<R>>,
}

struct Frame<R: BufRead>(StreamingDecoder<R, FrameDecoder>);

impl<R: BufRead> Frame<R> {
    fn new(source: R) -> io::Result<Self> {
        StreamingDecoder::new_with_max_window_size(source, MOST_ZSTD_WINDOW)
            .map(Self)
            .map_err(io::Error::other)
    }

    /// After its end: the frame that follows, if one does.
    fn next(self) -> io::Result<Option<Self>> {
        let said = self.0.decoder.get_checksum_from_data();
        if said.is_some() && said != self.0.decoder.get_calculated_checksum() {
            return Err(io::Error::other("a zstd checksum is wrong"));
        }
        let mut source = self.0.into_inner();
        if source.fill_buf()?.is_empty() { Ok(None) } else { Self::new(source).map(Some) }
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while let Some(frame) = &mut self.frame {
            let count = frame.0.read(bytes)?;
            if count > 0 || bytes.is_empty() {
                return Ok(count);
            }
            self.frame = self.frame.take().map(Frame::next).transpose()?.flatten();
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests;
