//! A virtio device behind a transport, without threads: its workers serve on the thread that tells them to.

use std::{
    cell::Cell,
    io,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hv_core::{
    block::{BlockBackend, SECTOR_SIZE},
    bus::Bus,
    chardev::{CharSink, Full, Input, TerminalSize, Wake},
    device::Device,
    io::{EventLoop, NoDoorbellHost, Ready, Threads},
    memory::{GuestBuffer, GuestRam},
    testing::{RecordingChip, SoftReclaimer},
    virtio::{
        Activation, FIRST_SOURCE, Kind, QueueWorker, VirtioDevice,
        block::Block,
        console::{Console, HostPort},
        endpoint::Surroundings,
        entropy::Entropy,
        negotiation::TRANSPORT_FEATURES,
    },
};

use crate::ram;

/// What a target puts behind a transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Model {
    Block,
    Entropy,
    /// With one port beside the terminal, thus control messages.
    Console,
}

impl Model {
    pub(crate) const ALL: [Self; 3] = [Self::Block, Self::Entropy, Self::Console];

    /// The features it offers.
    pub(crate) fn features(self) -> u64 {
        let ram = ram::two_pieces();
        self.device(Meddler::new(&ram, false)).features() | TRANSPORT_FEATURES
    }

    /// How many virtqueues it has.
    pub(crate) fn queues(self) -> u16 {
        match self {
            Self::Block => 2,
            Self::Entropy => 1,
            Self::Console => 6,
        }
    }

    /// The device, whose host side does what `meddler` does.
    fn device(self, meddler: Meddler) -> Box<dyn VirtioDevice> {
        match self {
            Self::Block => {
                let disk = Disk { bytes: Mutex::new(vec![0x77; DISK]), meddler };
                Box::new(Block::new("disk0", "fuzz", Arc::new(disk), 2))
            }
            Self::Entropy => Box::new(Entropy::new("rng0", Box::new(Generator(meddler)))),
            Self::Console => {
                let meddler = Arc::new(meddler);
                let port = |name: &str| {
                    let (sink, input) = (Terminal { meddler: Arc::clone(&meddler), writes: 0 }, Input::new());
                    input.offer(&[b'i'; 5000]);
                    HostPort { name: name.into(), sink: Box::new(sink), input }
                };
                let (device, handle) = Console::new("console0", port(""), vec![port("org.hv.fuzz")]);
                handle.resize(TerminalSize { columns: 80, rows: 25 });
                Box::new(device)
            }
        }
    }
}

/// One device with its transport.
pub(crate) struct Machine {
    pub(crate) ram: GuestRam,
    pub(crate) bus: Arc<Bus>,
    pub(crate) chip: Arc<RecordingChip>,
    /// What the machine pauses and resets.
    pub(crate) device: Arc<dyn Device>,
    workers: Crew,
}

/// Puts a device behind a transport and on a bus.
pub(crate) trait Connect:
    FnOnce(Box<dyn VirtioDevice>, Surroundings, Arc<RecordingChip>, &mut Bus) -> Arc<dyn Device>
{
}

impl<T> Connect for T where
    T: FnOnce(Box<dyn VirtioDevice>, Surroundings, Arc<RecordingChip>, &mut Bus) -> Arc<dyn Device>
{
}

/// The workers of an active device.
type Crew = Arc<Mutex<Vec<Served>>>;

struct Served {
    worker: Box<dyn QueueWorker>,
    event_loop: EventLoop,
    started: bool,
    failed: bool,
}

/// A device whose workers go to a crew instead of to threads.
struct Inline {
    device: Box<dyn VirtioDevice>,
    crew: Crew,
}

/// A driver whose rings overlap keeps a worker busy for ever; nobody waits for that.
const MOST_TURNS: usize = 8;

/// Calls of the host's side in one turn: a turn takes a queue's size of requests and a batch, each of at most 16 ranges.
const MOST_EFFORT: u32 = (256 + 32) * 17;

thread_local! {
    /// Calls of the host's side in this turn.
    static EFFORT: Cell<u32> = const { Cell::new(0) };
}

impl Machine {
    /// `model` behind what `connect` makes of it; RAM may change under the hands of the host's side.
    pub(crate) fn new(model: Model, meddles: bool, connect: impl Connect) -> Self {
        let ram = ram::two_pieces();
        let device = model.device(Meddler::new(&ram, meddles));
        Self::of(ram, device, connect)
    }

    /// `device` on `ram` behind what `connect` makes of it.
    pub(crate) fn of(ram: GuestRam, device: Box<dyn VirtioDevice>, connect: impl Connect) -> Self {
        let (chip, crew) = (Arc::new(RecordingChip::default()), Crew::default());
        let device = Box::new(Inline { device, crew: Arc::clone(&crew) });
        let surroundings = Surroundings {
            ram: Arc::clone(&ram),
            doorbells: Arc::new(NoDoorbellHost),
            reclaimer: Arc::new(SoftReclaimer::new(Arc::clone(&ram), 4096)),
            threads: Threads::of_any_kind(),
        };
        let mut bus = Bus::default();
        let device = connect(device, surroundings, Arc::clone(&chip), &mut bus);
        Self { ram, bus: Arc::new(bus), chip, device, workers: crew }
    }

    /// Has every worker serve until it is idle, or long enough.
    ///
    /// # Panics
    /// One turn of it is without bound.
    pub(crate) fn serve(&self) {
        for served in self.workers.lock().unwrap().iter_mut() {
            for _ in 0..MOST_TURNS {
                EFFORT.set(0);
                let more = served.turn();
                assert!(EFFORT.get() <= MOST_EFFORT, "{} calls in one turn", EFFORT.get());
                if !more {
                    break;
                }
            }
        }
    }

