//! Serves all queues of a balloon on one thread.

use std::{
    io,
    ops::Range,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::{Duration, Instant},
};

use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use super::{
    F_REPORTING, F_STATISTICS, Shared,
    pages::{Inflated, PAGE, whole_granules},
    statistics::{self, Statistics},
};
use crate::{
    hypervisor::Reclaimer,
    io::{EventLoop, Ready},
    memory::GuestRam,
    virtio::{Activation, Chain, ConfigInterrupt, FIRST_SOURCE, QueueError, QueueWorker, Virtqueue},
};

/// Rings when the host has another wish.
const HOST: u8 = FIRST_SOURCE;

/// Bytes given back from which on a turn ends: the host's work with them takes time, and a reset waits for it. The last
/// request of a turn may add 4 GiB, the most that a chain can have.
const BYTES_PER_TURN: u64 = 1 << 30;

/// Page numbers of one request that are looked at. Drivers send 256 at a time; what is beyond is not given back.
const MOST_PAGES: u32 = 4096;

/// Bytes of a page number.
const NUMBER: u32 = 4;

/// Complaints come at most so often.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(5);

/// Serves all queues of a balloon.
pub(super) struct Worker {
    numbers: Vec<u16>,
    queues: Vec<(Purpose, Virtqueue)>,
    host: Host,
    inflated: Inflated,
    config_changed: ConfigInterrupt,
    /// The target that the guest was last told of; it knows of 0 without a word.
    told: u32,
    /// The buffer that the driver gets back when the host wants statistics.
    held: Option<u16>,
    shared: Arc<Shared>,
}

/// Who takes what the guest gives.
struct Host {
    name: String,
    ram: GuestRam,
    reclaimer: Arc<dyn Reclaimer>,
    ranges: Vec<Range<u64>>,
    shared: Arc<Shared>,
    /// Bytes given back in this turn.
    in_turn: u64,
    complained: Option<Instant>,
}

/// What a queue is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Inflation,
    Deflation,
    Statistics,
    Reports,
}

impl Purpose {
    /// What queue `number` is for, if anything.
    fn of(number: u16, features: u64) -> Option<Self> {
        let has = |bit: u32| features >> bit & 1 == 1;
        match number {
            0 => Some(Self::Inflation),
            1 => Some(Self::Deflation),
            2 if has(F_STATISTICS) => Some(Self::Statistics),
            _ => has(F_REPORTING).then_some(Self::Reports),
        }
    }
}

impl Worker {
    pub(super) fn new(name: String, shared: Arc<Shared>, with: Activation) -> Self {
        let Activation { ram, reclaimer, features, queues, config_changed } = with;
        let queues: Vec<_> = queues
            .into_iter()
            .flatten()
            .filter_map(|queue| Some((Purpose::of(queue.index(), features)?, queue)))
            .collect();
        let inflated = Inflated::new(reclaimer.granule());
        Self {
            numbers: queues.iter().map(|(_, queue)| queue.index()).collect(),
            queues,
            host: Host {
                name,
                ram,
                reclaimer,
                ranges: Vec::new(),
                shared: Arc::clone(&shared),
                in_turn: 0,
                complained: None,
            },
            inflated,
            config_changed,
            told: 0,
            held: None,
            shared,
        }
    }

    fn tell_target(&mut self) {
        let target = self.shared.target.load(SeqCst);
        if target != self.told {
            self.told = target;
            self.config_changed.fire();
        }
    }
}

impl QueueWorker for Worker {
    fn queues(&self) -> &[u16] {
        &self.numbers
    }

    fn start(&mut self, event_loop: &mut EventLoop) -> io::Result<()> {
        self.shared.set_bell(Some(event_loop.bell(HOST)));
        Ok(())
    }

