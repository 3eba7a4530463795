//! Machines with more than one core: each of the others lives on its own thread and says what it reports.

use std::{
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

use hv_core::{
    arch::Aarch64,
    hypervisor::{Exit, Hypervisor, Kick, Vcpu, Vm},
};

use crate::rig::{Rig, VcpuOf, reported};

type KickOf<H> = <VcpuOf<H> as Vcpu>::Kick;

/// The cores from 1 on.
pub(super) struct Others<H: Hypervisor> {
    cores: Vec<(KickOf<H>, Sender<()>)>,
    held: Receiver<()>,
    reports: Receiver<(u32, u64)>,
}

/// Makes a machine of `count` cores and runs all but the first, with which `script` begins.
pub(super) fn with_cores<H: Hypervisor>(count: u32, script: impl FnOnce(&Rig<H>, &mut VcpuOf<H>, &Others<H>))
where
    H::Vm: Vm<Arch = Aarch64>,
{
    let rig = Rig::<H>::new(count);
    let mut first = rig.vm.create_vcpu(0).unwrap();
    let (report, reports) = channel();
    let (hold, held) = channel();
    let vm = &rig.vm;
    thread::scope(|scope| {
        let mut others = Others::<H> { cores: Vec::new(), held, reports };
        for index in 1..count {
            let (report, hold) = (report.clone(), hold.clone());
            let (made, ready) = channel();
            let (go, orders) = channel();
            scope.spawn(move || {
                let mut vcpu = vm.create_vcpu(index).unwrap();
                made.send(vcpu.kick()).unwrap();
                for () in orders {
                    vcpu.reset().unwrap();
                    run(&mut vcpu, index, &report);
                    // Who asked may be gone.
                    let _ = hold.send(());
                }
            });
            others.cores.push((ready.recv().unwrap(), go));
        }
        drop((report, hold));
        vm.seal().unwrap();
        others.go();
        script(&rig, &mut first, &others);
    });
}

/// Runs a core, off or on, until it is kicked.
fn run(vcpu: &mut impl Vcpu, index: u32, report: &Sender<(u32, u64)>) {
    loop {
        match vcpu.run().unwrap() {
            Exit::Kicked => return,
            exit => {
                let _ = report.send((index, reported(&exit)));
            }
        }
    }
}

impl<H: Hypervisor> Others<H> {
    /// The next report of any of them: its index and what it reports.
    pub(super) fn report(&self) -> (u32, u64) {
        self.reports.recv().expect("they run")
    }

    /// Drops what was reported and not taken.
    pub(super) fn forget(&self) {
        self.reports.try_iter().for_each(drop);
    }

    /// Resets the whole machine.
    pub(super) fn reset(&self, rig: &Rig<H>, first: &mut VcpuOf<H>) {
        for (kick, _) in &self.cores {
            kick.kick();
        }
        for _ in &self.cores {
            self.held.recv().expect("they run");
        }
        rig.vm.reset().unwrap();
        first.reset().unwrap();
        self.go();
    }

    fn go(&self) {
        for (_, order) in &self.cores {
            order.send(()).expect("they wait");
        }
    }
}

impl<H: Hypervisor> Drop for Others<H> {
    /// Brings the cores back, so that their threads end.
    fn drop(&mut self) {
        for (kick, order) in self.cores.drain(..) {
            drop(order);
            kick.kick();
        }
    }
}
