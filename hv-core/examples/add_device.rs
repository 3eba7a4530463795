//! Adds a device of its own to a machine, and a guest that reads from it and writes to it:
//! `cargo run -p hv-core --example add_device`

#[path = "common/host.rs"]
mod host;
#[path = "common/tiny_kernel.rs"]
mod tiny_kernel;

use std::io;

use host::Host;
use hv_core::{
    hypervisor::{ArchOf, Hypervisor},
    io::EventLoop,
    machine::{Machine, MachineConfig},
    virtio::{Activation, Kind, QueueWorker, Transport, VirtioDevice},
};
use tiny_kernel::{Code, TinyKernel};

/// A virtio device that is all configuration space: it holds a question, and what a guest stores there is the answer.
/// A device with virtqueues says their sizes, and serves them by `QueueWorker`s: `virtio/entropy.rs` is a small one.
struct Question(&'static str);

impl VirtioDevice for Question {
    fn kind(&self) -> Kind {
        Kind::Other(42)
    }

    fn name(&self) -> &str {
        "question0"
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        &[]
    }

    fn read_config(&self, offset: usize, data: &mut [u8]) {
        for (byte, letter) in data.iter_mut().zip(self.0.bytes().skip(offset)) {
            *byte = letter;
        }
    }

    fn write_config(&mut self, _offset: usize, data: &[u8]) {
        println!("the guest answers {data:?}");
    }

    fn activate(&mut self, _: Activation) -> anyhow::Result<Vec<Box<dyn QueueWorker>>> {
        Ok(Vec::new())
    }
}

/// Shows the configuration space of slot 1 on the serial port up to the first zero, stores 42 there, and powers off.
const GUEST: Code = Code {
    x86_64: b"\xba\xf8\x03\0\0\xbe\0\x11\0\xf0\x8a\x06\x84\xc0\x74\x05\xee\xff\xc6\xeb\xf5\
              \xc6\x06\x2a\x66\xba\x04\x06\x66\xb8\x01\x34\x66\xef\xeb\xfe",
    aarch64: &[
        0xd2a12001, 0xd2a1a002, 0xf2822002, 0x39400040, 0x34000080, 0xb9000020, 0x91000442, 0x17fffffc,
        0x52800540, 0x39000040, 0x52b08000, 0x72800100, 0xd4000002, 0x14000000,
    ],
};

fn main() -> anyhow::Result<()> {
    let device = Question("What is six times seven?\r\n");
    let config = MachineConfig { cpus: 1, memory: 64 << 20, transport: Transport::Mmio, cpu_quota: None };
    let parts = ArchOf::<Host>::parts(&GUEST, io::stdout(), vec![(1, Box::new(device))])?;
    let mut event_loop = EventLoop::new()?;
    let mut machine = Machine::assemble(&Host::open()?, &config, parts, event_loop.bell(0))?;
    machine.start()?;
    event_loop.turn(None)?;
    println!("and ends: {:?}", machine.take_event());
    Ok(())
}
