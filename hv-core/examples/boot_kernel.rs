//! Boots a kernel and shows its serial console:
//! `cargo run -p hv-core --example boot_kernel -- KERNEL [INITRD]`, with a bzImage or vmlinux, on arm64 an Image.

#[path = "common/host.rs"]
mod host;

use std::{env, fs::File, io, process::ExitCode, time::SystemTime};

use anyhow::{Context, bail};
use host::Host;
use hv_core::{
    boot::{Payload, PayloadFile},
    hypervisor::{ArchOf, Hypervisor},
    io::{EventLoop, Threads},
    machine::{
        Event, Machine, MachineConfig,
        board::{Board, Parts},
    },
    virtio::Transport,
};

fn main() -> anyhow::Result<ExitCode> {
    let mut words = env::args().skip(1);
    let Some(kernel) = words.next() else { bail!("which kernel? Say `boot_kernel KERNEL [INITRD]`") };
    let open = |path: &str| File::open(path).with_context(|| format!("cannot open {path}"));

    // What the machine starts from.
    let initrd = match words.next() {
        Some(path) => Some(PayloadFile::initrd(open(&path)?, path)),
        None => None,
    };
    let payload = Payload {
        kernel: PayloadFile::kernel(open(&kernel)?, &kernel),
        initrd,
        // `panic=-1`: a kernel that panics resets at once.
        command_line: format!("console={} panic=-1", ArchOf::<Host>::SERIAL_CONSOLE),
    };

    // What it is made of. Virtio devices have a slot each; see the example `add_device`.
    let config = MachineConfig { cpus: 1, memory: 512 << 20, transport: Transport::Pci, cpu_quota: None };
    let parts = Parts {
        payload,
        serial: Box::new(io::stdout()),
        clock: Box::new(SystemTime::now),
        virtio: Vec::new(),
        threads: Threads::of_any_kind(),
    };

    // Its cores run on threads of their own, and a bell rings when there is an event.
    let mut event_loop = EventLoop::new()?;
    let mut machine = Machine::assemble(&Host::open()?, &config, parts, event_loop.bell(0))?;
    machine.start()?;
    let event = loop {
        event_loop.turn(None)?;
        if let Some(event) = machine.take_event() {
            break event;
        }
    };
    machine.stop();
    Ok(match event {
        Event::PowerOff => ExitCode::SUCCESS,
        Event::Reset => {
            eprintln!("the guest asked for a reset: its kernel panicked, or it reboots");
            ExitCode::FAILURE
        }
        Event::Crash(why) => {
            eprintln!("the guest crashed: {why}");
            ExitCode::FAILURE
        }
    })
}
