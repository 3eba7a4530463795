//! Whole consoles through a driver, on each transport.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::*;
use crate::{
    chardev::testing::Tight,
    testing::{DEADLINE, Rig, TransportKind, driver::Buffer},
    virtio::negotiation::Status,
};

type Screen = Arc<Mutex<Vec<u8>>>;

/// A console, its handle, and the hosts' ends of its ports.
struct Setup {
    rig: Rig,
    handle: ConsoleHandle,
    screens: Vec<Screen>,
    inputs: Vec<Input>,
}

/// A console whose ports are a terminal and those named.
fn setup(kind: TransportKind, names: &[&str]) -> Setup {
    let screens: Vec<_> = (0..=names.len()).map(|_| Screen::default()).collect();
    let inputs: Vec<_> = (0..=names.len()).map(|_| Input::new()).collect();
    let mut ports =
        ["terminal"].iter().chain(names).zip(screens.iter().zip(&inputs)).map(|(name, (screen, input))| {
            HostPort { name: (*name).into(), sink: Box::new(Arc::clone(screen)), input: input.clone() }
        });
    let terminal = ports.next().unwrap();
    let (console, handle) = Console::new("console0", terminal, ports.collect());
    Setup { rig: Rig::new(kind, Box::new(console)), handle, screens, inputs }
}

fn on_each(names: &[&str], test: impl Fn(&mut Setup)) {
    for kind in TransportKind::ALL {
        eprintln!("on {kind:?}:");
        test(&mut setup(kind, names));
    }
}

impl Setup {
    /// Makes `count` buffers of `len` bytes available for input.
    fn offer_buffers(&mut self, queue: u16, count: usize, len: u32) -> Vec<Buffer> {
        let buffers: Vec<_> = (0..count).map(|_| self.rig.driver.writable(len)).collect();
        for buffer in &buffers {
            self.rig.driver.add(queue, &[*buffer]);
        }
        self.rig.driver.kick(queue);
        buffers
    }

    /// The bytes of the next used buffer of `buffers`, which are used in their order.
    fn input(&mut self, queue: u16, buffer: Buffer) -> Vec<u8> {
        let used = self.rig.driver.wait_used(queue);
        let mut bytes = self.rig.driver.bytes(buffer);
        bytes.truncate(used.written as usize);
        bytes
    }

    fn output(&mut self, queue: u16, bytes: &[u8]) {
        let buffer = self.rig.driver.readable(bytes);
        assert_eq!(self.rig.driver.request(queue, &[buffer]), 0);
    }

    fn say(&mut self, port: u32, event: u16, value: u16) {
        let message = [&port.to_le_bytes()[..], &event.to_le_bytes(), &value.to_le_bytes()].concat();
        self.output(3, &message);
    }

    /// The next control message: port, event, value and payload.
    fn heard(&mut self) -> (u32, u16, u16, Vec<u8>) {
        let buffer = self.offer_buffers(2, 1, 64)[0];
        let message = self.input(2, buffer);
        let half = |at: usize| u16::from_le_bytes(message[at..at + 2].try_into().unwrap());
        (u32::from_le_bytes(message[..4].try_into().unwrap()), half(4), half(6), message[8..].to_vec())
    }

