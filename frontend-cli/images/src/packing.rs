//! How archives are packed: gzip, zstd or not at all, told by their first bytes.

use std::io::{self, BufRead, Read};

use anyhow::{Result, bail};
use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::{
    BlockDecodingStrategy, FrameDecoder,
    errors::{FrameDecoderError, ReadFrameHeaderError},
};

/// The window of `zstd -19 --long=27`: more memory than that no packed archive gets.
const MOST_WINDOW: u64 = 128 << 20;

/// How something is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// It is not.
    Plain,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// Bytes that [`Packing::of`] looks at.
pub(crate) const HEAD: u64 = 6;

impl Packing {
    /// How what begins with `head` is packed.
    ///
    /// # Errors
    /// In a way that is not supported: its name.
    pub fn of(head: &[u8]) -> Result<Self> {
        Ok(match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // A frame, or one to be skipped in front of it.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => bail!("it is packed with xz: unpack it with `unxz` first"),
            [b'B', b'Z', b'h', ..] => bail!("it is packed with bzip2: unpack it with `bunzip2` first"),
            [0x04, 0x22, 0x4d, 0x18, ..] => bail!("it is packed with lz4: unpack it with `unlz4` first"),
            _ => Self::Plain,
        })
    }

    /// The unpacked bytes of `reader`.
    pub fn unpack<'a, R: BufRead + Send + 'a>(self, reader: R) -> Box<dyn Read + Send + 'a> {
        match self {
            Self::Plain => Box::new(reader),
            Self::Gzip => Box::new(MultiGzDecoder::new(reader)),
            Self::Zstd => Box::new(Zstd::new(reader)),
        }
    }
}

/// The unpacked bytes of any number of zstd frames, one behind the other.
struct Zstd<R> {
    decoder: FrameDecoder,
    source: R,
}

impl<R: BufRead> Zstd<R> {
    fn new(source: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MOST_WINDOW);
        Self { decoder, source }
    }

    /// Begins the next frame; whether there is one.
    fn next_frame(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    let length = u64::from(length);
                    let skipped = io::copy(&mut self.source.by_ref().take(length), &mut io::sink())?;
                    if skipped != length {
                        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "truncated zstd frame"));
                    }
                }
                Err(error) => return Err(damaged(&error)),
            }
        }
        Ok(false)
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while self.decoder.can_collect() == 0 {
            if self.decoder.is_finished() {
                if !self.next_frame()? {
                    return Ok(0);
                }
            } else {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder.decode_blocks(&mut self.source, one).map_err(|error| damaged(&error))?;
            }
        }
        self.decoder.read(buffer)
    }
}

fn damaged(error: &FrameDecoderError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("damaged or truncated zstd data: {error}"))
}

/// Fails where the bytes behind it do not end at a limit, instead of ending there.
pub(crate) struct Limited<R> {
    inner: R,
    left: u64,
    limit: u64,
}

impl<R> Limited<R> {
    pub(crate) fn new(inner: R, limit: u64) -> Self {
        Self { inner, left: limit, limit }
    }
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let Some(left) = self.left.checked_sub(count as u64) else {
            let limit = self.limit;
            return Err(io::Error::other(format!("unpacked, it is larger than the limit of {limit} bytes")));
        };
        self.left = left;
        Ok(count)
    }
}
