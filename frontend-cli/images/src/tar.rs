//! Reads tar archives as streams: ustar, GNU's and pax, sparse files among them.
//!
//! Our own and not the crate `tar`: values of pax records may contain line ends (capabilities do), sparse files come in
//! four forms, and nothing that a header says may size a buffer.

use std::io::{self, Read};

use anyhow::{Context, Result, bail, ensure};

use crate::limits::{MOST_HEADERS, MOST_PATH, MOST_PAX};

mod header;
mod pax;
mod sparse;
#[cfg(test)]
mod tests;

pub use pax::Attribute;
pub use sparse::Segment;

use header::{BLOCK, Header};
use pax::Pax;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A file with data.
    File,
    /// Another name of a file before: [`Entry::link`].
    HardLink,
    /// A symbolic link to [`Entry::link`].
    Symlink,
    /// A character device with its numbers.
    CharacterDevice(u32, u32),
    /// A block device with its numbers.
    BlockDevice(u32, u32),
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// One entry of an archive; what it says is not yet judged, but bounded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path as written.
    pub path: Vec<u8>,
    /// What a link points to, as written.
    pub link: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits, with set-user-ID, set-group-ID and the sticky bit.
    pub mode: u16,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Seconds since 1970.
    pub mtime: i64,
    /// Nanoseconds above that.
    pub mtime_nanos: u32,
    /// Extended attributes.
    pub attributes: Vec<Attribute>,
    /// Bytes of the file when unpacked.
    pub size: u64,
    /// The pieces of a sparse file that have data, in order; what follows in the archive is these alone.
    pub segments: Option<Vec<Segment>>,
}

/// What an archive is read from.
pub trait Stream: Read {
    /// Leaves out so many bytes.
    ///
    /// # Errors
    /// There are not so many, or they cannot be read.
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let mut this = self;
        let skipped = io::copy(&mut (&mut this).take(bytes), &mut io::sink())?;
        if skipped == bytes { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

impl<R: Read + ?Sized> Stream for io::BufReader<R> {}
impl Stream for &[u8] {}

impl<S: Stream + ?Sized> Stream for &mut S {
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        (**self).skip(bytes)
    }
}

/// An archive that is being read. Reading from it gives the data of the entry that [`Archive::advance`] gave last.
pub struct Archive<S> {
    stream: S,
    /// Of the archive.
    position: u64,
    /// Of the present entry's data: what was not yet read.
    data: u64,
    /// Behind the data, to the next block.
    padding: u64,
    ended: bool,
}

impl<S: Stream> Archive<S> {
    /// Reads the archive that begins where `stream` stands.
    pub fn new(stream: S) -> Self {
        Self { stream, position: 0, data: 0, padding: 0, ended: false }
    }

    /// Where the present entry's unread data begin, in bytes of the archive.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The stream, wherever the archive's end left it.
    pub fn into_inner(self) -> S {
        self.stream
    }

    /// The next entry; `None` at the end.
    ///
    /// # Errors
    /// The archive is damaged, truncated, or breaks a bound.
    pub fn advance(&mut self) -> Result<Option<Entry>> {
        let mut pax = Pax::default();
        let (mut long_path, mut long_link) = (None, None);
        for _ in 0..MOST_HEADERS {
            self.skip_rest()?;
            let Some(header) = self.header()? else {
                ensure!(
                    !self.ended || (long_path.is_none() && long_link.is_none()),
                    "ends before the file of a name"
                );
                return Ok(None);
            };
            match header.kind() {
                b'L' => long_path = Some(self.long_name(&header)?),
                b'K' => long_link = Some(self.long_name(&header)?),
                b'x' => pax = Pax::parse(&self.extension(header.size()?, MOST_PAX, "pax header")?)?,
                // Records for all entries that follow: what makes images writes comments there, and what unpacks
                // them takes nothing else from it.
                b'g' => drop(self.extension(header.size()?, MOST_PAX, "pax header")?),
                // The label of a volume.
                b'V' => self.begin_data(header.size()?)?,
                _ => return self.entry(&header, pax, long_path, long_link).map(Some),
            }
        }
        bail!("more than {MOST_HEADERS} headers in front of one entry")
    }

