//! A host that fails: each failure is one line, and nothing hangs.

use super::*;

fn refusing(operation: &'static str, core: u32) -> Scripted {
    let host = Scripted::new(vec![vec![chatter(b'x')]]);
    host.refuse(operation, core);
    host
}

#[test]
fn a_core_that_cannot_be_made_refuses_the_machine() {
    for core in [0, 3, 7] {
        let host = refusing("create_vcpu", core);
        let devices = vec![console(CONSOLE), entropy(ENTROPY)];
        let refused = Bench::assemble(host, &config(Transport::Pci, 8), devices);
        let expected = format!("vCPU {core}: create_vcpu: the test refuses");
        assert_eq!(line(&refused.err().expect("a machine without a core")), expected);
    }
}

#[test]
fn a_core_that_fails_its_reset_is_a_crash_and_no_core_runs() {
    for core in [0, 5] {
        let host = refusing("reset", core);
        let mut bench = Bench::with(Transport::Pci, 8, host);
        bench.machine.start().unwrap();
        let crash = Event::Crash(format!("vCPU {core}: reset: the test refuses"));
        assert_eq!(bench.event(), crash);
        assert!(is_still(|| bench.said().len()));
        assert_eq!(bench.said(), "", "the guest ran with a core in no state");
        assert!((0..8).all(|core| bench.host.starts(core).is_empty()));
    }
}

#[test]
fn a_core_that_fails_a_later_reset_is_a_crash_too() {
    let mut bench = Bench::new(4, vec![]);
    bench.machine.start().unwrap();
    bench.hand().port_read::<1>(COM1);
    bench.host.refuse("reset", 2);
    for _ in 0..3 {
        bench.machine.reset().unwrap();
        assert_eq!(bench.event(), Event::Crash("vCPU 2: reset: the test refuses".to_owned()));
    }
    assert_eq!(bench.host.starts(0).len(), 1);
    bench.machine.stop();
}

#[test]
fn cores_that_fail_together_are_all_told() {
    let ill = || vec![vec![Step::Fail("ill".to_owned())]];
    let mut bench = Bench::new(8, (0..8).map(|_| ill()).collect());
    bench.machine.start().unwrap();
    let event = bench.event();
    let Event::Crash(line) = &event else { panic!("{event:?}") };
    assert!(line.starts_with("vCPU ") && line.ends_with(": run: ill"), "{line}");
    bench.machine.stop();
}

/// A sink with a fault in it.
struct Broken;

impl io::Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        panic!("a fault of ours")
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_panic_on_a_cores_thread_is_a_crash_and_not_a_hang() {
    let host: Scripted = Scripted::new(vec![vec![], vec![vec![say(b'x')]]]);
    let mut events = EventLoop::new().unwrap();
    let config = config(Transport::Pci, 3);
    let mut machine = Machine::assemble(&host, &config, parts(Broken, Vec::new()), events.bell(0)).unwrap();
    machine.start().unwrap();
    wait_for_bell(&mut events);
    assert_eq!(machine.take_event(), Some(Event::Crash("vcpu1: its thread panicked".to_owned())));
    machine.pause().unwrap();
    machine.stop();
}
