//! Reads, unpacks and hashes a layer, each on a thread of its own, beside what writes: decoding sets the pace.

use std::{
    io::{self, BufRead, BufReader, Read},
    mem,
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use anyhow::{Context, Result, anyhow};

use crate::{
    Descriptor, Digest, Progress,
    digest::{Hasher, HashingReader},
    packing::{Limited, Packing},
    source::{check_digest, check_size},
};

const CHUNK: usize = 64 << 10;
/// Chunks on their way between two threads.
const CHUNKS: usize = 32;

/// What is known of an archive when it was read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unpacked {
    /// The digest of the unpacked archive.
    pub(crate) diff_id: Digest,
    /// Bytes of it.
    pub(crate) size: u64,
}

/// Bytes that are read of a blob after an error to see whether it is the promised one at all.
const MOST_LOOK: u64 = 64 << 20;

/// Unpacks the blob that `reader` gives, hands the archive in it to `apply`, and checks the blob against its
/// descriptor, whatever `apply` made of it. `most` is how many bytes the archive may have.
///
/// # Errors
/// The blob cannot be read, is not what its descriptor says, is larger than `most`; or `apply` failed.
pub(crate) fn unpack(
    reader: impl Read + Send,
    descriptor: &Descriptor,
    most: u64,
    progress: &mut dyn Progress,
    apply: impl FnOnce(&mut BufReader<Chunks<'_>>) -> Result<()>,
) -> Result<Unpacked> {
    let done = AtomicU64::new(0);
    let result = thread::scope(|scope| {
        let (packed_sink, packed) = pipe();
        let (unpacked_sink, mut pipe) = pipe();
        // Between the two, what hashes.
        let (sender, hashed) = sync_channel(CHUNKS);
        let unhashed = mem::replace(&mut pipe.receiver, hashed);
        let reading = scope.spawn(|| read(reader, descriptor, &done, packed_sink));
        let unpacking = scope.spawn(move || unpack_to(packed, most, &unpacked_sink));
        let hashing = scope.spawn(move || hash(unhashed, sender));
        let mut chunks = BufReader::with_capacity(CHUNK, Chunks { pipe, done: &done, told: 0, progress });
        // What lies behind the archive's end belongs to the blob.
        let applied = apply(&mut chunks).and_then(|()| Ok(io::copy(&mut chunks, &mut io::sink())?));
        drop(chunks);
        let hashed = hashing.join().map_err(|_| anyhow!("the thread that hashes failed"))?;
        let unpacked = unpacking.join().map_err(|_| anyhow!("the thread that unpacks failed"))?;
        let read = reading.join().map_err(|_| anyhow!("the thread that reads failed"))?;
        // If the blob is not the promised one, that is the cause of whatever else is wrong.
        read?;
        let whole = unpacked?;
        applied?;
        hashed.filter(|_| whole).ok_or_else(|| anyhow!("the archive was not read to its end"))
    });
    result.with_context(|| format!("layer {}", descriptor.digest))
}

/// The first thread: reads a blob, hands it on, and checks it.
fn read(reader: impl Read + Send, descriptor: &Descriptor, done: &AtomicU64, sink: Sink) -> Result<()> {
    // One byte more than promised shows what goes on after its end.
    let reader = Counting { inner: reader.take(descriptor.size.saturating_add(1)), done };
    let mut packed = HashingReader::new(reader);
    let wanted = sink.take_all(&mut packed)?;
    drop(sink);
    // What nobody wants to unpack any more is still worth a look: damage is told as such. But not at any price.
    if !wanted && io::copy(&mut packed.by_ref().take(MOST_LOOK), &mut io::sink())? == MOST_LOOK {
        return Ok(());
    }
    let (digest, size) = packed.finish();
    check_size(size, descriptor)?;
    check_digest(digest, descriptor.digest)
}

/// The second thread: unpacks; whether the archive was wanted to its end.
fn unpack_to(mut packed: Pipe, most: u64, sink: &Sink) -> Result<bool> {
    let packing = Packing::of(packed.fill_buf()?)?;
    let wanted = sink.take_all(&mut Limited::new(packing.unpack(&mut packed), most))?;
    if wanted {
        // What lies behind what was packed belongs to the blob.
        io::copy(&mut packed, &mut io::sink())?;
    }
    Ok(wanted)
}

/// The third thread: hashes the archive on its way; nothing if it was not wanted to its end.
#[expect(clippy::needless_pass_by_value, reason = "that it is dropped tells who reads of the end")]
fn hash(
    receiver: Receiver<io::Result<Vec<u8>>>,
    sender: SyncSender<io::Result<Vec<u8>>>,
) -> Option<Unpacked> {
    let (mut hasher, mut size) = (Hasher::default(), 0_u64);
    for chunk in receiver {
        if let Ok(bytes) = &chunk {
            hasher.bytes(bytes);
            size = size.saturating_add(bytes.len() as u64);
        }
        sender.send(chunk).ok()?;
    }
    Some(Unpacked { diff_id: hasher.finish(), size })
}

/// Shows how much of a blob was read.
struct Counting<'a, R> {
    inner: R,
    done: &'a AtomicU64,
}