    fn screen(&self, port: usize) -> Vec<u8> {
        self.screens[port].lock().unwrap().clone()
    }
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_mebibyte_of_output_arrives_whole() {
    on_each(&[], |setup| {
        assert_eq!(setup.rig.driver.start_with(!0) & 0b11, 1 << F_SIZE, "no ports, no MULTIPORT");
        let sent: Vec<u8> = (0..1_u32 << 20).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();
        let mut rest = &sent[..];
        for len in [1, 15, 4096, 100_000, 1 << 20] {
            let (piece, after) = rest.split_at(len.min(rest.len()));
            let (first, second) = piece.split_at(piece.len() / 3);
            let buffers: Vec<_> =
                [first, second].map(|bytes| setup.rig.driver.readable(bytes)).into_iter().collect();
            assert_eq!(setup.rig.driver.request(1, &buffers), 0);
            rest = after;
        }
        assert!(setup.screen(0) == sent);
    });
}

#[test]
fn input_waits_for_buffers_and_comes_in_order() {
    on_each(&[], |setup| {
        setup.rig.driver.start_with(!0);
        eventually("the guest listens", || setup.handle.guest_listens(0));
        assert_eq!(setup.inputs[0].offer(b"hello, guest"), 12);
        let buffers = setup.offer_buffers(0, 2, 5);
        assert_eq!(setup.input(0, buffers[0]), b"hello");
        assert_eq!(setup.input(0, buffers[1]), b", gue");
        let buffers = setup.offer_buffers(0, 2, 5);
        assert_eq!(setup.input(0, buffers[0]), b"st");
        setup.inputs[0].offer(b"!");
        assert_eq!(setup.input(0, buffers[1]), b"!");
        setup.rig.driver.reset();
        assert!(!setup.handle.guest_listens(0));
    });
}

#[test]
fn the_guest_echoes_what_it_reads() {
    on_each(&[], |setup| {
        setup.rig.driver.start_with(!0);
        for round in 0..100 {
            let line = format!("line {round}\r");
            let buffer = setup.offer_buffers(0, 1, 64)[0];
            setup.inputs[0].offer(line.as_bytes());
            let mut read = setup.input(0, buffer);
            while read.len() < line.len() {
                let buffer = setup.offer_buffers(0, 1, 64)[0];
                read.extend(setup.input(0, buffer));
            }
            setup.output(1, &read);
        }
        let expected: String = (0..100).map(|round| format!("line {round}\r")).collect();
        assert_eq!(String::from_utf8(setup.screen(0)).unwrap(), expected);
    });
}

#[test]
fn a_resize_changes_the_configuration_and_says_so() {
    on_each(&[], |setup| {
        setup.handle.resize(TerminalSize { columns: 80, rows: 25 });
        setup.rig.driver.start_with(!0);
        assert!(setup.rig.driver.registers().wait_config_interrupt(), "the first size");
        let generation = setup.rig.driver.registers().config_generation();
        setup.handle.resize(TerminalSize { columns: 132, rows: 43 });
        assert!(setup.rig.driver.registers().wait_config_interrupt());
        assert_ne!(setup.rig.driver.registers().config_generation(), generation);
        let mut config = [0xff; 12];
        setup.rig.driver.registers().read_config(0, &mut config);
        assert_eq!(config, [132, 0, 43, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    });
}

#[test]
fn several_ports_introduce_themselves_and_keep_their_bytes_apart() {
    on_each(&["org.example.one", "two"], |setup| {
        setup.handle.resize(TerminalSize { columns: 80, rows: 25 });
        assert_eq!(setup.rig.driver.start_with(!0) & 0b11, 0b11);
        setup.say(0, 0, 1);
        for port in 0..3 {
            assert_eq!(setup.heard(), (port, 1, 0, vec![]), "PORT_ADD");
        }
        setup.say(0, 3, 1);
        assert_eq!(setup.heard(), (0, 4, 1, vec![]), "CONSOLE_PORT");
        assert_eq!(setup.heard(), (0, 5, 0, vec![80, 0, 25, 0]), "RESIZE: columns, rows");
        assert_eq!(setup.heard(), (0, 6, 1, vec![]), "PORT_OPEN");
        setup.say(1, 3, 1);
        assert_eq!(setup.heard(), (1, 7, 1, b"org.example.one".to_vec()), "PORT_NAME");
        assert_eq!(setup.heard(), (1, 6, 1, vec![]), "PORT_OPEN");

        setup.inputs[1].offer(b"for one");
        let buffer = setup.offer_buffers(4, 1, 64)[0];
        setup.output(5, b"from one");
        assert!(setup.rig.driver.queue(4).take_used().is_none(), "nothing before the guest opens the port");
        assert!(!setup.handle.guest_listens(1));
        setup.say(1, 6, 1);
        assert_eq!(setup.input(4, buffer), b"for one");
        assert!(setup.handle.guest_listens(1));
        setup.output(7, b"from two");
        setup.output(1, b"from the terminal");
        assert_eq!(setup.screen(0), b"from the terminal");
        assert_eq!((setup.screen(1), setup.screen(2)), (b"from one".to_vec(), b"from two".to_vec()));

        setup.say(1, 6, 0);
        setup.inputs[1].offer(b"kept");
        setup.offer_buffers(4, 1, 64);
        setup.output(5, b".");
        assert!(setup.rig.driver.queue(4).take_used().is_none(), "nothing after the guest closed it");

        setup.handle.resize(TerminalSize { columns: 100, rows: 30 });
        assert_eq!(setup.heard(), (0, 5, 0, vec![100, 0, 30, 0]), "RESIZE");
    });
}

#[test]
fn a_driver_without_multiport_has_the_terminal() {
    on_each(&["other"], |setup| {
        setup.rig.driver.negotiate(0);
        setup.rig.driver.set_up_queue(0, 64);
        setup.rig.driver.set_up_queue(1, 64);
        setup.rig.driver.start();
        setup.output(1, b"out");
        assert_eq!(setup.screen(0), b"out");
        setup.inputs[0].offer(b"in");
        let buffer = setup.offer_buffers(0, 1, 64)[0];
        assert_eq!(setup.input(0, buffer), b"in");
    });
}

#[test]
fn a_driver_that_asks_and_never_listens_is_made_to_wait() {
    on_each(&["other"], |setup| {
        setup.rig.driver.start_with(!0);
        let ready = setup.rig.driver.readable(&[1, 0, 0, 0, 3, 0, 1, 0]);
        let strange = setup.rig.driver.readable(&[0xff; 8]);
        let short = setup.rig.driver.readable(&[1]);
        let mut answered = 0;
        for _ in 0..20 {
            for message in [ready, strange, short].iter().cycle() {
                if setup.rig.driver.queue(3).add(&[*message]).is_none() {
                    break;
                }
            }
            // Each start looks at all queues once.
            setup.rig.device.pause();
            setup.rig.device.resume();
            setup.rig.device.pause();
            while setup.rig.driver.queue(3).take_used().is_some() {
                answered += 1;
            }
            setup.rig.device.resume();
        }
        assert!((1..200).contains(&answered), "{answered} messages heard without a buffer for answers");
        // Once it listens, all goes on.
        assert_eq!(setup.heard(), (1, 7, 1, b"other".to_vec()));
        assert_eq!(setup.heard(), (1, 6, 1, vec![]));
        setup.output(1, b"still here");
        assert_eq!(setup.screen(0), b"still here");
    });
}

#[test]
fn a_slow_terminal_holds_the_guest_up_and_loses_nothing() {
    for kind in TransportKind::ALL {
        let tight = Tight::default();
        let terminal = HostPort { name: String::new(), sink: Box::new(tight.clone()), input: Input::new() };
        let (console, _) = Console::new("console0", terminal, vec![]);
        let mut rig = Rig::new(kind, Box::new(console));
        rig.driver.start_with(!0);
        let sent: Vec<u8> = (0..40_000_u32).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();
        let buffers = [rig.driver.readable(&sent[..39_000]), rig.driver.readable(&sent[39_000..])];
        for buffer in buffers {
            rig.driver.add(1, &[buffer]);
        }
        rig.driver.kick(1);
        eventually("a refused write", || tight.refusals() > 0);
        assert!(rig.driver.queue(1).take_used().is_none(), "kept until it is written");
        // A pause in the middle loses nothing either.
        rig.device.pause();
        rig.device.resume();
        eventually("all written", || {
            tight.make_room();
            tight.kept().len() >= sent.len()
        });
        rig.driver.wait_used(1);
        rig.driver.wait_used(1);
        assert!(tight.kept() == sent, "{kind:?}");
    }
}

#[test]
fn endless_buffers_do_not_hold_up_a_reset() {
    on_each(&[], |setup| {
        setup.screens.clear();
        let output = crate::chardev::Output::start(std::io::sink()).unwrap();
        output.close();
        let terminal = HostPort { name: String::new(), sink: Box::new(output), input: Input::new() };
        let (console, _) = Console::new("console0", terminal, vec![]);
        setup.rig = Rig::new(TransportKind::Mmio, Box::new(console));
        setup.rig.driver.start_with(!0);
        setup.rig.driver.queue(1).style = crate::testing::driver::Style::Indirect;
        let huge = [Buffer { address: 0, len: 60 << 20, writable: false }; 64];
        for _ in 0..60 {
            setup.rig.driver.add(1, &huge);
        }
        setup.rig.driver.kick(1);
        setup.rig.driver.reset();
        setup.rig.driver.start_with(!0);
        setup.output(1, b"x");
    });
}

#[test]
fn a_broken_ring_breaks_the_device_until_it_is_reset() {
    on_each(&[], |setup| {
        setup.rig.driver.start_with(!0);
        setup.rig.driver.queue(1).set_available_index(1000);
        setup.rig.driver.registers().notify(1);
        assert!(setup.rig.driver.registers().wait_config_interrupt());
        assert!(setup.rig.driver.status().contains(Status::NEEDS_RESET));
        setup.rig.driver.start_with(!0);
        setup.output(1, b"again");
        assert_eq!(setup.screen(0), b"again");
    });
}
