//! A virtio device on each transport: breaches, resets, pauses.

use std::{
    io::{self, Read},
    sync::mpsc,
    thread,
};

use super::*;
use crate::{
    testing::{Rig, driver::Driver},
    virtio::entropy::Entropy,
};

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

fn entropy() -> Entropy {
    Entropy::new("entropy0", Box::new(io::repeat(7)))
}

/// A source that says when it is asked and answers when it is told.
struct Gate {
    asked: mpsc::Sender<()>,
    go: mpsc::Receiver<()>,
}

impl Read for Gate {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.asked.send(()).unwrap();
        self.go.recv().unwrap();
        buffer.fill(9);
        Ok(buffer.len())
    }
}

/// What a driver must not do, on queue 0.
const BREACHES: &[fn(&mut Driver)] = &[
    |driver| driver.queue(0).set_available_index(u16::MAX),
    |driver| driver.queue(0).set_available_index(1000),
    |driver| driver.queue(0).publish(u16::MAX),
    |driver| descriptor(driver, 0x80_0000, 1, WRITE | NEXT, 0),
    |driver| descriptor(driver, 0x80_0000, 1, WRITE | NEXT, 64),
    |driver| descriptor(driver, 0x400_0000, 1, WRITE, 0),
    |driver| descriptor(driver, !0, u32::MAX, WRITE, 0),
    |driver| descriptor(driver, 0x80_0000, 8, INDIRECT, 0),
    |driver| descriptor(driver, 0x80_0000, 0, WRITE, 0),
    |driver| {
        driver.queue(0).write_descriptor(1, 0x80_0000, 1, 0, 0);
        descriptor(driver, 0x80_0000, 1, WRITE | NEXT, 1);
    },
];

fn descriptor(driver: &mut Driver, address: u64, len: u32, flags: u16, next: u16) {
    driver.queue(0).write_descriptor(0, address, len, flags, next);
    driver.queue(0).publish(0);
}

#[test]
fn each_breach_needs_a_reset_and_a_reset_heals() {
    Rig::on_each(entropy, |mut rig| {
        for breach in BREACHES {
            rig.driver.start_with(0);
            breach(&mut rig.driver);
            rig.driver.registers().notify(0);
            assert!(rig.driver.registers().wait_config_interrupt());
            assert!(rig.driver.status().contains(Status::NEEDS_RESET));
        }
        rig.driver.start_with(0);
        let buffer = rig.driver.writable(2);
        assert_eq!(rig.driver.request(0, &[buffer]), 2);
        assert_eq!(rig.driver.bytes(buffer), [7, 7]);
    });
}

#[test]
fn a_queue_placed_outside_ram_needs_a_reset() {
    Rig::on_each(entropy, |mut rig| {
        rig.driver.negotiate(0);
        rig.driver.registers().set_up_queue(0, 8, [0x400_0000, 0x1000, 0x2000]);
        assert!(!rig.driver.registers().queue_enabled(0));
        assert!(rig.driver.status().contains(Status::NEEDS_RESET));
        assert_eq!(rig.chip.interrupts(), 0, "no interrupt before DRIVER_OK");
        rig.driver.start();
        assert!(rig.driver.registers().wait_config_interrupt());
        rig.driver.start_with(0);
        let buffer = rig.driver.writable(2);
        rig.driver.request(0, &[buffer]);
    });
}

#[test]
fn a_device_whose_driver_enables_no_queue_needs_a_reset() {
    Rig::on_each(entropy, |mut rig| {
        rig.driver.negotiate(0);
        rig.driver.start();
        assert!(rig.driver.registers().wait_config_interrupt());
        assert!(rig.driver.status().contains(Status::NEEDS_RESET));
    });
}

#[test]
fn a_reset_in_mid_flight_waits_for_the_worker_and_then_nothing_comes() {
    for kind in crate::testing::TransportKind::ALL {
        let ((asked, was_asked), (go, told)) = (mpsc::channel(), mpsc::channel());
        let source = Gate { asked, go: told };
        let mut rig = Rig::new(kind, Box::new(Entropy::new("entropy0", Box::new(source))));
        rig.driver.start_with(0);
        let buffer = rig.driver.writable(1);
        rig.driver.add(0, &[buffer]);
        rig.driver.kick(0);
        was_asked.recv().unwrap();
        let interrupts = thread::scope(|scope| {
            let driver = &mut rig.driver;
            let reset = scope.spawn(move || driver.reset());
            go.send(()).unwrap();
            reset.join().unwrap();
            rig.chip.interrupts()
        });
        let after = rig.driver.bytes(buffer);
        rig.device.pause();
        assert_eq!((rig.chip.interrupts(), rig.driver.bytes(buffer)), (interrupts, after));
    }
}

