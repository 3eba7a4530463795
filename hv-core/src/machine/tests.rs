//! The x86_64 machine as a whole, on scripted cores and by a test's hand.

mod aarch64;
mod ends;
mod failures;
mod layout;
mod limits;
mod pauses;
mod quotas;
mod races;
mod resets;

use std::{
    io,
    sync::{Arc, Mutex, Weak},
    thread,
    time::{Duration, Instant, SystemTime},
};

use super::*;
use crate::{
    boot::{
        Payload,
        testing::{kernel, vmlinux},
    },
    bus::Bus,
    chardev::{CharSink, Input, WaitingSink},
    io::EventLoop,
    machine::board::VirtioDevices,
    testing::{
        DEADLINE, SoftDoorbells,
        driver::{Driver, Interrupts, MmioRegisters, PciRegisters, Registers},
        scripted::{Hand, Script, Scripted, ScriptedVm, Step},
    },
    virtio::{
        Transport, VirtioDevice,
        console::{Console, HostPort},
        entropy::Entropy,
    },
};

const MIB: u64 = 1 << 20;
/// A place in RAM that no payload reaches, and where a driver's memory begins.
const SCRATCH: u64 = 48 * MIB;
const HEAP: u64 = 16 * MIB;

// docs/machine-hv-1.md
const ECAM: u64 = 0xe000_0000;
const VIRTIO_MMIO: u64 = 0xf000_0000;
const COM1: u16 = 0x3f8;
const PM1_STATUS: u16 = 0x600;
const PM1_ENABLE: u16 = 0x602;
const PM1_CONTROL: u16 = 0x604;
const RESET_REGISTER: u16 = 0x610;
const I8042_DATA: u16 = 0x60;
const I8042_COMMAND: u16 = 0x64;
const SCI: u32 = 9;
const CONSOLE: u8 = 1;
const ENTROPY: u8 = 2;

/// A machine with all that a session has, and the host below it.
struct Bench {
    host: Scripted,
    machine: Machine<ScriptedVm>,
    events: EventLoop,
    serial: Arc<Mutex<Vec<u8>>>,
}

impl Bench {
    fn new(cpus: u32, scripts: Vec<Script>) -> Self {
        Self::with(Transport::Pci, cpus, Scripted::new(scripts))
    }

    /// A machine with a console and a source of entropy on `host`.
    fn with(transport: Transport, cpus: u32, host: Scripted) -> Self {
        Self::assemble(host, &config(transport, cpus), vec![console(CONSOLE), entropy(ENTROPY)]).unwrap()
    }

    fn assemble(host: Scripted, config: &MachineConfig, virtio: VirtioDevices) -> anyhow::Result<Self> {
        let events = EventLoop::new()?;
        let serial = Arc::<Mutex<Vec<u8>>>::default();
        let parts = parts(WaitingSink::new(serial.clone()), virtio);
        let machine = Machine::assemble(&host, config, parts, events.bell(0))?;
        Ok(Self { host, machine, events, serial })
    }

    /// The next event; the bell tells that there is one.
    fn event(&mut self) -> Event {
        loop {
            if let Some(event) = self.machine.take_event() {
                return event;
            }
            self.hear();
        }
    }

    /// Waits for an event without taking it. Of one that was taken it may still hear.
    fn hear(&mut self) {
        wait_for_bell(&mut self.events);
    }

    /// What the serial port transmitted.
    fn said(&self) -> String {
        String::from_utf8(self.serial.lock().unwrap().clone()).unwrap()
    }

    fn hand(&self) -> Hand {
        self.host.hand(0)
    }

    /// All memory as the first core sees it.
    fn memory(&self) -> Arc<Bus> {
        let mut bus = Bus::default();
        bus.insert(0, u64::MAX, Arc::new(self.hand())).unwrap();
        Arc::new(bus)
    }

    fn load<const N: usize>(&self, address: u64) -> [u8; N] {
        let mut data = [0; N];
        self.memory().read(address, &mut data);
        data
    }

