//! A virtqueue whose driver stores anything anywhere.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use hv_core::{
    memory::GuestRam,
    virtio::{
        Chain, QueueInterrupt, Virtqueue,
        queue::{InterruptSink, QueueLayout},
    },
};

use crate::{
    Input,
    ram::{self, Snapshot},
    rings::{Descriptor, INDIRECT, NEXT, Rings, WRITE},
};

/// Counts interrupts.
#[derive(Default)]
struct Sink(AtomicU32);

impl InterruptSink for Sink {
    fn queue_used(&self, _: u16) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn config_changed(&self) {
        panic!("a virtqueue has no configuration");
    }
}

struct Target {
    ram: GuestRam,
    layout: QueueLayout,
    rings: Rings,
    queue: Virtqueue,
    sink: Arc<Sink>,
    chains: VecDeque<Chain>,
    pushed: bool,
}

/// Descriptors, rings and calls in any order.
///
/// A chain is what a simple model of the protocol reads, and lies in RAM. The device changes nothing but the used ring
/// and the writable buffers of a chain it was given. Before the driver stores again, chains come at most twice as often
/// as the ring holds: by the available index as it was read before, and by what it is now. Interrupts come only after
/// something was given back.
///
/// # Panics
/// The virtqueue breaks one of these.
pub fn virtqueue(data: &[u8]) {
    let mut input = Input::new(data);
    let Some(mut target) = Target::new(&mut input) else { return };
    while !input.is_empty() {
        match input.u8() % 8 {
            0..=3 => target.rings.scribble(&target.ram, &mut input),
            4 => target.pop_some(&mut input),
            5 => target.write(&mut input),
            6 => target.push(&mut input),
            _ => target.signal(&mut input),
        }
    }
}

impl Target {
    fn new(input: &mut Input<'_>) -> Option<Self> {
        let ram = ram::two_pieces();
        let max_size = 1 << input.below(7);
        let size = if input.flag() { max_size } else { u16::try_from(input.number() & 0xffff).unwrap() };
        let rings = if input.u8() < 0xe0 { Rings::orderly(0, size) } else { Rings::any(input, size) };
        let layout = QueueLayout {
            index: 0,
            max_size,
            size,
            descriptors: rings.descriptors,
            available: rings.available,
            used: rings.used,
            event_idx: input.flag(),
            indirect: input.flag(),
        };
        let sink = Arc::new(Sink::default());
        let interrupt = QueueInterrupt::new(sink.clone(), 0);
        let queue = Virtqueue::new(Arc::clone(&ram), layout, interrupt);
        assert_eq!(layout.check(&ram).is_ok(), queue.is_ok());
        assert!(queue.is_err() || size.is_power_of_two() && size <= max_size);
        let queue = queue.ok()?;
        Some(Self { ram, layout, rings, queue, sink, chains: VecDeque::new(), pushed: false })
    }

    /// The used ring with its event field.
    fn used(&self) -> Range<u64> {
        self.layout.used..self.layout.used + 6 + 8 * u64::from(self.layout.size)
    }

    /// Pops once, or until the ring is empty.
    fn pop_some(&mut self, input: &mut Input<'_>) {
        let all = input.u8() == 0;
        let mut taken = 0;
        while self.pop() && all {
            taken += 1;
            assert!(taken <= 2 * u32::from(self.layout.size), "more chains than the ring holds");
        }
    }

    /// True if a chain came.
    fn pop(&mut self) -> bool {
        let before = Snapshot::of(&self.ram);
        let popped = self.queue.pop();
        before.assert_same(&self.ram, &[], "pop");
        match popped {
            Ok(Some(chain)) => {
                let buffers = model(&self.ram, &self.layout, chain.head()).expect("a chain of the protocol");
                let segments = |segments: &[hv_core::memory::Segment], writable| {
                    segments.iter().map(|s| (s.address.0, s.len, writable)).collect::<Vec<_>>()
                };
                let chained = [segments(chain.readable(), false), segments(chain.writable(), true)].concat();
                assert_eq!(chained, buffers);
                assert!(chained.iter().all(|(address, len, _)| ram::holds(
                    &self.ram,
                    *address,
                    (*len).into()
                )));
                let sum = |writable| -> u64 {
                    chained.iter().filter(|it| it.2 == writable).map(|it| u64::from(it.1)).sum()
                };
                assert_eq!(
                    (u64::from(chain.readable_len()), u64::from(chain.writable_len())),
                    (sum(false), sum(true))
                );
                self.chains.push_back(chain);
                true
            }
            Ok(None) => false,
            Err(error) => {
                assert!(!error.to_string().contains('\n'));
                false
            }
        }
    }

