//! Unpacks a layer on one thread and hashes the archive in it on another: neither waits for what writes.

use std::{
    io::{self, BufReader, Read},
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
        let (sender, receiver) = sync_channel(CHUNKS);
        let (giver, unused) = sync_channel(CHUNKS);
        let (unhashed, to_hash) = sync_channel(CHUNKS);
        let reading = scope.spawn(|| read(reader, descriptor, most, &done, unhashed, unused));
        let hashing = scope.spawn(|| hash(to_hash, sender));
        let chunks = Chunks { receiver, giver, chunk: Vec::new(), at: 0, done: &done, told: 0, progress };
        let mut chunks = BufReader::with_capacity(CHUNK, chunks);
        // What lies behind the archive's end belongs to the blob.
        let applied = apply(&mut chunks).and_then(|()| Ok(io::copy(&mut chunks, &mut io::sink())?));
        drop(chunks);
        let hashed = hashing.join().map_err(|_| anyhow!("the thread that hashes failed"))?;
        let read = reading.join().map_err(|_| anyhow!("the thread that unpacks failed"))?;
        // If the blob is not the promised one, that is the cause of whatever else is wrong.
        match (read, applied) {
            (Err(error), _) | (_, Err(error)) => Err(error),
            (Ok(whole), Ok(_)) => {
                hashed.filter(|_| whole).ok_or_else(|| anyhow!("the archive was not read to its end"))
            }
        }
    });
    result.with_context(|| format!("layer {}", descriptor.digest))
}

/// The first thread: reads, checks and unpacks a blob; whether the archive was wanted to its end.
fn read(
    reader: impl Read + Send,
    descriptor: &Descriptor,
    most: u64,
    done: &AtomicU64,
    sender: SyncSender<io::Result<Vec<u8>>>,
    unused: Receiver<Vec<u8>>,
) -> Result<bool> {
    // One byte more than promised shows what goes on after its end.
    let reader = Counting { inner: reader.take(descriptor.size.saturating_add(1)), done };
    let mut packed = BufReader::with_capacity(CHUNK, HashingReader::new(reader));
    let unpacked = unpack_to(&mut packed, most, &sender, &unused);
    drop((sender, unused));
    // What nobody wants to unpack any more is still worth a look: damage is told as such. But not at any price.
    let most = if matches!(unpacked, Ok(true)) { u64::MAX } else { MOST_LOOK };
    let looked = io::copy(&mut packed.by_ref().take(most), &mut io::sink())?;
    if looked == most {
        return unpacked;
    }
    let (digest, size) = packed.into_inner().finish();
    check_size(size, descriptor)?;
    check_digest(digest, descriptor.digest)?;
    unpacked
}

fn unpack_to(
    packed: &mut (impl io::BufRead + Send),
    most: u64,
    sender: &SyncSender<io::Result<Vec<u8>>>,
    unused: &Receiver<Vec<u8>>,
) -> Result<bool> {
    let packing = Packing::of(packed.fill_buf()?)?;
    let mut archive = Limited::new(packing.unpack(packed), most);
    loop {
        let mut chunk = unused.try_recv().unwrap_or_default();
        chunk.clear();
        match archive.by_ref().take(CHUNK as u64).read_to_end(&mut chunk) {
            Ok(0) => return Ok(true),
            Ok(_) if sender.send(Ok(chunk)).is_err() => return Ok(false),
            Ok(_) => {}
            Err(error) => {
                // Who reads need not know more: what is returned here goes before what it makes of this.
                let _ = sender.send(Err(error.kind().into()));
                return Err(error.into());
            }
        }
    }
}

/// The second thread: hashes the archive on its way; nothing if it was not wanted to its end.
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

/// The unpacked archive, as the thread sends it.
pub(crate) struct Chunks<'a> {
    receiver: Receiver<io::Result<Vec<u8>>>,
    giver: SyncSender<Vec<u8>>,
    chunk: Vec<u8>,
    at: usize,
    done: &'a AtomicU64,
    told: u64,
    progress: &'a mut dyn Progress,
}

impl Read for Chunks<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.chunk.len() {
            let Ok(next) = self.receiver.recv() else { return Ok(0) };
            let empty = std::mem::replace(&mut self.chunk, next?);
            // A buffer that finds no room is freed.
            let _ = self.giver.try_send(empty);
            self.at = 0;
            let done = self.done.load(Ordering::Relaxed);
            self.progress.advance(done.saturating_sub(self.told));
            self.told = done;
        }
        let count = buffer.len().min(self.chunk.len() - self.at);
        buffer[..count].copy_from_slice(&self.chunk[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