    /// The entry of `header`, with what the headers before it said.
    fn entry(
        &mut self,
        header: &Header,
        mut pax: Pax,
        long_path: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> Result<Entry> {
        let path = pax.sparse_name.take().or(pax.path.take()).or(long_path).unwrap_or_else(|| header.path());
        let link = pax.link.take().or(long_link).unwrap_or_else(|| header.link());
        let shown = || format!("entry {}", shown(&path));
        ensure!(
            path.len() <= MOST_PATH && link.len() <= MOST_PATH,
            "{}: a path longer than {MOST_PATH} bytes",
            shown()
        );
        let stored = pax.size.map_or_else(|| header.size(), Ok).with_context(shown)?;
        let kind = header.entry_kind(&path).with_context(shown)?;
        // What has no data by its kind has none, whatever its size says: so do Go's tools, which make images.
        self.begin_data(if header.has_data() { stored } else { 0 }).with_context(shown)?;
        let sparse =
            if kind == EntryKind::File { self.sparse(header, &mut pax).with_context(shown)? } else { None };
        let (size, segments) = match sparse {
            Some((size, segments)) => {
                sparse::check(size, &segments, self.data).with_context(shown)?;
                (size, Some(segments))
            }
            None => (if kind == EntryKind::File { self.data } else { 0 }, None),
        };
        let identifier = |field: &str, value: u64| {
            u32::try_from(value)
                .with_context(|| format!("{}: {field} {value} is no user's or group's", shown()))
        };
        let (mtime, mtime_nanos) = match pax.mtime {
            Some(time) => time,
            None => (header.mtime().with_context(shown)?, 0),
        };
        let uid = pax.uid.map_or_else(|| header.uid(), Ok).with_context(shown)?;
        let gid = pax.gid.map_or_else(|| header.gid(), Ok).with_context(shown)?;
        Ok(Entry {
            kind,
            mode: header.mode().with_context(shown)?,
            uid: identifier("owner", uid)?,
            gid: identifier("group", gid)?,
            mtime,
            mtime_nanos,
            attributes: pax.attributes,
            size,
            segments,
            link,
            path,
        })
    }

    /// The size and the pieces of a sparse file, in whichever form they are written.
    fn sparse(&mut self, header: &Header, pax: &mut Pax) -> Result<Option<(u64, Vec<Segment>)>> {
        if header.kind() == b'S' {
            return self.gnu_sparse(header).map(Some);
        }
        let Some(size) = pax.sparse_size else { return Ok(None) };
        if pax.sparse_major == Some(1) {
            let mut taken = 0;
            let mut data = self.stream.by_ref().take(self.data);
            let segments = sparse::read_map(&mut data, &mut taken)?;
            self.position += taken;
            self.data -= taken;
            return Ok(Some((size, segments)));
        }
        Ok(Some((size, std::mem::take(&mut pax.segments))))
    }

    /// GNU's old form: pieces in the header and in blocks behind it.
    fn gnu_sparse(&mut self, header: &Header) -> Result<(u64, Vec<Segment>)> {
        let mut segments = header.sparse_segments()?;
        let mut more = header.sparse_goes_on();
        while more {
            let mut block = [0; BLOCK];
            self.stream.read_exact(&mut block).context("truncated")?;
            self.position += BLOCK as u64;
            more = header::sparse_extension(&block, &mut segments)?;
        }
        Ok((header.sparse_size()?, segments))
    }

    /// The next header block; `None` at the archive's end.
    fn header(&mut self) -> Result<Option<Header>> {
        if self.ended {
            return Ok(None);
        }
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while let Some(rest) = block.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.stream.read(rest) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        // Some writers leave out the two blocks of zeroes.
        if filled == 0 || block == [0; BLOCK] {
            self.ended = true;
            return Ok(None);
        }
        ensure!(filled == BLOCK, "truncated in a header, after {} bytes", self.position + filled as u64);
        self.position += BLOCK as u64;
        Header::new(block).with_context(|| format!("at byte {}", self.position - BLOCK as u64)).map(Some)
    }

    fn begin_data(&mut self, size: u64) -> Result<()> {
        ensure!(size <= i64::MAX as u64, "a size of {size} bytes");
        self.data = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
        Ok(())
    }

    fn skip_rest(&mut self) -> Result<()> {
        if self.data > 0 {
            self.stream.skip(self.data).map_err(|error| truncated(error, self.position))?;
        }
        self.position += self.data;
        match if self.padding > 0 { self.stream.skip(self.padding) } else { Ok(()) } {
            Ok(()) => self.position += self.padding,
            // Some writers end with the last file's data; nothing is missing of what they had to say.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => self.ended = true,
            Err(error) => return Err(error.into()),
        }
        (self.data, self.padding) = (0, 0);
        Ok(())
    }

    /// The data of a header that extends the next one.
    fn extension(&mut self, size: u64, most: u64, what: &str) -> Result<Vec<u8>> {
        ensure!(size <= most, "a {what} of {size} bytes: {most} are the most");
        self.begin_data(size)?;
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn long_name(&mut self, header: &Header) -> Result<Vec<u8>> {
        let mut name = self.extension(header.size()?, MOST_PATH as u64 + BLOCK as u64, "long name")?;
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        name.truncate(end);
        Ok(name)
    }
}

impl<S: Stream> Read for Archive<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.by_ref().take(self.data).read(buffer)?;
        if count == 0 && self.data > 0 && !buffer.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "truncated in the data of a file"));
        }
        self.data -= count as u64;
        self.position += count as u64;
        Ok(count)
    }
}

fn truncated(error: io::Error, position: u64) -> anyhow::Error {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        anyhow::anyhow!("truncated in the data of a file, after byte {position}")
    } else {
        error.into()
    }
}

/// A path as errors show it.
pub(crate) fn shown(path: &[u8]) -> String {
    const MOST: usize = 120;
    let text = String::from_utf8_lossy(path.get(..MOST).unwrap_or(path));
    format!("{text:?}{}", if path.len() > MOST { "…" } else { "" })
}
