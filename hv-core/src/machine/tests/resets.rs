//! A reset is a power-on: payload, devices and cores, again and again.

use std::{fs::File, io::Write};

use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::{
    boot::{PayloadFile, testing::pattern},
    virtio::negotiation::Status,
};

/// Where the kernel of these tests is loaded.
const KERNEL: u64 = 0x10_0000;

fn bytes(bench: &Bench, address: u64, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    bench.machine.ram.read_slice(&mut bytes, GuestAddress(address)).unwrap();
    bytes
}

/// What a guest can find out about ports and PCI functions without changing them.
fn registers(bench: &Bench) -> Vec<Vec<u8>> {
    let hand = bench.hand();
    let mut found = vec![
        hand.port_read::<4>(0xcf8).to_vec(),
        hand.port_read::<2>(PM1_STATUS).to_vec(),
        hand.port_read::<2>(PM1_ENABLE).to_vec(),
        hand.port_read::<1>(I8042_COMMAND).to_vec(),
    ];
    found.extend((1..8).map(|register| hand.port_read::<1>(COM1 + register).to_vec()));
    for function in (0..32).map(|slot| ECAM + (slot << 15)) {
        found.extend((0..64).map(|register| bench.load::<4>(function + register * 4).to_vec()));
    }
    found.extend((0..64).map(|register| bench.load::<4>(VIRTIO_MMIO + 0x2000 + register * 4).to_vec()));
    found
}

/// Leaves everything in another state than at power-on.
fn disturb(bench: &Bench) {
    let hand = bench.hand();
    let mut driver = bench.driver(ENTROPY);
    driver.start_with(0);
    use_entropy(&mut driver);
    if bench.machine.shape.config.transport == Transport::Pci {
        bench.function(ENTROPY, Interrupts::Msix).move_bar(0, 450 << 30);
    }
    hand.port_write(0xcf8, &0x8000_0800_u32.to_le_bytes());
    hand.port_write(PM1_ENABLE, &[0x00, 0x01]);
    assert!(bench.machine.press_power_button());
    hand.port_write(I8042_COMMAND, &[0xaa]);
    // Divisor latch off, loopback with interrupts connected, scratch.
    for (register, value) in [(1, 0x0f), (3, 0x03), (4, 0x0b), (7, 0xa5)] {
        hand.port_write(COM1 + register, &[value]);
    }
    let ram = &bench.machine.ram;
    ram.write_slice(&[0; 5000], GuestAddress(KERNEL)).unwrap();
    ram.write_slice(b"kept", GuestAddress(SCRATCH)).unwrap();
    ram.write_slice(&[0; 4096], GuestAddress(0x7000)).unwrap();
    ram.write_slice(&[0; 4096], GuestAddress(0xe_0000)).unwrap();
}

#[test]
fn a_reset_puts_back_the_state_at_power_on_each_time() {
    for transport in [Transport::Pci, Transport::Mmio] {
        let mut bench = Bench::with(transport, 8, Scripted::default());
        bench.machine.start().unwrap();
        let fresh = registers(&bench);
        let (tables, start) = (bytes(&bench, 0xe_0000, 0x2_0000), bytes(&bench, 0x7000, 4096));
        assert!(tables.starts_with(b"RSD PTR "));
        for round in 0..4 {
            wait_until("all cores start", || (0..8).all(|core| bench.host.starts(core).len() == round + 1));
            disturb(&bench);
            assert!(registers(&bench) != fresh);
            assert!(bench.host.chip.line(SCI));
            if round % 2 == 0 {
                bench.hand().port_write(RESET_REGISTER, &[1]);
                assert_eq!(bench.event(), Event::Reset);
            }
            bench.machine.reset().unwrap();
            assert_eq!(bench.machine.state(), State::Running);
            assert!(!bench.host.chip.line(SCI));
            assert_eq!(bench.host.doorbells.watched(), 0);
            for (number, (now, then)) in registers(&bench).iter().zip(&fresh).enumerate() {
                assert_eq!(now, then, "{transport:?}, reset {round}, register {number}");
            }
            assert_eq!(bytes(&bench, KERNEL, 5000), pattern(5000), "the kernel is loaded afresh");
            assert_eq!(bytes(&bench, 0x7000, 4096), start);
            assert_eq!(bytes(&bench, 0xe_0000, 0x2_0000), tables);
            assert_eq!(bytes(&bench, SCRATCH, 4), b"kept", "what no payload overwrites stays");
        }
        for core in 0..8 {
            wait_until("every core started five times", || bench.host.starts(core).len() == 5);
            let starts = bench.host.starts(core);
            assert!(starts.iter().all(|start| *start == starts[0]), "core {core}: {starts:x?}");
        }
    }
}