    /// A driver, on the first core, of the device in `slot`.
    fn driver(&self, slot: u8) -> Driver {
        Driver::new(self.registers(slot), self.machine.ram.clone(), HEAP)
    }

    fn registers(&self, slot: u8) -> Box<dyn Registers> {
        match self.machine.shape.config.transport {
            Transport::Pci => Box::new(self.function(slot, Interrupts::Msix)),
            Transport::Mmio => {
                let base = VIRTIO_MMIO + u64::from(slot) * 0x1000;
                let chip = self.host.chip.clone();
                Box::new(MmioRegisters::new(self.memory(), base, SoftDoorbells::default(), chip, gsi(slot)))
            }
        }
    }

    fn function(&self, slot: u8, interrupts: Interrupts) -> PciRegisters {
        // The core's own stores find the doorbells that the host watches.
        let doorbells = SoftDoorbells::default();
        PciRegisters::new(self.memory(), ECAM, slot, doorbells, self.host.chip.clone(), interrupts)
    }

    /// Something that lives as long as the machine's devices and cores do.
    fn trace(&self) -> Weak<Mutex<Vec<u8>>> {
        Arc::downgrade(&self.serial)
    }
}

/// The interrupt input of a slot.
fn gsi(slot: u8) -> u32 {
    16 + u32::from(slot) % 8
}

fn config(transport: Transport, cpus: u32) -> MachineConfig {
    MachineConfig { cpus, memory: 64 * MIB, transport, cpu_quota: None }
}

fn parts(serial: impl io::Write + Send + 'static, virtio: VirtioDevices) -> Parts {
    let payload =
        Payload { kernel: kernel(&vmlinux()), initrd: None, command_line: "console=ttyS0".to_owned() };
    let (serial, clock) = (Box::new(serial), Box::new(SystemTime::now));
    Parts { payload, serial, clock, virtio, threads: Threads::of_any_kind() }
}

fn entropy(slot: u8) -> (u8, Box<dyn VirtioDevice>) {
    (slot, Box::new(Entropy::new(format!("entropy{slot}"), Box::new(io::repeat(0x5a)))))
}

fn console(slot: u8) -> (u8, Box<dyn VirtioDevice>) {
    let sink: Box<dyn CharSink> = Box::new(Arc::<Mutex<Vec<u8>>>::default());
    let port = HostPort { name: "console".to_owned(), sink, input: Input::new() };
    (slot, Box::new(Console::new("console0", port, Vec::new()).0))
}

/// Has `driver`'s entropy device fill a buffer.
fn use_entropy(driver: &mut Driver) {
    let buffer = driver.writable(16);
    assert_eq!(driver.request(0, &[buffer]), 16);
    assert_eq!(driver.bytes(buffer), [0x5a; 16]);
}

/// A guest that says `letter` for ever.
fn chatter(letter: u8) -> Vec<Step> {
    vec![say(letter), Step::Again]
}

fn say(letter: u8) -> Step {
    Step::PortWrite(COM1, vec![letter])
}

/// The store that switches off: `SLP_TYP` of S5, `SLP_EN`.
fn soft_off() -> Step {
    Step::PortWrite(PM1_CONTROL, vec![0x00, 0x34])
}

/// Waits until the loop turns, which a bell makes it do; now and then it turns without reason.
fn wait_for_bell(events: &mut EventLoop) {
    let start = Instant::now();
    events.turn(Some(DEADLINE)).unwrap();
    assert!(start.elapsed() < DEADLINE, "no event");
}

fn wait_until(what: &str, mut come: impl FnMut() -> bool) {
    let start = Instant::now();
    while !come() {
        assert!(start.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Whether `look` sees the same for some time: what is held does not move.
fn is_still<T: PartialEq>(mut look: impl FnMut() -> T) -> bool {
    let before = look();
    thread::sleep(Duration::from_millis(20));
    look() == before
}

fn line(error: &anyhow::Error) -> String {
    let line = format!("{error:#}");
    assert!(!line.contains('\n'), "{line}");
    line
}
