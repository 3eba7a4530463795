//! One core's thread: the run loop, and the core's answers to the machine's orders.

use std::sync::{Arc, Mutex, PoisonError, mpsc};

use anyhow::anyhow;

use super::{
    control::{Control, Event, Order},
    exit_counts::ExitCounts,
    quota::{Meter, Quota},
};
use crate::{
    arch::Arch,
    bus::Bus,
    hypervisor::{Exit, Result, Stop, Vcpu, Vm},
};

type KickOf<V> = <<V as Vm>::Vcpu as Vcpu>::Kick;
type CpuStateOf<V> = <<V as Vm>::Arch as Arch>::CpuState;

/// What a core's thread shares with the machine.
pub(super) struct Core<V: Vm> {
    pub(super) vm: Arc<V>,
    pub(super) index: u32,
    pub(super) control: Arc<Control<KickOf<V>>>,
    pub(super) memory: Arc<Bus>,
    pub(super) ports: Arc<Bus>,
    /// The first register state of the boot core; the others start as the architecture has them at power-on.
    pub(super) entry: Arc<Mutex<Option<CpuStateOf<V>>>>,
    pub(super) counts: Arc<Mutex<ExitCounts>>,
    pub(super) quota: Option<Arc<Quota>>,
}

impl<V: Vm> Core<V> {
    /// The thread's body. `made` hears whether the core could be made.
    pub(super) fn live(self, made: mpsc::Sender<anyhow::Result<()>>) {
        // Nobody listens any more once one of the cores could not be made.
        let mut vcpu = match self.vm.create_vcpu(self.index) {
            Ok(vcpu) => vcpu,
            Err(error) => {
                let _ = made.send(Err(anyhow!("vCPU {}: {error}", self.index)));
                return;
            }
        };
        let enrolled = self.control.enroll(vcpu.kick());
        let _ = made.send(Ok(()));
        drop(made);

        let mut seen = 0;
        let mut meter = self.quota.clone().map(Meter::new);
        loop {
            match self.control.await_order(&mut seen) {
                Order::Run => {
                    let rest = |meter: &mut Meter| meter.rest(|time| self.control.rest(seen, time));
                    if meter.as_mut().is_some_and(rest) {
                        continue;
                    }
                    let _running = meter.as_ref().map(Meter::enter);
                    if let Some(event) = self.run(&mut vcpu) {
                        self.control.report(event);
                    }
                }
                Order::Hold => self.control.done(seen),
                Order::Reset => {
                    if let Err(error) = self.reset(&mut vcpu) {
                        self.control.report(Event::Crash(format!("vCPU {}: {error}", self.index)));
                    }
                    self.control.done(seen);
                }
                Order::End => break,
            }
        }
        drop(vcpu);
        drop(enrolled);
    }

    /// Runs the guest until the machine has a new order or the guest cannot go on.
    fn run(&self, vcpu: &mut V::Vcpu) -> Option<Event> {
        let mut counts = ExitCounts::default();
        let event = loop {
            match vcpu.run() {
                Ok(Exit::MmioRead { address, data }) => {
                    counts.mmio_reads += 1;
                    self.memory.read(address, data);
                }
                Ok(Exit::MmioWrite { address, data }) => {
                    counts.mmio_writes += 1;
                    self.memory.write(address, data);
                }
                Ok(Exit::PioRead { port, data }) => {
                    counts.pio_reads += 1;
                    self.ports.read(port.into(), data);
                }
                Ok(Exit::PioWrite { port, data }) => {
                    counts.pio_writes += 1;
                    self.ports.write(port.into(), data);
                }
                Ok(Exit::Kicked) => {
                    counts.kicks += 1;
                    break None;
                }
                Ok(Exit::Stop(Stop::PowerOff)) => break Some(Event::PowerOff),
                Ok(Exit::Stop(Stop::Reset)) => break Some(Event::Reset),
                Ok(Exit::Stop(Stop::Crash(why))) => {
                    break Some(Event::Crash(format!("vCPU {}: {why}", self.index)));
                }
                Err(error) => break Some(Event::Crash(format!("vCPU {}: {error}", self.index))),
            }
        };
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).add(&counts);
        event
    }

    fn reset(&self, vcpu: &mut V::Vcpu) -> Result<()> {
        vcpu.reset()?;
        match &*self.entry.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(entry) if self.index == 0 => vcpu.set_state(entry),
            _ => Ok(()),
        }
    }
}