    fn serve(&mut self, _: Ready, event_loop: &mut EventLoop) -> Result<(), QueueError> {
        self.tell_target();
        self.host.in_turn = 0;
        let Self { queues, host, inflated, held, shared, .. } = self;
        for (purpose, queue) in queues {
            queue.disable_doorbell()?;
            for _ in 0..queue.size() {
                if host.in_turn >= BYTES_PER_TURN {
                    break;
                }
                let Some(chain) = queue.pop()? else { break };
                let mut done = Some(chain.head());
                match purpose {
                    Purpose::Inflation => host.inflate(&chain, inflated),
                    Purpose::Deflation => host.deflate(&chain, inflated),
                    // There is one buffer, which the device keeps until it wants to hear more (5.5.6.3).
                    Purpose::Statistics => {
                        shared.hear(Some(host.statistics(&chain)));
                        done = held.replace(chain.head());
                    }
                    // The content of free pages must stay what the guest fills them with (5.5.6.5).
                    Purpose::Reports if shared.poison.load(SeqCst) != 0 => {}
                    Purpose::Reports => host.report(&chain),
                }
                if let Some(head) = done {
                    queue.push(head, 0)?;
                }
                queue.recycle(chain);
            }
            if *purpose == Purpose::Statistics
                && held.is_some()
                && shared.asked.swap(false, SeqCst)
                && let Some(head) = held.take()
            {
                queue.push(head, 0)?;
            }
            queue.signal()?;
            if queue.enable_doorbell()? {
                event_loop.bell(u8::try_from(queue.index()).unwrap_or_default()).ring();
            }
        }
        Ok(())
    }
}

impl Host {
    fn inflate(&mut self, chain: &Chain, inflated: &mut Inflated) {
        let Self { ram, ranges, .. } = self;
        each_page(ram, chain, |page| ranges.extend(inflated.insert(page)));
        self.give_back();
    }

    fn deflate(&self, chain: &Chain, inflated: &mut Inflated) {
        each_page(&self.ram, chain, |page| inflated.remove(page));
    }

    /// The chain's buffers are free pages themselves.
    fn report(&mut self, chain: &Chain) {
        let free = chain.writable().iter();
        self.ranges.extend(free.map(|part| part.address.0..part.address.0.saturating_add(part.len.into())));
        self.give_back();
    }

    fn statistics(&self, chain: &Chain) -> Statistics {
        let mut buffer = [0; statistics::MOST_BYTES];
        let read = chain.read_at(&self.ram, 0, &mut buffer);
        Statistics::parse(buffer.split_at(read).0)
    }

    /// Gives `ranges` back and forgets them. What the host refuses stays with the guest, which is no worse for it.
    fn give_back(&mut self) {
        whole_granules(&mut self.ranges, self.reclaimer.granule());
        for mut range in std::mem::take(&mut self.ranges) {
            // One region at a time.
            while let Some(region) = self.ram.find_region(GuestAddress(range.start)) {
                let end = range.end.min(region.last_addr().0.saturating_add(1));
                match self.reclaimer.reclaim(range.start..end) {
                    Ok(()) => {
                        self.in_turn += end - range.start;
                        self.shared.reclaimed.fetch_add(end - range.start, SeqCst);
                    }
                    Err(error) => complain(&mut self.complained, &self.name, &error),
                }
                range.start = end;
                if range.is_empty() {
                    break;
                }
            }
        }
    }
}

/// Hands each page number of a request to `act`, if there is such a page of RAM.
fn each_page(ram: &GuestRam, chain: &Chain, mut act: impl FnMut(u32)) {
    let mut buffer = [0; 1024];
    let end = chain.readable_len().min(MOST_PAGES * NUMBER);
    let mut offset = 0;
    while offset < end {
        let read = chain.read_at(ram, offset, &mut buffer).min((end - offset) as usize);
        if read == 0 {
            return;
        }
        let (numbers, _) = buffer.split_at(read).0.as_chunks();
        for number in numbers {
            let page = u32::from_le_bytes(*number);
            if ram.address_in_range(GuestAddress(u64::from(page) * PAGE)) {
                act(page);
            }
        }
        // At most the buffer's size.
        offset += u32::try_from(read).unwrap_or(NUMBER);
    }
}

/// One line now and then: a host that refuses once will refuse again.
fn complain(complained: &mut Option<Instant>, name: &str, error: &dyn std::fmt::Display) {
    if complained.is_none_or(|at| at.elapsed() >= COMPLAINT_INTERVAL) {
        *complained = Some(Instant::now());
        tracing::warn!("{name}: {error}; the host does not get the guest's free memory back");
    }
}
