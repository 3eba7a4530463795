//! Serves one request queue of a block device: requests in batches, runs of the disk in one go.

use std::{
    io, mem,
    sync::Arc,
    time::{Duration, Instant},
};

use vm_memory::{Bytes, GuestMemoryBackend};

use super::request::{self, Action, Lists, Request, SERIAL_LEN, Status};
use crate::{
    block::BlockBackend,
    io::{EventLoop, RateLimiter, Ready},
    memory::{GuestBuffer, GuestRam},
    virtio::{QueueError, QueueWorker, Virtqueue, look_out::LookOut},
};

/// Requests taken before any is answered: enough to find runs and to spare interrupts, few enough that
/// the driver goes on preparing others meanwhile.
const BATCH: usize = 16;

/// Buffers of a batch from which on no more requests are taken.
const BATCH_SEGMENTS: usize = 1024;

/// Seconds between two complaints about the same disk.
const COMPLAINT_INTERVAL: u64 = 5;

/// Serves one request queue.
pub(super) struct Worker {
    queue: [u16; 1],
    virtqueue: Virtqueue,
    server: Server,
    requests: Vec<Request>,
    lists: Lists,
    /// Answered requests of the batch: head, and bytes written.
    done: Vec<(u16, u32)>,
    look_out: LookOut,
    limiter: Option<Arc<RateLimiter>>,
    /// When the last of `requests` may be done, which has no tokens yet.
    due: Option<Duration>,
}

/// What requests are done with.
struct Server {
    name: String,
    ram: GuestRam,
    serial: [u8; SERIAL_LEN as usize],
    disk: Arc<dyn BlockBackend>,
    limits: request::Limits,
    /// Every write is durable before it is answered.
    write_through: bool,
    complained: Option<Instant>,
}

impl Worker {
    pub(super) fn new(
        name: String,
        serial: [u8; SERIAL_LEN as usize],
        disk: Arc<dyn BlockBackend>,
        virtqueue: Virtqueue,
        limits: request::Limits,
        write_through: bool,
    ) -> Self {
        let ram = Arc::clone(virtqueue.ram());
        Self {
            queue: [virtqueue.index()],
            virtqueue,
            server: Server { name, ram, serial, disk, limits, write_through, complained: None },
            requests: Vec::new(),
            lists: Lists::default(),
            done: Vec::new(),
            look_out: LookOut::new(),
            limiter: None,
            due: None,
        }
    }

    /// Does no more than `limiter` lets pass.
    pub(super) fn limited(self, limiter: Arc<RateLimiter>) -> Self {
        Self { limiter: Some(limiter), ..self }
    }

    /// Takes the next batch; says how many requests it has. One without tokens is its last.
    fn take(&mut self) -> Result<usize, QueueError> {
        self.requests.clear();
        self.lists.clear();
        while self.requests.len() < BATCH && self.lists.segments.len() < BATCH_SEGMENTS {
            let Some(chain) = self.virtqueue.pop()? else { break };
            let request = request::parse(&chain, &self.server.ram, &self.server.limits, &mut self.lists)
                .map_err(|error| self.virtqueue.error(error.to_string()))?;
            self.virtqueue.recycle(chain);
            if let Some(limiter) = &self.limiter
                && let Some(bytes) = request.cost(&self.lists)
            {
                self.due = limiter.reserve(bytes);
            }
            self.requests.push(request);
            if self.due.is_some() {
                break;
            }
        }
        Ok(self.requests.len())
    }

    /// Does the batch, run by run, and answers it, but for the request that has no tokens yet.
    fn answer(&mut self) -> Result<(), QueueError> {
        let mut requests = mem::take(&mut self.requests);
        let waits = self.due.and_then(|_| requests.pop());
        let mut rest = &requests[..];
        while let Some(length) = run_length(rest) {
            let (run, after) = rest.split_at(length);
            let done = self.server.transfer(run, &self.lists);
            for request in run {
                let status = match &done {
                    Some(Ok(())) => Status::Ok,
                    // Which of them failed is found by doing each alone.
                    _ => self.server.serve(request, &self.lists),
                };
                let written = self.finish(request, status)?;
                self.done.push((request.head, written));
            }
            rest = after;
        }
        requests.clear();
        requests.extend(waits);
        self.requests = requests;
        // All at once: the driver reads the ring, and each change takes its cache line from the driver's core.
        for (head, written) in self.done.drain(..) {
            self.virtqueue.push(head, written)?;
        }
        self.virtqueue.signal()
    }

    /// Writes the status byte; says how many bytes of the chain were written.
    fn finish(&self, request: &Request, status: Status) -> Result<u32, QueueError> {
        self.server
            .ram
            .get_slice(request.status, 1)
            .and_then(|byte| Ok(byte.write_obj(status as u8, 0)?))
            .map_err(|error| self.virtqueue.error(error.to_string()))?;
        Ok(match request.action {
            // Bytes written at the start of the buffers (2.7.8.2): the status byte counts if nothing is left out before it.
            Action::Identify if status == Status::Ok && request.len > SERIAL_LEN => SERIAL_LEN,
            Action::Read(_) | Action::Identify if status == Status::Ok => request.len + 1,
            Action::Read(_) | Action::Identify => u32::from(request.len == 0),
            _ => 1,
        })
    }
}

