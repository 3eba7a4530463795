//! Block device throughput through the in-process driver, against plain positioned vectored I/O on the same file.

use std::{
    fs::File,
    io::{IoSlice, IoSliceMut, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, TryRecvError, sync_channel},
    },
    thread,
    time::Instant,
};

use anyhow::{Result, ensure};
use hv_core::{
    block::file::{FileDisk, PortableHost},
    testing::{
        Rig, TransportKind,
        driver::{Buffer, Driver, Used},
    },
    virtio::block::Block,
};
use rustix::io::{preadv, pwritev};
use vm_memory::{Bytes, GuestAddress};

use crate::Figures;

const FILE: u64 = 256 << 20;
/// Requests in flight.
const DEPTH: u16 = 32;
/// Bytes of a page.
const PAGE: usize = 4096;
/// Bytes of a cache line.
const LINE: u64 = 64;
/// Pauses of the processor between two looks at the used ring, about a microsecond.
const PAUSES: u32 = 32;
/// Bytes moved in one run.
const WORK: u64 = 512 << 20;

#[derive(Clone, Copy, PartialEq)]
enum Direction {
    Read,
    Write,
}

pub(crate) fn measure(runs: usize) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("disk.img");
    let mut file = File::create(&path)?;
    for _ in 0..FILE >> 20 {
        file.write_all(&[0xa5; 1 << 20])?;
    }
    drop(file);
    println!(
        "| block | hv, depth {DEPTH}, MiB/s | plain, depth {DEPTH} | plain, depth 1 | plain, depth 1, other core busy | ratio to depth {DEPTH} | to depth 1 | to busy |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for size in [4 << 10, 128 << 10_u32] {
        for direction in [Direction::Read, Direction::Write] {
            for random in [true, false] {
                let offsets = offsets(size, random);
                let mut figures: [Figures; 7] = Default::default();
                for _ in 0..runs {
                    let device = through_the_device(&path, direction, size, &offsets)?;
                    let deep = in_flight(&path, direction, size, &offsets)?;
                    let plain = directly(&path, direction, size, &offsets)?;
                    let busy = beside_a_busy_core(|| directly(&path, direction, size, &offsets))?;
                    let now = [device, deep, plain, busy, device / deep, device / plain, device / busy];
                    figures.iter_mut().zip(now).for_each(|(figures, figure)| figures.push(figure));
                }
                let [device, deep, plain, busy, to_deep, to_plain, to_busy] =
                    figures.map(|figures| figures.median());
                println!(
                    "| {} KiB {} {} | {device:.0} | {deep:.0} | {plain:.0} | {busy:.0} | {to_deep:.2} | {to_plain:.2} | {to_busy:.2} |",
                    size >> 10,
                    if random { "random" } else { "sequential" },
                    if direction == Direction::Read { "read" } else { "write" },
                );
            }
        }
    }
    Ok(())
}

/// Runs `work` while another thread polls, as the driver does while the device works: two cores of a shared machine
/// take speed from each other, and no device can give it back.
fn beside_a_busy_core<T>(work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        result
    })
}

/// Where the requests of a run begin.
fn offsets(size: u32, random: bool) -> Vec<u64> {
    let blocks = FILE / u64::from(size);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..WORK / u64::from(size))
        .map(|index| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            if random { state % blocks } else { index % blocks }
        })
        .map(|block| block * u64::from(size))
        .collect()
}

fn rate(start: Instant) -> f64 {
    (WORK >> 20) as f64 / start.elapsed().as_secs_f64()
}

/// A file and as many buffers as there are requests in flight, on pages of their own as a guest's are.
struct Plain {
    file: File,
    direction: Direction,
    size: usize,
    memory: Vec<u8>,
}

impl Plain {
    fn open(path: &Path, direction: Direction, size: u32) -> Result<Self> {
        let file = File::options().read(true).write(true).open(path)?;
        let size = size as usize;
        Ok(Self { file, direction, size, memory: vec![0x5a; size * usize::from(DEPTH) + PAGE] })
    }

    /// One call for one request, with the buffer of this number.
    fn transfer(&mut self, number: usize, offset: u64) -> Result<()> {
        let start = self.memory.as_ptr().align_offset(PAGE) + number * self.size;
        let buffer = &mut self.memory[start..start + self.size];
        let done = match self.direction {
            Direction::Read => preadv(&self.file, &mut [IoSliceMut::new(buffer)], offset)?,
            Direction::Write => pwritev(&self.file, &[IoSlice::new(buffer)], offset)?,
        };
        ensure!(done == self.size, "a short transfer at {offset}");
        Ok(())
    }
}

