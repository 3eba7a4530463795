//! While paused nothing moves; after it everything goes on.

use super::*;

/// Everything that a guest would notice.
fn look(bench: &Bench, driver: &mut Driver) -> (usize, u64, bool) {
    (bench.said().len(), bench.host.chip.interrupts(), driver.queue(0).take_used().is_some())
}

#[test]
fn cores_are_out_of_the_guest_while_paused() {
    let mut bench = Bench::new(8, (b'a'..=b'h').map(|letter| vec![chatter(letter)]).collect());
    bench.machine.start().unwrap();
    for _ in 0..10 {
        let before = bench.said().len();
        wait_until("the cores run", || bench.said().len() > before);
        bench.machine.pause().unwrap();
        assert!(is_still(|| bench.said().len()), "a core runs while paused");
        bench.machine.resume().unwrap();
    }
}

#[test]
fn a_paused_device_touches_no_ram_and_fires_nothing_and_serves_later_what_waits() {
    for transport in [Transport::Pci, Transport::Mmio] {
        let mut bench = Bench::with(transport, 2, Scripted::default());
        bench.machine.start().unwrap();
        let mut driver = bench.driver(ENTROPY);
        driver.start_with(0);
        for _ in 0..5 {
            use_entropy(&mut driver);
            bench.machine.pause().unwrap();
            // As a store that was under way: what is available now has had its doorbell.
            let buffer = driver.writable(16);
            driver.add(0, &[buffer]);
            assert_eq!(bench.host.doorbells.watched(), 0, "a doorbell is watched while paused");
            let before = look(&bench, &mut driver);
            assert!(is_still(|| look(&bench, &mut driver)), "{transport:?}: something moved");
            assert_eq!((look(&bench, &mut driver), driver.bytes(buffer)), (before, vec![0; 16]));
            bench.machine.resume().unwrap();
            assert_eq!(driver.wait_used(0).written, 16);
            assert_eq!(driver.bytes(buffer), [0x5a; 16]);
        }
    }
}

#[test]
fn a_doorbell_just_before_a_pause_is_served() {
    for transport in [Transport::Pci, Transport::Mmio] {
        let mut bench = Bench::with(transport, 2, Scripted::default());
        bench.machine.start().unwrap();
        let mut driver = bench.driver(ENTROPY);
        driver.start_with(0);
        for _ in 0..100 {
            let buffer = driver.writable(16);
            driver.add(0, &[buffer]);
            driver.kick(0);
            bench.machine.pause().unwrap();
            bench.machine.resume().unwrap();
            assert_eq!(driver.wait_used(0).written, 16);
        }
    }
}

#[test]
fn a_doorbell_that_falls_into_a_pause_is_served_after_it() {
    let mut bench = Bench::new(2, vec![]);
    bench.machine.start().unwrap();
    let mut driver = bench.driver(ENTROPY);
    driver.start_with(0);
    for _ in 0..50 {
        let buffer = driver.writable(16);
        driver.add(0, &[buffer]);
        bench.machine.pause().unwrap();
        // The core's store waits for the end of the pause.
        let notify = thread::scope(|scope| {
            let ring = scope.spawn(|| driver.kick(0));
            bench.machine.resume().unwrap();
            ring.join()
        });
        notify.unwrap();
        assert_eq!(driver.wait_used(0).written, 16);
    }
}