impl QueueWorker for Worker {
    fn queues(&self) -> &[u16] {
        &self.queue
    }

    fn serve(&mut self, _: Ready, event_loop: &mut EventLoop) -> Result<(), QueueError> {
        if let (Some(limiter), Some(due)) = (&self.limiter, self.due) {
            if limiter.until(due).is_some() {
                return Ok(());
            }
            self.due = None;
            self.answer()?;
        }
        let mut left = usize::from(self.virtqueue.size());
        self.virtqueue.disable_doorbell()?;
        loop {
            while left > 0 {
                let taken = self.take()?;
                if taken == 0 {
                    break;
                }
                self.answer()?;
                if self.due.is_some() {
                    // Its time brings us back; a doorbell would only disturb.
                    return Ok(());
                }
                left = left.saturating_sub(taken);
            }
            if left == 0 {
                // Others may want this thread; the queue's own bell brings it back.
                event_loop.bell(u8::try_from(self.queue[0]).unwrap_or_default()).ring();
                return Ok(());
            }
            if self.look_out.look(|| self.virtqueue.has_available()) {
                continue;
            }
            if !self.virtqueue.enable_doorbell()? {
                return Ok(());
            }
            self.virtqueue.disable_doorbell()?;
        }
    }

    /// Until the request that waits has its tokens.
    fn patience(&self) -> Option<Duration> {
        let (limiter, due) = (self.limiter.as_ref()?, self.due?);
        Some(limiter.until(due).unwrap_or_default())
    }
}

/// How many of the first requests are one run: all reads or all writes, each where the one before ended.
fn run_length(requests: &[Request]) -> Option<usize> {
    let (first, rest) = requests.split_first()?;
    let mut previous = first;
    let same = rest.iter().take_while(|next| {
        let follows = match (&previous.action, &next.action) {
            (Action::Read(from), Action::Read(to)) | (Action::Write(from), Action::Write(to)) => {
                from + u64::from(previous.len) == *to
            }
            _ => false,
        };
        previous = next;
        follows
    });
    Some(1 + same.count())
}

impl Server {
    /// Does a run in one go if it is several reads or writes.
    fn transfer(&self, run: &[Request], lists: &Lists) -> Option<io::Result<()>> {
        let [first, .., last] = run else { return None };
        // The buffers of requests that follow each other do so too.
        let data = first.data.start..last.data.end;
        let buffer = GuestBuffer { ram: &self.ram, segments: lists.segments.get(data)? };
        match first.action {
            Action::Read(offset) => Some(self.disk.read_at(offset, buffer)),
            Action::Write(offset) => Some(self.write(|disk| disk.write_at(offset, buffer))),
            _ => None,
        }
    }

    fn write(&self, change: impl FnOnce(&dyn BlockBackend) -> io::Result<()>) -> io::Result<()> {
        change(&*self.disk)?;
        if self.write_through { self.disk.flush() } else { Ok(()) }
    }

    /// Does one request.
    fn serve(&mut self, request: &Request, lists: &Lists) -> Status {
        let segments = lists.segments.get(request.data.clone()).unwrap_or_default();
        let buffer = GuestBuffer { ram: &self.ram, segments };
        let ranges = |range: &std::ops::Range<usize>| lists.ranges.get(range.clone()).unwrap_or_default();
        let done = match &request.action {
            Action::Read(offset) => self.disk.read_at(*offset, buffer),
            Action::Write(offset) => self.write(|disk| disk.write_at(*offset, buffer)),
            Action::Flush => self.disk.flush(),
            Action::Identify => buffer.copy_from(&self.serial).map(drop),
            Action::Discard(which) => {
                ranges(which).iter().try_for_each(|range| self.disk.discard(range.bytes.clone()))
            }
            Action::WriteZeroes(which) => self.write(|disk| {
                ranges(which).iter().try_for_each(|range| disk.write_zeroes(range.bytes.clone(), range.unmap))
            }),
            Action::Refuse(status) => return *status,
        };
        match done {
            Ok(()) => Status::Ok,
            Err(error) => {
                self.complain(&request.action, &error);
                Status::IoError
            }
        }
    }

    /// One line now and then: a guest that meets a full disk asks again and again.
    fn complain(&mut self, action: &Action, error: &io::Error) {
        if self.complained.is_none_or(|at| at.elapsed().as_secs() >= COMPLAINT_INTERVAL) {
            self.complained = Some(Instant::now());
            tracing::warn!(
                "{}: {action:?} failed on the host: {error}; the guest sees an I/O error",
                self.name
            );
        }
    }
}
