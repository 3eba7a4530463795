//! A machine that has used its share of the processors hears what it is told all the same.

use std::num::NonZeroU32;

use super::*;

fn limited(cpus: u32, thousandths: u32) -> MachineConfig {
    let cpu_quota = NonZeroU32::new(thousandths).map(CpuQuota::of_thousandths);
    MachineConfig { cpu_quota, ..config(Transport::Pci, cpus) }
}

/// Uses up the share of years.
fn exhaust(bench: &Bench) {
    bench.machine.governor.as_ref().unwrap().quota.charge(Duration::from_secs(1 << 32));
}

fn all_rest(bench: &Bench) {
    let quota = &bench.machine.governor.as_ref().unwrap().quota;
    wait_until("the cores rest", || quota.resting() == 3);
}

#[test]
fn cores_that_have_used_their_share_are_paused_reset_and_stopped_at_once() {
    let scripts = (b'a'..=b'c').map(|letter| vec![chatter(letter); 2]).collect();
    let mut bench = Bench::assemble(Scripted::new(scripts), &limited(3, 500), Vec::new()).unwrap();
    bench.machine.start().unwrap();
    wait_until("the cores run", || !bench.said().is_empty());
    exhaust(&bench);
    all_rest(&bench);
    assert!(is_still(|| bench.said().len()), "a core runs that has used its share");
    for _ in 0..3 {
        bench.machine.pause().unwrap();
        bench.machine.resume().unwrap();
        all_rest(&bench);
    }
    bench.machine.reset().unwrap();
    all_rest(&bench);
    assert!(is_still(|| bench.said().len()), "a reset brings no new share");
    bench.machine.stop();
}

#[test]
fn a_machine_within_its_share_does_its_work() {
    let script = vec![[vec![say(b'x'); 1000], vec![Step::PowerOff]].concat()];
    let mut bench = Bench::assemble(Scripted::new(vec![script]), &limited(2, 10), Vec::new()).unwrap();
    bench.machine.start().unwrap();
    assert_eq!(bench.event(), Event::PowerOff);
    assert_eq!(bench.said().len(), 1000);
}

#[test]
fn without_a_quota_nobody_looks() {
    let bench = Bench::new(1, vec![]);
    assert!(bench.machine.governor.is_none());
}
