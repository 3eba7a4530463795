//! What a hostile driver does to a virtio device, whatever the transport.

use hv_core::bus::Bus;

use crate::{
    Input,
    ram::{self, Snapshot},
    rings::{BUFFERS, Rings},
    twins,
    virtio::{self, Machine, Model},
};

/// A store to the bus.
pub(crate) type Store = (u64, Vec<u8>);

/// What the transports do differently.
pub(crate) trait Transport {
    /// Any address that is worth an access.
    fn address(&self, input: &mut Input<'_>) -> u64;
    /// The stores by which a driver resets the device, accepts `features`, places its queues and starts it.
    fn start(&self, features: u64, queues: &[Rings]) -> Vec<Store>;
    /// Stores that reach a register by another way.
    fn detour(&self, _: &mut Input<'_>) -> Vec<Store> {
        Vec::new()
    }
    /// The device status.
    fn status(&self, bus: &Bus) -> u8;
    /// Checks what is true of registers after a reset of the machine.
    fn check_reset(&self, machine: &Machine);
}

const DRIVER_OK: u8 = 4;

/// Plays `input` on two equal machines.
///
/// Loads set every byte; the device touches no RAM unless its driver is ready, and none after a reset; its workers come
/// to rest; no line stays high after a reset.
///
/// # Panics
/// The device breaks one of these.
pub(crate) fn play(mut input: Input<'_>, transport: &dyn Transport, model: Model, twins: [&Machine; 2]) {
    let rings = (0..model.queues()).map(|queue| Rings::orderly(queue, 64)).collect();
    let mut guest = Guest { transport, model, twins, rings };
    if input.flag() {
        guest.start(&mut input);
    }
    while !input.is_empty() {
        guest.step(&mut input);
    }
    guest.reset();
    let [one, two] = twins.map(|machine| Snapshot::of(&machine.ram));
    assert!(one == two, "RAM depends on luck");
}

struct Guest<'a> {
    transport: &'a dyn Transport,
    model: Model,
    twins: [&'a Machine; 2],
    rings: Vec<Rings>,
}

impl Guest<'_> {
    fn step(&mut self, input: &mut Input<'_>) {
        match input.u8() % 16 {
            0..=2 => self.store(self.transport.address(input), &input.store()),
            3 | 4 => self.load(self.transport.address(input), input.width()),
            5 => self.start(input),
            6 => {
                let rings = self.rings[usize::from(input.u8()) % self.rings.len()];
                self.both(input, |machine, input| rings.scribble(&machine.ram, input));
            }
            7..=11 => self.request(input),
            12..=14 => self.serve(),
            _ => match input.u8() {
                0 => self.reset(),
                1 => self.twins.iter().for_each(|machine| {
                    machine.device.pause();
                    machine.device.resume();
                }),
                _ => {
                    for (address, bytes) in self.transport.detour(input) {
                        self.store(address, &bytes);
                        self.load(address, bytes.len());
                    }
                }
            },
        }
    }

    /// Plays the same input on both.
    fn both(&self, input: &mut Input<'_>, mut play: impl FnMut(&Machine, &mut Input<'_>)) {
        let mut same = input.clone();
        play(self.twins[0], input);
        play(self.twins[1], &mut same);
    }

    fn store(&self, address: u64, bytes: &[u8]) {
        for machine in self.twins {
            let quiet = Snapshot::of(&machine.ram);
            machine.bus.write(address, bytes);
            quiet.assert_same(&machine.ram, &[], "a store to a register");
        }
    }

    fn load(&self, address: u64, width: usize) {
        let [one, two] = self.twins;
        let what = || format!("load of {width} bytes at {address:#x}");
        twins::load(|data| one.bus.read(address, data), |data| two.bus.read(address, data), width, what);
    }

    fn start(&mut self, input: &mut Input<'_>) {
        let size = if input.u8() < 0xd0 { 64 } else { 1 << input.below(7) };
        for (queue, rings) in (0..).zip(&mut self.rings) {
            *rings = if input.u8() == 0xff { Rings::any(input, size) } else { Rings::orderly(queue, size) };
        }
        let mut features = if input.u8() == 0xff { input.u64() } else { self.model.features() };
        if input.flag() {
            features &= !(1 << 29);
        }
        if input.u8() == 0 {
            features &= !(1 << 28);
        }
        let stores = self.transport.start(features, &self.rings);
        for machine in self.twins {
            let quiet = Snapshot::of(&machine.ram);
            stores.iter().for_each(|(address, bytes)| machine.bus.write(*address, bytes));
            quiet.assert_same(&machine.ram, &[], "the start of a device");
        }
    }

    /// A chain that looks like what the device serves.
    fn request(&self, input: &mut Input<'_>) {
        let first = input.u8().into();
        let at = BUFFERS + input.below(0x2000) / 16 * 16;
        let (queue, content, buffers) = match self.model {
            Model::Block => block_request(input, at),
            Model::Entropy => (0, vec![], vec![(at, u32::from(input.u16()), true)]),
            Model::Console => console_buffer(input, at),
        };
        for machine in self.twins {
            ram::store(&machine.ram, at, &content);
            self.rings[queue].chain(&machine.ram, first, &buffers);
        }
    }

    fn serve(&self) {
        for machine in self.twins {
            let status = self.transport.status(&machine.bus);
            let before = Snapshot::of(&machine.ram);
            virtio::ring(machine);
            machine.serve();
            if status & DRIVER_OK == 0 {
                before.assert_same(&machine.ram, &[], "a device whose driver is not ready");
            }
        }
    }

    /// The machine resets the device.
    fn reset(&self) {
        for machine in self.twins {
            let before = Snapshot::of(&machine.ram);
            machine.device.pause();
            machine.device.reset();
            machine.device.resume();
            assert_eq!(machine.workers(), 0, "workers outlive a reset");
            machine.serve();
            before.assert_same(&machine.ram, &[], "a reset");
            self.transport.check_reset(machine);
        }
    }
}

/// Which queue, what RAM holds at an address, the chain.
type Request = (usize, Vec<u8>, Vec<(u64, u32, bool)>);

/// Header, perhaps a range, data, room for the status; sectors around the end of the disk too.
fn block_request(input: &mut Input<'_>, at: u64) -> Request {
    let kind = input.choose(&[0_u8, 1, 4, 8, 11, 13, 0, 1, 0, 5]);
    let mut content = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    content.extend(input.below(130).to_le_bytes());
    content.extend(input.below(130).to_le_bytes());
    content.extend([input.u8(), 0, 0, 0, input.u8() & 1, 0, 0, 0]);
    let len = u32::from(input.u8() & 7) * 512;
    let data = match kind {
        0 | 8 => (at + 0x40, len, true),
        11 | 13 => (at + 0x10, 16, false),
        _ => (at + 0x40, len, false),
    };
    (usize::from(input.u8() == 0), content, vec![(at, 16, false), data, (at + 0x20, 1, true)])
}

/// A message, output, or room for either.
fn console_buffer(input: &mut Input<'_>, at: u64) -> Request {
    let queue = input.choose(&[0_usize, 1, 2, 3, 4, 5, 2, 3]);
    let message = [input.u8() % 3, 0, 0, 0, input.u8() % 8, 0, input.choose(&[1, 1, 0, 2]), 0];
    let len = if queue == 3 { 8 } else { u32::from(input.u16()) };
    (queue, message.to_vec(), vec![(at, len, queue.is_multiple_of(2))])
}