    /// Writes to a chain's buffers.
    fn write(&mut self, input: &mut Input<'_>) {
        let Some(chain) = self.chains.back() else { return };
        let before = Snapshot::of(&self.ram);
        let offset = u32::from(input.u8());
        let bytes = vec![0xee; usize::from(input.u16())];
        let written = chain.write_at(&self.ram, offset, &bytes);
        let room = (chain.writable_len().saturating_sub(offset)) as usize;
        assert_eq!(written, room.min(bytes.len()));
        let writable = chain.writable().iter();
        let allowed: Vec<_> = writable.map(|s| s.address.0..s.address.0 + u64::from(s.len)).collect();
        before.assert_same(&self.ram, &allowed, "write_at");
        let mut bytes = vec![0; bytes.len()];
        let read = chain.read_at(&self.ram, offset, &mut bytes);
        assert_eq!(read, bytes.len().min(chain.readable_len().saturating_sub(offset) as usize));
    }

    fn push(&mut self, input: &mut Input<'_>) {
        let before = Snapshot::of(&self.ram);
        let chain = self.chains.pop_front();
        let head = match &chain {
            Some(chain) if input.u8() < 0xf0 => chain.head(),
            _ => input.u16(),
        };
        let pushed = self.queue.push(head, input.u32());
        assert_eq!(pushed.is_ok(), head < self.layout.size, "descriptor {head}");
        self.pushed = true;
        // The driver sees nothing of it before the signal.
        let entries = self.layout.used + 4..self.used().end - 2;
        before.assert_same(&self.ram, &[entries], "push");
        if let Some(chain) = chain {
            self.queue.recycle(chain);
        }
    }

    fn signal(&mut self, input: &mut Input<'_>) {
        let before = Snapshot::of(&self.ram);
        let interrupts = self.sink.0.load(Ordering::Relaxed);
        match input.u8() % 3 {
            0 => {
                let _ = self.queue.signal();
                let new = self.sink.0.load(Ordering::Relaxed) - interrupts;
                assert!(new <= u32::from(self.pushed), "an interrupt for nothing");
                self.pushed = false;
            }
            1 => drop(self.queue.enable_doorbell()),
            _ => drop(self.queue.disable_doorbell()),
        }
        before.assert_same(&self.ram, &[self.used()], "signal or doorbell");
    }
}

/// What the chain at `head` is by the protocol (VIRTIO 1.2, 2.7.5): address, size, writable; nothing if it breaks it.
fn model(ram: &GuestRam, layout: &QueueLayout, head: u16) -> Option<Vec<(u64, u32, bool)>> {
    let (mut table, mut len, mut indirect) = (layout.descriptors, u32::from(layout.size), false);
    let (mut buffers, mut sum, mut next) = (Vec::<(u64, u32, bool)>::new(), 0_u64, head);
    // The longest: all descriptors but one, and one for an indirect table.
    for _ in 0..=layout.max_size {
        if u32::from(next) >= len {
            return None;
        }
        let it = Descriptor::read(ram, table, next)?;
        if it.flags & INDIRECT != 0 {
            if indirect || !layout.indirect || it.flags & NEXT != 0 || it.len == 0 || it.len % 16 != 0 {
                return None;
            }
            (table, len, indirect, next) = (it.address, it.len / 16, true, 0);
            continue;
        }
        let writable = it.flags & WRITE != 0;
        if !writable && buffers.last().is_some_and(|last| last.2) {
            return None;
        }
        sum += u64::from(it.len);
        if it.len != 0 {
            buffers.push((it.address, it.len, writable));
        }
        if it.flags & NEXT == 0 {
            return (sum <= u32::MAX.into()).then_some(buffers);
        }
        next = it.next;
    }
    None
}
