//! How a guest starts and how it ends; and the machine, in whatever state.

use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::{arch::x86_64::CpuState, boot::testing::ENTRY};

#[test]
fn the_boot_core_starts_at_the_kernel_and_the_others_at_power_on() {
    let mut bench = Bench::new(8, vec![vec![vec![say(b'h'), say(b'i')]]]);
    assert_eq!(bench.machine.state(), State::Off);
    bench.machine.start().unwrap();
    assert_eq!(bench.machine.state(), State::Running);
    wait_until("all cores start", || (0..8).all(|core| bench.host.starts(core).len() == 1));
    let first = &bench.host.starts(0)[0];
    assert_eq!((first.rip, first.general.rsi), (ENTRY, 0x7000));
    for core in 1..8 {
        assert_eq!(bench.host.starts(core), [CpuState::default()], "core {core}");
    }
    bench.hand().begin(soft_off());
    assert_eq!(bench.event(), Event::PowerOff);
    assert_eq!(bench.said(), "hi");
    bench.machine.stop();
    assert_eq!(bench.machine.exit_counts().pio_writes, 3);
}

#[test]
fn every_end_of_a_guest_is_told_and_holds_all_cores() {
    let crash = |line: &str| Event::Crash(line.to_owned());
    let ends = [
        (soft_off(), Event::PowerOff),
        (Step::PortWrite(RESET_REGISTER, vec![1]), Event::Reset),
        (Step::PortWrite(I8042_COMMAND, vec![0xfe]), Event::Reset),
        (Step::PowerOff, Event::PowerOff),
        (Step::Reset, Event::Reset),
        (Step::Crash("triple fault".to_owned()), crash("vCPU 3: triple fault")),
        (Step::Fail("the host is ill".to_owned()), crash("vCPU 3: run: the host is ill")),
    ];
    for (step, event) in ends {
        let quiet = vec![vec![]];
        let scripts = vec![vec![chatter(b'a')], vec![chatter(b'b')], quiet, vec![vec![step.clone()]]];
        let mut bench = Bench::new(8, scripts);
        bench.machine.start().unwrap();
        assert_eq!(bench.event(), event, "{step:?}");
        wait_until("all cores are held", || is_still(|| bench.said().len()));
        assert_eq!(bench.machine.take_event(), None);
        bench.machine.stop();
    }
}

#[test]
fn an_ended_guest_does_not_go_on_after_a_pause() {
    let mut bench = Bench::new(2, vec![vec![vec![soft_off()]], vec![chatter(b'x')]]);
    bench.machine.start().unwrap();
    bench.hear();
    bench.machine.pause().unwrap();
    bench.hand().begin(Step::Write(SCRATCH, vec![1]));
    bench.machine.resume().unwrap();
    assert!(is_still(|| bench.said().len()), "a core runs");
    assert_eq!(bench.event(), Event::PowerOff);
    bench.machine.reset().unwrap();
    let ram = bench.machine.ram.clone();
    wait_until("the guest runs again", || ram.read_obj::<u8>(GuestAddress(SCRATCH)).unwrap() == 1);
}

#[test]
fn each_state_takes_the_orders_that_it_can_and_refuses_the_others_in_one_line() {
    let mut bench = Bench::new(2, vec![]);
    let machine = &mut bench.machine;
    let refused = |result: anyhow::Result<()>| line(&result.unwrap_err());
    assert_eq!(refused(machine.pause()), "the machine is not running");
    assert_eq!(refused(machine.resume()), "the machine is not paused");
    assert_eq!(refused(machine.reset()), "the machine is not on");
    machine.start().unwrap();
    assert_eq!(refused(machine.start()), "the machine was started before");
    assert_eq!(refused(machine.resume()), "the machine is not paused");
    machine.pause().unwrap();
    assert_eq!(machine.state(), State::Paused);
    assert_eq!(refused(machine.pause()), "the machine is not running");
    assert_eq!(refused(machine.start()), "the machine was started before");
    machine.resume().unwrap();
    assert_eq!(machine.state(), State::Running);
    machine.stop();
    machine.stop();
    assert_eq!(machine.state(), State::Stopped);
    for result in [machine.start(), machine.pause(), machine.resume(), machine.reset()] {
        refused(result);
    }
}

#[test]
fn it_stops_and_is_dropped_in_every_state_and_leaves_nothing_behind() {
    let scripts = || vec![vec![], vec![chatter(b'a')], vec![vec![soft_off()]]];
    let states: [fn(&mut Bench); 7] = [
        |_| {},
        |bench| bench.machine.start().unwrap(),
        |bench| {
            bench.machine.start().unwrap();
            bench.machine.pause().unwrap();
        },
        |bench| {
            bench.machine.start().unwrap();
            bench.machine.pause().unwrap();
            bench.machine.resume().unwrap();
        },
        |bench| {
            bench.machine.start().unwrap();
            bench.hear();
        },
        |bench| {
            bench.machine.start().unwrap();
            bench.event();
            bench.machine.reset().unwrap();
            start_entropy(bench);
        },
        |bench| {
            bench.machine.start().unwrap();
            bench.event();
            bench.machine.reset().unwrap();
            start_entropy(bench);
            bench.machine.pause().unwrap();
        },
    ];
    for (number, enter) in states.iter().enumerate() {
        for stop in [true, false] {
            let mut bench = Bench::new(4, scripts());
            enter(&mut bench);
            if stop {
                bench.machine.stop();
                let before = (bench.said(), bench.host.chip.interrupts());
                assert!(is_still(|| (bench.said(), bench.host.chip.interrupts())), "state {number}");
                assert_eq!((bench.said(), bench.host.chip.interrupts()), before);
            }
            let trace = bench.trace();
            drop(bench);
            assert_eq!(trace.strong_count(), 0, "state {number}: a device or core is left");
        }
    }
}

fn start_entropy(bench: &mut Bench) {
    let mut driver = bench.driver(ENTROPY);
    driver.start_with(0);
    use_entropy(&mut driver);
}

#[test]
fn the_power_button_reaches_the_guest_by_the_sci() {
    let steps = vec![
        Step::WaitLine(SCI),
        Step::PortRead(PM1_STATUS, vec![0x00, 0x01]),
        Step::PortWrite(PM1_STATUS, vec![0x00, 0x01]),
        soft_off(),
    ];
    let mut bench = Bench::new(2, vec![vec![vec![]], vec![steps]]);
    bench.machine.start().unwrap();
    assert!(!bench.machine.press_power_button(), "the guest listens already");
    assert!(!bench.host.chip.line(SCI));
    bench.hand().port_write(PM1_STATUS, &[0x00, 0x01]);
    bench.hand().port_write(PM1_ENABLE, &[0x00, 0x01]);
    assert!(bench.machine.press_power_button());
    assert_eq!(bench.event(), Event::PowerOff);
    assert!(!bench.host.chip.line(SCI), "the guest has cleared the status");
}

#[test]
fn typed_bytes_reach_the_serial_port() {
    let mut bench = Bench::new(1, vec![]);
    bench.machine.start().unwrap();
    // Data terminal ready, request to send.
    bench.hand().port_write(COM1 + 4, &[3]);
    assert_eq!(bench.machine.serial_input().send(b"x"), 1);
    assert_eq!(bench.hand().port_read(COM1), *b"x");
}
