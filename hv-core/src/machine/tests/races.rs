//! Orders from one thread while cores report events: nothing is lost, nothing hangs.

use std::sync::mpsc;

use super::*;

/// Fails instead of hanging.
fn in_time(test: impl FnOnce() + Send + 'static) {
    let (done, wait) = mpsc::channel();
    let thread = thread::spawn(move || {
        test();
        let _ = done.send(());
    });
    if wait.recv_timeout(6 * DEADLINE) == Err(mpsc::RecvTimeoutError::Timeout) {
        panic!("a hang");
    }
    thread.join().unwrap();
}

/// Numbers without a pattern (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// Chatters for a while, then ends the guest in some way, in each of many boots.
fn restless(random: &mut Random, boots: u32) -> Script {
    let boot = |random: &mut Random| {
        let mut steps = vec![Step::PortRead(0x80, vec![0xff]); usize::try_from(random.below(60)).unwrap()];
        steps.push(match random.below(6) {
            0 => Step::PortWrite(RESET_REGISTER, vec![1]),
            1 => Step::PortWrite(I8042_COMMAND, vec![0xfe]),
            2 => soft_off(),
            3 => Step::Crash("triple fault".to_owned()),
            4 => Step::Reset,
            _ => Step::Again,
        });
        steps
    };
    (0..boots).map(|_| boot(random)).collect()
}

fn orders_race_with_events(transport: Transport, seed: u64) {
    const ROUNDS: u32 = 300;
    let mut random = Random(seed);
    let scripts = (0..8).map(|_| restless(&mut random, 2 * ROUNDS)).collect();
    let mut bench = Bench::with(transport, 8, Scripted::new(scripts));
    bench.machine.start().unwrap();
    for _ in 0..ROUNDS {
        for _ in 0..random.below(200) {
            thread::yield_now();
        }
        match (random.below(4), bench.machine.state()) {
            (0, State::Running) => {
                bench.machine.pause().unwrap();
                let starts =
                    |bench: &Bench| (0..8).map(|core| bench.host.starts(core).len()).collect::<Vec<_>>();
                let before = starts(&bench);
                thread::yield_now();
                assert_eq!(starts(&bench), before, "a core starts while paused");
            }
            (0, _) => bench.machine.resume().unwrap(),
            (1, _) => {
                bench.machine.reset().unwrap();
            }
            (2, _) => drop(bench.machine.press_power_button()),
            _ => {
                if bench.machine.take_event().is_some() {
                    bench.machine.reset().unwrap();
                }
            }
        }
    }
    if bench.machine.state() == State::Paused {
        bench.machine.resume().unwrap();
    }
    bench.machine.reset().unwrap();
    bench.machine.stop();
}

#[test]
fn orders_race_with_events_on_pci() {
    in_time(|| orders_race_with_events(Transport::Pci, 0x9e37_79b9_7f4a_7c15));
}

#[test]
fn orders_race_with_events_on_mmio() {
    in_time(|| orders_race_with_events(Transport::Mmio, 0xd1b5_4a32_d192_ed03));
}

#[test]
fn an_end_in_a_pause_is_heard_after_it() {
    in_time(|| {
        // The store that ends the guest is under way when the pause begins, or waits until it is over.
        for round in 0..200 {
            let mut bench = Bench::new(2, vec![vec![vec![Step::PortRead(0x80, vec![0xff]), soft_off()]]]);
            bench.machine.start().unwrap();
            for _ in 0..round {
                thread::yield_now();
            }
            bench.machine.pause().unwrap();
            bench.machine.resume().unwrap();
            assert_eq!(bench.event(), Event::PowerOff);
            assert_eq!(bench.machine.take_event(), None);
        }
    });
}