    /// How many workers are active.
    pub(crate) fn workers(&self) -> usize {
        self.workers.lock().unwrap().len()
    }
}

impl Served {
    /// Serves what is ready, once, as a worker's thread does; false if nothing is.
    fn turn(&mut self) -> bool {
        if self.failed {
            return false;
        }
        let own = self.worker.queues().iter().fold(0, |all, queue| all | 1 << queue);
        let ready = if self.started {
            self.event_loop.turn(Some(Duration::ZERO)).expect("an event loop turns")
        } else {
            Ready::from_bits(own | !0 << FIRST_SOURCE & !(1 << 63))
        };
        self.started = true;
        if ready.is_empty() {
            return false;
        }
        if let Err(error) = self.worker.serve(ready, &mut self.event_loop) {
            assert!(!error.to_string().contains('\n'));
            self.failed = true;
        }
        !self.failed
    }

    /// As if the doorbells of all its queues had been rung.
    fn ring(&mut self) {
        for queue in self.worker.queues() {
            self.event_loop.bell(u8::try_from(*queue).expect("few queues")).ring();
        }
    }
}

/// Rings all doorbells.
pub(crate) fn ring(machine: &Machine) {
    machine.workers.lock().unwrap().iter_mut().for_each(Served::ring);
}

impl VirtioDevice for Inline {
    fn kind(&self) -> Kind {
        self.device.kind()
    }

    fn name(&self) -> &str {
        self.device.name()
    }

    fn features(&self) -> u64 {
        self.device.features()
    }

    fn queue_sizes(&self) -> &[u16] {
        self.device.queue_sizes()
    }

    fn read_config(&self, offset: usize, data: &mut [u8]) {
        self.device.read_config(offset, data);
    }

    fn write_config(&mut self, offset: usize, data: &[u8]) {
        self.device.write_config(offset, data);
    }

    fn activate(&mut self, with: Activation) -> anyhow::Result<Vec<Box<dyn QueueWorker>>> {
        let mut crew = self.crew.lock().unwrap();
        assert!(crew.is_empty(), "activated twice");
        for mut worker in self.device.activate(with)? {
            let mut event_loop = EventLoop::new()?;
            worker.start(&mut event_loop)?;
            crew.push(Served { worker, event_loop, started: false, failed: false });
        }
        Ok(Vec::new())
    }

    fn reset(&mut self) {
        self.crew.lock().unwrap().clear();
        self.device.reset();
    }
}

const DISK: usize = 64 << 10;

/// What another vCPU may do to the rings while the host's side is at work.
struct Meddler {
    ram: GuestRam,
    meddles: bool,
    calls: AtomicU64,
}

impl Meddler {
    fn new(ram: &GuestRam, meddles: bool) -> Self {
        Self { ram: Arc::clone(ram), meddles, calls: AtomicU64::new(0) }
    }

    /// Counts a call of the host's side, and meddles.
    fn call(&self) {
        EFFORT.set(EFFORT.get() + 1);
        if self.meddles {
            let calls = self.calls.fetch_add(1, Ordering::Relaxed);
            let luck = calls.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            ram::store(&self.ram, luck >> 40 & 0x1ffe, &luck.to_le_bytes()[..2]);
        }
    }
}

/// A host's terminal, which is full now and then.
struct Terminal {
    meddler: Arc<Meddler>,
    writes: u32,
}

impl CharSink for Terminal {
    fn write(&mut self, _: &[u8]) -> Result<(), Full> {
        self.meddler.call();
        self.writes += 1;
        if self.writes.is_multiple_of(7) { Err(Full) } else { Ok(()) }
    }

    fn on_room(&mut self, _: Wake) {}
}

/// A host's random numbers.
struct Generator(Meddler);

impl io::Read for Generator {
    fn read(&mut self, data: &mut [u8]) -> io::Result<usize> {
        self.0.call();
        data.fill(0x3c);
        Ok(data.len())
    }
}

/// A disk in RAM that checks what it is asked.
struct Disk {
    bytes: Mutex<Vec<u8>>,
    meddler: Meddler,
}

impl Disk {
    fn range(&self, range: Range<u64>) -> Range<usize> {
        self.meddler.call();
        assert!(range.start <= range.end && range.end <= self.capacity(), "{range:?} is beyond the disk");
        assert_eq!((range.start % SECTOR_SIZE, range.end % SECTOR_SIZE), (0, 0), "whole sectors");
        usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()
    }

    fn zero(&self, range: Range<u64>) {
        let range = self.range(range);
        self.bytes.lock().unwrap()[range].fill(0);
    }
}

impl BlockBackend for Disk {
    fn capacity(&self) -> u64 {
        DISK as u64
    }

    fn read_only(&self) -> bool {
        false
    }

    fn read_at(&self, offset: u64, buffer: GuestBuffer<'_>) -> io::Result<()> {
        let range = self.range(offset..offset + buffer.len());
        buffer.copy_from(&self.bytes.lock().unwrap()[range]).map(drop)
    }

    fn write_at(&self, offset: u64, buffer: GuestBuffer<'_>) -> io::Result<()> {
        let range = self.range(offset..offset + buffer.len());
        buffer.copy_to(&mut self.bytes.lock().unwrap()[range]).map(drop)
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn discard(&self, range: Range<u64>) -> io::Result<()> {
        self.zero(range);
        Ok(())
    }

    fn write_zeroes(&self, range: Range<u64>, _: bool) -> io::Result<()> {
        self.zero(range);
        Ok(())
    }
}
