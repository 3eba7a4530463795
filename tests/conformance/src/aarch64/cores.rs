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

/// What a core does next, as in the machine: all are reset before any runs.
#[derive(Clone, Copy)]
enum Order {
    Reset,
    Run,
}

/// The cores from 1 on.
pub(super) struct Others<H: Hypervisor> {
    cores: Vec<(KickOf<H>, Sender<Order>)>,
    done: Receiver<()>,
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
    let (did, done) = channel();
    let vm = &rig.vm;
    thread::scope(|scope| {
        let mut others = Others::<H> { cores: Vec::new(), done, reports };
        for index in 1..count {
            let (report, did) = (report.clone(), did.clone());
            let (made, ready) = channel();
            let (go, orders) = channel();
            scope.spawn(move || {
                let mut vcpu = vm.create_vcpu(index).unwrap();
                made.send(vcpu.kick()).unwrap();
                for order in orders {
                    match order {
                        Order::Reset => vcpu.reset().unwrap(),
                        Order::Run => run(&mut vcpu, index, &report),
                    }
                    // Who asked may be gone.
                    let _ = did.send(());
                }
            });
            others.cores.push((ready.recv().unwrap(), go));
        }
        drop((report, did));
        vm.seal().unwrap();
        others.order(Order::Run);
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
        self.await_all();
        rig.vm.reset().unwrap();
        self.order(Order::Reset);
        first.reset().unwrap();
        self.await_all();
        self.order(Order::Run);
    }

    fn order(&self, order: Order) {
        for (_, orders) in &self.cores {
            orders.send(order).expect("they wait");
        }
    }

    fn await_all(&self) {
        for _ in &self.cores {
            self.done.recv().expect("they live");
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