impl<R: Read> Read for Counting<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.done.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Bytes on their way from thread to thread.
fn pipe() -> (Sink, Pipe) {
    let (sender, receiver) = sync_channel(CHUNKS);
    let (giver, unused) = sync_channel(CHUNKS);
    (Sink { sender, unused }, Pipe { receiver, giver, chunk: Vec::new(), at: 0 })
}

/// Where bytes enter.
struct Sink {
    sender: SyncSender<io::Result<Vec<u8>>>,
    /// Buffers that were read.
    unused: Receiver<Vec<u8>>,
}

impl Sink {
    /// Sends all that `reader` gives; whether somebody wanted it to its end.
    fn take_all(&self, reader: &mut impl Read) -> io::Result<bool> {
        loop {
            let mut chunk = self.unused.try_recv().unwrap_or_default();
            chunk.clear();
            match reader.by_ref().take(CHUNK as u64).read_to_end(&mut chunk) {
                Ok(0) => return Ok(true),
                Ok(_) if self.sender.send(Ok(chunk)).is_err() => return Ok(false),
                Ok(_) => {}
                Err(error) => {
                    // Who reads need not know more: what is returned here goes before what it makes of this.
                    let _ = self.sender.send(Err(error.kind().into()));
                    return Err(error);
                }
            }
        }
    }
}

/// Where they come out.
struct Pipe {
    receiver: Receiver<io::Result<Vec<u8>>>,
    giver: SyncSender<Vec<u8>>,
    chunk: Vec<u8>,
    at: usize,
}

impl BufRead for Pipe {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.chunk.len() {
            let Ok(next) = self.receiver.recv() else { return Ok(&[]) };
            let empty = mem::replace(&mut self.chunk, next?);
            // A buffer that finds no room is freed.
            let _ = self.giver.try_send(empty);
            self.at = 0;
        }
        Ok(&self.chunk[self.at..])
    }

    fn consume(&mut self, count: usize) {
        self.at = self.chunk.len().min(self.at.saturating_add(count));
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let count = buffer.len().min(bytes.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        self.consume(count);
        Ok(count)
    }
}

/// The unpacked archive, as it comes from the threads.
pub(crate) struct Chunks<'a> {
    pipe: Pipe,
    done: &'a AtomicU64,
    told: u64,
    progress: &'a mut dyn Progress,
}

impl Read for Chunks<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.pipe.read(buffer)?;
        let done = self.done.load(Ordering::Relaxed);
        if done != self.told {
            self.progress.advance(done.saturating_sub(self.told));
            self.told = done;
        }
        Ok(count)
    }
}