#[test]
fn resets_while_interrupts_fire_do_not_deadlock() {
    Rig::on_each(entropy, |mut rig| {
        let buffer = rig.driver.writable(1);
        // Each round's rings take new memory; these fit.
        for _ in 0..20 {
            rig.driver.start_with(0);
            for _ in 0..32 {
                rig.driver.add(0, &[buffer]);
                rig.driver.kick(0);
            }
            rig.driver.reset();
        }
    });
}

#[test]
fn a_paused_device_is_quiet_and_goes_on_where_it_was() {
    Rig::on_each(entropy, |mut rig| {
        rig.driver.start_with(0);
        for round in 0..50 {
            let buffer = rig.driver.writable(1);
            rig.device.pause();
            let interrupts = rig.chip.interrupts();
            rig.driver.add(0, &[buffer]);
            rig.driver.kick(0);
            assert_eq!((rig.driver.bytes(buffer), rig.chip.interrupts()), (vec![0], interrupts), "{round}");
            rig.device.resume();
            assert_eq!(rig.driver.wait_used(0).written, 1);
            assert_eq!(rig.driver.bytes(buffer), [7]);
        }
    });
}

#[test]
fn pauses_under_load_lose_nothing() {
    Rig::on_each(entropy, |mut rig| {
        rig.driver.start_with(0);
        let buffer = rig.driver.writable(1);
        let device = rig.device.clone();
        for round in 0..500 {
            // One pause only: a further one would have the queue looked at again and hide a lost doorbell.
            thread::scope(|scope| {
                scope.spawn(|| {
                    device.pause();
                    device.resume();
                });
                (0..round * 20).for_each(|_| std::hint::spin_loop());
                assert_eq!(rig.driver.request(0, &[buffer]), 1);
            });
        }
    });
}

#[test]
fn a_machine_reset_is_a_power_on() {
    Rig::on_each(entropy, |mut rig| {
        rig.driver.start_with(0);
        let buffer = rig.driver.writable(1);
        rig.driver.request(0, &[buffer]);
        rig.device.pause();
        rig.device.reset();
        rig.device.resume();
        assert_eq!(rig.doorbells.watched(), 0);
        rig.reconnect();
        assert_eq!(rig.driver.status(), Status::empty());
        rig.driver.start_with(0);
        assert_eq!(rig.driver.request(0, &[buffer]), 1);
    });
}

/// Changes its configuration whenever its driver stores to it.
struct Echo {
    bytes: [u8; 4],
    changed: Option<ConfigInterrupt>,
}

impl VirtioDevice for Echo {
    fn kind(&self) -> Kind {
        Kind::Console
    }
    fn name(&self) -> &str {
        "echo0"
    }
    fn features(&self) -> u64 {
        0
    }
    fn queue_sizes(&self) -> &[u16] {
        &[4, 4]
    }
    fn read_config(&self, offset: usize, data: &mut [u8]) {
        for (byte, value) in data.iter_mut().zip(self.bytes.get(offset..).unwrap_or_default()) {
            *byte = *value;
        }
    }
    fn write_config(&mut self, offset: usize, data: &[u8]) {
        for (byte, value) in self.bytes.get_mut(offset..).unwrap_or_default().iter_mut().zip(data) {
            *byte = *value;
        }
        if let Some(changed) = &self.changed {
            changed.fire();
        }
    }
    fn activate(&mut self, with: Activation) -> anyhow::Result<Vec<Box<dyn crate::virtio::QueueWorker>>> {
        assert_eq!(with.queues.len(), 2);
        self.changed = Some(with.config_changed);
        Ok(Vec::new())
    }
    fn reset(&mut self) {
        self.changed = None;
        self.bytes = [0; 4];
    }
}

#[test]
fn a_change_of_configuration_is_told_with_a_new_generation() {
    let echo = || Echo { bytes: [1, 2, 3, 4], changed: None };
    Rig::on_each(echo, |mut rig| {
        rig.driver.start_with(0);
        let generation = rig.driver.registers().config_generation();
        let mut seen = [0xaa; 6];
        rig.driver.registers().write_config(1, &[9]);
        assert!(rig.driver.registers().wait_config_interrupt());
        assert_ne!(rig.driver.registers().config_generation(), generation);
        rig.driver.registers().read_config(0, &mut seen);
        assert_eq!(seen, [0, 9, 0, 0, 0, 0]);
    });
}