#[test]
fn each_boot_runs_its_own_script_to_its_end() {
    let boots = |letter| vec![vec![say(letter), Step::Reset]; 20];
    let mut bench = Bench::new(1, vec![boots(b'.')]);
    bench.machine.start().unwrap();
    for boot in 1..=20 {
        assert_eq!(bench.event(), Event::Reset);
        assert_eq!(bench.said().len(), boot);
        bench.machine.reset().unwrap();
    }
    assert_eq!(bench.hand().port_read::<1>(COM1 + 5), [0x60]);
}

#[test]
fn a_paused_machine_can_be_reset_and_then_runs() {
    let mut bench = Bench::new(4, vec![]);
    bench.machine.start().unwrap();
    disturb(&bench);
    bench.machine.pause().unwrap();
    bench.machine.reset().unwrap();
    assert_eq!(bench.machine.state(), State::Running);
    let driver = bench.driver(ENTROPY);
    assert_eq!(driver.status(), Status::empty());
    let mut driver = driver;
    driver.start_with(0);
    use_entropy(&mut driver);
}

#[test]
fn a_request_under_way_at_a_reset_leaves_no_interrupt_to_the_next_guest() {
    for transport in [Transport::Pci, Transport::Mmio] {
        let mut bench = Bench::with(transport, 2, Scripted::default());
        bench.machine.start().unwrap();
        for _ in 0..30 {
            let mut driver = bench.driver(ENTROPY);
            driver.start_with(0);
            let buffer = driver.writable(4096);
            driver.add(0, &[buffer]);
            driver.kick(0);
            bench.machine.reset().unwrap();
            let before = bench.host.chip.interrupts();
            assert!(!bench.host.chip.line(gsi(ENTROPY)));
            assert_eq!(bench.driver(ENTROPY).status(), Status::empty());
            assert_eq!(bench.host.chip.interrupts(), before);
        }
    }
}

#[test]
fn a_reset_forgets_the_events_before_it() {
    let mut bench = Bench::new(2, vec![]);
    bench.machine.start().unwrap();
    bench.hand().port_write(RESET_REGISTER, &[1]);
    bench.hear();
    bench.machine.reset().unwrap();
    assert_eq!(bench.machine.take_event(), None);
    assert_eq!(bench.hand().port_read::<1>(COM1 + 5), [0x60], "the guest runs");
}

#[test]
fn a_payload_that_is_gone_is_told_and_can_come_back() {
    let mut bench = Bench::new(2, vec![]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vmlinux");
    std::fs::write(&path, vmlinux()).unwrap();
    bench.machine.payload.kernel = PayloadFile::kernel(File::open(&path).unwrap(), "vmlinux");
    bench.machine.start().unwrap();
    File::create(&path).unwrap();
    let refused = line(&bench.machine.reset().unwrap_err());
    assert_eq!(refused, "kernel vmlinux: is empty: fetch or build it again");
    assert_eq!(bench.machine.state(), State::Off);
    bench.machine.pause().unwrap_err();
    bench.machine.resume().unwrap_err();
    File::create(&path).unwrap().write_all(&vmlinux()).unwrap();
    bench.machine.start().unwrap();
    let mut driver = bench.driver(ENTROPY);
    driver.start_with(0);
    use_entropy(&mut driver);
}