/// One request after the other, by the thread that wants them.
fn directly(path: &Path, direction: Direction, size: u32, offsets: &[u64]) -> Result<f64> {
    let mut plain = Plain::open(path, direction, size)?;
    let start = Instant::now();
    for (index, offset) in offsets.iter().enumerate() {
        plain.transfer(index % usize::from(DEPTH), *offset)?;
    }
    Ok(rate(start))
}

/// As many requests in flight as the device has: a thread wants them, another one does them, and they tell each other
/// by channels that both poll.
fn in_flight(path: &Path, direction: Direction, size: u32, offsets: &[u64]) -> Result<f64> {
    let mut plain = Plain::open(path, direction, size)?;
    let (ask, asked) = sync_channel::<(usize, u64)>(DEPTH.into());
    let (answer, answered) = sync_channel(DEPTH.into());
    thread::scope(|scope| {
        let worker = scope.spawn(move || -> Result<()> {
            while let Some((number, offset)) = poll_channel(&asked) {
                plain.transfer(number, offset)?;
                // There is room for all that are in flight.
                let _ = answer.send(number);
            }
            Ok(())
        });
        let start = Instant::now();
        let mut next = offsets.iter();
        for request in next.by_ref().take(DEPTH.into()).copied().enumerate() {
            ask.send(request)?;
        }
        for _ in offsets {
            let Some(number) = poll_channel(&answered) else { break };
            if let Some(offset) = next.next() {
                ask.send((number, *offset))?;
            }
        }
        let rate = rate(start);
        drop(ask);
        worker.join().expect("it does not panic")?;
        Ok(rate)
    })
}

/// Takes from a channel as soon as there is something; nothing if its other end is gone.
fn poll_channel<T>(channel: &Receiver<T>) -> Option<T> {
    loop {
        match channel.try_recv() {
            Ok(value) => return Some(value),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) => std::hint::spin_loop(),
        }
    }
}

/// A request's three buffers: header, data, status.
struct Slot {
    header: Buffer,
    data: Buffer,
    status: Buffer,
}

fn through_the_device(path: &Path, direction: Direction, size: u32, offsets: &[u64]) -> Result<f64> {
    let disk = FileDisk::open(path, false, PortableHost)?;
    let mut rig = Rig::new(TransportKind::PciMsix, Box::new(Block::new("disk0", "", Arc::new(disk), 1)));
    let driver = &mut rig.driver;
    driver.start_with(u64::MAX);
    let slots: Vec<_> = (0..DEPTH).map(|_| slot(driver, direction, size)).collect();
    let mut free: Vec<usize> = (0..slots.len()).collect();
    let mut owner = vec![0; usize::from(driver.queue(0).size())];
    let mut next = offsets.iter();
    let mut left = offsets.len();
    let start = Instant::now();
    while left > 0 {
        while let Some(index) = free.last().copied() {
            let Some(offset) = next.next() else { break };
            let slot = &slots[index];
            driver.ram().write_obj((offset / 512).to_le(), GuestAddress(slot.header.address + 8))?;
            let head = driver.add(0, &[slot.header, slot.data, slot.status]);
            owner[usize::from(head)] = index;
            free.pop();
        }
        driver.kick(0);
        let mut used = poll_used(driver);
        while let Some(done) = used {
            let index = owner[usize::from(done.head)];
            let status: u8 = driver.ram().read_obj(GuestAddress(slots[index].status.address))?;
            ensure!(status == 0, "the device answered {status}");
            free.push(index);
            left -= 1;
            used = driver.queue(0).take_used();
        }
    }
    Ok(rate(start))
}

/// Takes a used chain as soon as there is one: a driver that polls measures the device and not its own sleep.
fn poll_used(driver: &mut Driver) -> Option<Used> {
    loop {
        let used = driver.queue(0).take_used();
        if used.is_some() {
            return used;
        }
        // Not at every turn: each look takes the ring's cache line from the device's core.
        for _ in 0..PAUSES {
            std::hint::spin_loop();
        }
    }
}

fn slot(driver: &mut Driver, direction: Direction, size: u32) -> Slot {
    let kind = if direction == Direction::Read { 0_u8 } else { 1 };
    let mut header = [0; 16];
    header[0] = kind;
    // As Linux has them: header and status beside each other, data on pages of its own.
    driver.allocate(0, LINE);
    let (header, status) = (driver.readable(&header), driver.writable(1));
    driver.allocate(0, PAGE as u64);
    let data = match direction {
        Direction::Read => driver.writable(size),
        Direction::Write => driver.readable(&vec![0x5a; size as usize]),
    };
    Slot { header, data, status }
}
