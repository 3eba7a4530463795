//! From arguments and opened files to a machine, switched off.

use std::{fs::File, os::fd::AsFd, sync::Arc, time::SystemTime};

use anyhow::Context;
use hv_core::{
    block::file::FileDisk,
    boot::{
        Payload, PayloadFile,
        console::{ConsoleDriver, console_driver},
    },
    chardev::{ConsoleMerge, Input, Output, Port, WaitingSink},
    hypervisor::{ArchOf, Hypervisor, Vm},
    io::{Bell, Rate, RateLimiter, RateLimits, Threads},
    machine::{
        Machine, MachineConfig,
        board::{self, Board},
    },
    virtio::{
        self,
        balloon::Balloon,
        block::Block,
        console::{Console, HostPort},
        entropy::Entropy,
        net::Net,
        vsock::Vsock,
    },
};

use super::{
    Parts,
    command::Command,
    keyboard::{Consoles, Keyboard},
    last_words,
    tee::Listeners,
};
use crate::{
    args::{self, RunArguments},
    config::Files,
    console::{self, Ends},
    image::{ImageFiles, KERNEL_WORDS, LAYER_SERIAL, ROOT_SERIAL},
    network::{Counters, Network},
};

/// Slots of the machine type `hv-1`.
const CONSOLE_SLOT: u8 = 1;
const ENTROPY_SLOT: u8 = 2;
const VSOCK_SLOT: u8 = 3;
const BALLOON_SLOT: u8 = 4;
const NET_SLOT: u8 = 5;
const FIRST_DISK_SLOT: u8 = 16;
/// Disks of the command line come first, so that their names begin with `vda`.
const LAYER_SLOT: u8 = 30;
const ROOT_SLOT: u8 = 31;

/// The context identifier of every guest: each has sockets of its own.
const GUEST_CID: u32 = 3;

/// The most queues that a disk has unless the command line says another number.
const DISK_QUEUES: u16 = 4;

/// Everything that a machine has of its host, open.
pub(super) struct Opened {
    payload: Payload,
    append: String,
    driver: ConsoleDriver,
    ends: Ends,
    random: File,
    disks: Vec<FileDisk>,
    card: Option<(Net, Counters)>,
    image: Option<ImageFiles>,
}

fn transport(arguments: &RunArguments) -> virtio::Transport {
    match arguments.transport {
        args::Transport::Pci => virtio::Transport::Pci,
        args::Transport::Mmio => virtio::Transport::Mmio,
    }
}

/// Opens what is not open yet: after this no file, device or socket of the host is opened for the machine.
pub(super) fn open<H: Hypervisor<Vm: Vm<Arch: Board>>>(
    arguments: &RunArguments,
    files: Files,
) -> anyhow::Result<Opened> {
    let Files { kernel: (kernel, path), initrd, disks, network, image } = files;
    let kernel = PayloadFile::kernel(kernel, path);
    let append = words(image.is_some(), arguments.append.as_deref().unwrap_or_default());
    let driver = console_driver(&kernel, transport(arguments));
    let payload = Payload {
        command_line: command_line(driver, ArchOf::<H>::SERIAL_CONSOLE, &append),
        kernel,
        initrd: initrd.map(|(file, path)| PayloadFile::initrd(file, path)),
    };
    let ends = console::open(arguments.console())?;
    let random =
        File::open("/dev/urandom").context("cannot open /dev/urandom, the guest's source of entropy")?;
    let card = network.map(Network::device).transpose()?;
    Ok(Opened { payload, append, driver, ends, random, disks, card, image })
}

