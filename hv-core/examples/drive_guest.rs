//! Drives a guest from this program: talks to it, pauses it, resumes it, resets it, ends it:
//! `cargo run -p hv-core --example drive_guest`

#[path = "common/host.rs"]
mod host;
#[path = "common/tiny_kernel.rs"]
mod tiny_kernel;

use std::{
    io::{self, PipeReader, Read},
    time::Duration,
};

use anyhow::ensure;
use host::Host;
use hv_core::{
    hypervisor::{ArchOf, Hypervisor},
    io::EventLoop,
    machine::{Machine, MachineConfig},
    virtio::Transport,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tiny_kernel::{Code, TinyKernel};

/// Shows `>` on the serial port, and from then on sends back each byte that it receives there.
const GUEST: Code = Code {
    x86_64: b"\x66\xba\xfc\x03\xb0\x03\xee\x66\xba\xf8\x03\xb0\x3e\xee\
              \x66\xba\xfd\x03\xec\xa8\x01\x74\xf7\x66\xba\xf8\x03\xec\xee\xeb\xef",
    aarch64: &[
        0xd2a12001, 0x528007c0, 0xb9000020, 0xb9401820, 0x3727ffe0, 0xb9400020, 0xb9000020, 0x17fffffc,
    ],
};

fn main() -> anyhow::Result<()> {
    let (mut console, serial) = io::pipe()?;
    let config = MachineConfig { cpus: 1, memory: 64 << 20, transport: Transport::Pci, cpu_quota: None };
    let parts = ArchOf::<Host>::parts(&GUEST, serial, Vec::new())?;
    // Who has more to wait for than this program turns the loop: its bell rings when `take_event` has something to tell.
    let event_loop = EventLoop::new()?;
    let mut machine = Machine::assemble(&Host::open()?, &config, parts, event_loop.bell(0))?;
    println!("assembled: {:?}", machine.state());

    machine.start()?;
    println!("started: the guest says {:?}", hear(&mut console, 1)?);
    machine.serial_input().send(b"hello");
    println!("sent hello: it says {:?}", hear(&mut console, 5)?);

    machine.pause()?;
    machine.serial_input().send(b"are you there?");
    ensure!(is_silent(&console)?, "a paused guest speaks");
    println!("{:?}: it says nothing", machine.state());
    machine.resume()?;
    println!("resumed: it says {:?}", hear(&mut console, 14)?);

    machine.reset()?;
    println!("reset: it starts anew and says {:?}", hear(&mut console, 1)?);
    println!("so far its core was left {} times", machine.exit_counts().total());
    machine.stop();
    println!("{:?}: event {:?}", machine.state(), machine.take_event());
    Ok(())
}

fn hear(console: &mut PipeReader, length: usize) -> anyhow::Result<String> {
    let mut bytes = vec![0; length];
    console.read_exact(&mut bytes)?;
    Ok(String::from_utf8(bytes)?)
}

fn is_silent(console: &PipeReader) -> anyhow::Result<bool> {
    let moment = Timespec::try_from(Duration::from_millis(200))?;
    Ok(poll(&mut [PollFd::new(console, PollFlags::IN)], Some(&moment))? == 0)
}