/// Builds the machine on `hypervisor`; `bell` rings at its events, `listeners` hear what the guest shows, and `threads` makes those
/// of its cores and devices.
pub(super) fn assemble<H: Hypervisor<Vm: Vm<Arch: Board>>>(
    hypervisor: &H,
    arguments: &RunArguments,
    opened: Opened,
    bell: Bell,
    listeners: Listeners,
    threads: Threads,
) -> anyhow::Result<Parts<H::Vm>> {
    let config = MachineConfig {
        cpus: arguments.cpus,
        memory: arguments.memory,
        transport: transport(arguments),
        cpu_quota: arguments.cpu_quota,
    };
    let Opened { payload, append, driver, ends, random, disks, card, image } = opened;
    let Ends { output, input, pty } = ends;
    let is_terminal = *arguments.console() == args::Console::Stdio
        && input.as_ref().is_some_and(|input| rustix::termios::isatty(input.as_fd()));
    let output = Output::start(listeners.beside(output)).context("cannot start a thread for the console")?;
    let screen = ConsoleMerge::new(output.clone());
    let typed = Input::new();
    let terminal = HostPort {
        name: "console".to_owned(),
        sink: Box::new(screen.port(Port::Virtio)),
        input: typed.clone(),
    };
    let (console, handle) = Console::new("console0", terminal, Vec::new());

    let mut devices: board::VirtioDevices = vec![
        (CONSOLE_SLOT, Box::new(console)),
        (ENTROPY_SLOT, Box::new(Entropy::new("entropy0", Box::new(random)))),
    ];
    if arguments.balloon || image.is_some() {
        // Free pages come without a word from here.
        let (balloon, _) = Balloon::new("balloon0");
        devices.push((BALLOON_SLOT, Box::new(balloon)));
    }
    let most = u16::try_from(arguments.cpus).unwrap_or(u16::MAX).min(DISK_QUEUES);
    for (number, (disk, asked)) in (0_u8..).zip(disks.into_iter().zip(&arguments.disk)) {
        let serial = asked.serial.as_deref().unwrap_or_default();
        let queues = asked.queues.map_or(most, std::num::NonZero::get);
        let block = Block::new(format!("disk{number}"), serial, Arc::new(disk), queues);
        let block = match limits(asked) {
            RateLimits { bytes: None, operations: None } => block,
            limits => block.limited(Arc::new(RateLimiter::new(limits))),
        };
        devices.push((FIRST_DISK_SLOT + number, Box::new(block)));
    }
    let network = card.map(|(card, counters)| {
        devices.push((NET_SLOT, Box::new(card)));
        counters
    });

    let command = image.map(|image| {
        let ImageFiles { root, layer, start, stop_signal } = image;
        let disk = |name: &str, serial: &str, disk| Box::new(Block::new(name, serial, Arc::new(disk), most));
        devices.push((ROOT_SLOT, disk("root", ROOT_SERIAL, root)));
        let is_kept = layer.is_some();
        if let Some(layer) = layer {
            devices.push((LAYER_SLOT, disk("layer", LAYER_SERIAL, layer)));
        }
        let (vsock, sockets) = Vsock::new("vsock0", GUEST_CID);
        devices.push((VSOCK_SLOT, Box::new(vsock)));
        // What the command wrote to disks must be there when it has ended.
        let writes = is_kept || arguments.disk.iter().any(|disk| !disk.read_only);
        Command { start, stop_signal, sockets, writes }
    });

    let serial = Box::new(WaitingSink::new(screen.port(Port::Uart)));
    let parts = board::Parts { payload, serial, clock: Box::new(SystemTime::now), virtio: devices, threads };
    let machine = Machine::assemble(hypervisor, &config, parts, bell)?;
    let consoles = Consoles {
        serial: machine.serial_input().clone(),
        console: typed,
        known: match driver {
            _ if chooses_console(&append) => None,
            ConsoleDriver::Virtio => Some(Port::Virtio),
            ConsoleDriver::Uart => Some(Port::Uart),
            ConsoleDriver::Unknown => None,
        },
        screen: screen.clone(),
    };
    let keyboard = input.map(|source| Keyboard { source, is_terminal, guest: consoles.clone() });
    Ok(Parts { machine, screen, output, console: handle, consoles, keyboard, pty, network, command })
}

/// What may pass through a disk.
fn limits(disk: &args::Disk) -> RateLimits {
    RateLimits { bytes: disk.bandwidth.map(Rate::of), operations: disk.iops.map(Rate::of) }
}

/// What is appended: the user's words come after our own, so that they win.
fn words(is_image: bool, append: &str) -> String {
    let own = if is_image {
        KERNEL_WORDS
    } else if last_words::chooses_panic(append) {
        ""
    } else {
        last_words::RESTART_AT_PANIC
    };
    [own, append].into_iter().filter(|words| !words.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The kernel's command line: words that choose its console, unless `append` does, and `append`.
///
/// A kernel that has the virtio console gets that alone, since the serial port costs an exit for each byte; one that
/// has it not gets the serial port. Where that cannot be known it gets both, and the screen shows each line once.
fn command_line(driver: ConsoleDriver, serial: &str, append: &str) -> String {
    let console = match driver {
        _ if chooses_console(append) => String::new(),
        ConsoleDriver::Virtio => "console=hvc0".to_owned(),
        ConsoleDriver::Uart => format!("console={serial}"),
        ConsoleDriver::Unknown => format!("console={serial} console=hvc0"),
    };
    [console.as_str(), append].into_iter().filter(|words| !words.is_empty()).collect::<Vec<_>>().join(" ")
}

fn chooses_console(append: &str) -> bool {
    append.split_whitespace().any(|word| word.starts_with("console="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_told_of_the_console_it_can_drive() {
        assert_eq!(command_line(ConsoleDriver::Virtio, "ttyS0", "quiet"), "console=hvc0 quiet");
        assert_eq!(command_line(ConsoleDriver::Uart, "ttyAMA0", ""), "console=ttyAMA0");
        assert_eq!(command_line(ConsoleDriver::Unknown, "ttyS0", "ro"), "console=ttyS0 console=hvc0 ro");
    }

    #[test]
    fn a_console_of_the_users_choice_stays_the_only_one() {
        assert_eq!(command_line(ConsoleDriver::Virtio, "ttyS0", "ro console=ttyS0"), "ro console=ttyS0");
    }
}
