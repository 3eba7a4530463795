//! The machine: devices, memory and cores put together, and its states.

pub mod board;
mod config;
mod control;
mod core_thread;
mod exit_counts;
mod quota;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::JoinHandle,
};

use anyhow::{Context, bail, ensure};

use self::{
    board::{Board, Furnished, Kit, Parts, PowerButton, Shape},
    control::{Control, Order},
    core_thread::Core,
    quota::Governor,
};
pub use self::{
    config::{CpuQuota, MOST_CPUS, MachineConfig},
    control::Event,
    exit_counts::ExitCounts,
};
use crate::{
    arch::Arch,
    boot::Payload,
    device::Device,
    devices::uart::UartInput,
    hypervisor::{Access, ArchOf, Hypervisor, Vcpu, Vm, VmPlan},
    io::{Bell, ThreadKind, Threads},
    memory::{self, GuestRam},
    virtio::Surroundings,
};

/// What a machine is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Switched off: not started yet, or a reset could not load the payload.
    Off,
    /// Its cores run the guest.
    Running,
    /// Its cores and devices are still.
    Paused,
    /// It has ended for good.
    Stopped,
}

/// A guest's machine. Dropping it ends the guest at once.
pub struct Machine<V: Vm<Arch: Board>> {
    vm: Arc<V>,
    ram: GuestRam,
    shape: Shape,
    payload: Payload,
    devices: Vec<Arc<dyn Device>>,
    power_button: Arc<dyn PowerButton>,
    serial_input: UartInput,
    control: Arc<Control<<V::Vcpu as Vcpu>::Kick>>,
    entry: Arc<Mutex<Option<<V::Arch as Arch>::CpuState>>>,
    counts: Arc<Mutex<ExitCounts>>,
    cores: Vec<JoinHandle<()>>,
    /// Where the cores have a quota.
    governor: Option<Governor>,
    state: State,
}

/// A core's thread runs the exits of its vCPU and nothing deep.
const CORE_STACK: usize = 256 << 10;

impl<V: Vm<Arch: Board>> Machine<V> {
    /// Builds the machine that `config` describes out of `parts`, switched off. `bell` rings when
    /// [`take_event`](Self::take_event) has something to tell.
    ///
    /// # Errors
    /// The host or the machine type cannot give what `config` asks; one line each.
    pub fn assemble<H: Hypervisor<Vm = V>>(
        hypervisor: &H,
        config: &MachineConfig,
        parts: Parts,
        bell: Bell,
    ) -> anyhow::Result<Self> {
        let facts = hypervisor.facts()?;
        let plan = V::Arch::plan(&facts, config)?;
        let slots = board::slots(&parts.virtio)?;
        let ram = memory::allocate(&plan.ram)?;
        let vm = hypervisor.create_vm(&VmPlan::<ArchOf<H>> {
            vcpus: config.cpus,
            address_bits: plan.address_bits,
            irq: plan.irq,
        })?;
        for region in memory::regions(&ram) {
            vm.map(region, Access::ReadWrite)?;
        }
        let control = Arc::new(Control::new(bell));
        let Parts { payload, serial, clock, virtio, threads } = parts;
        let shape = Shape { config: config.clone(), ram: plan.ram, slots };
        let surroundings = Surroundings {
            ram: ram.clone(),
            doorbells: vm.doorbell_host(),
            reclaimer: vm.reclaimer(),
            threads: threads.clone(),
        };
        let kit = Kit::new(&shape, vm.irq_chip(), surroundings, control.clone());
        let Furnished { memory, ports, devices, power_button, serial_input } =
            V::Arch::furnish(kit, serial, clock, virtio)?;
        let bring_out = control.clone();
        let governor = config.cpu_quota.map(|quota| Governor::start(quota, move || bring_out.bring_out()));
        let mut machine = Self {
            vm: Arc::new(vm),
            ram,
            shape,
            payload,
            devices,
            power_button,
            serial_input,
            control,
            entry: Arc::default(),
            counts: Arc::default(),
            cores: Vec::new(),
            governor: governor.transpose()?,
            state: State::Off,
        };
        machine.make_cores(&threads, &Arc::new(memory), &Arc::new(ports))?;
        Ok(machine)
    }

    fn make_cores(
        &mut self,
        threads: &Threads,
        memory: &Arc<crate::bus::Bus>,
        ports: &Arc<crate::bus::Bus>,
    ) -> anyhow::Result<()> {
        for index in 0..self.shape.config.cpus {
            let (made, results) = mpsc::channel();
            let core = Core {
                vm: Arc::clone(&self.vm),
                index,
                control: Arc::clone(&self.control),
                memory: Arc::clone(memory),
                ports: Arc::clone(ports),
                entry: Arc::clone(&self.entry),
                counts: Arc::clone(&self.counts),
                quota: self.governor.as_ref().map(|governor| Arc::clone(&governor.quota)),
            };
            let thread = threads
                .start(ThreadKind::Core, format!("vcpu{index}"), CORE_STACK, move || core.live(made))
                .context("cannot start a vCPU thread")?;
            self.cores.push(thread);
            // One after the other: hosts give out redistributors in the order in which cores are made.
            results.recv().context("a vCPU thread died")??;
        }
        Ok(self.vm.seal()?)
    }

    /// Switches the machine on.
    ///
    /// # Errors
    /// It is not off, or the payload cannot be loaded.
    pub fn start(&mut self) -> anyhow::Result<()> {
        ensure!(self.state == State::Off, "the machine was started before");
        self.power_on()
    }

    /// Loads the payload, puts the cores into their state at power-on and lets them run.
    fn power_on(&mut self) -> anyhow::Result<()> {
        let entry = V::Arch::boot(&self.payload, &self.ram, &self.shape)?;
        *self.entry.lock().unwrap_or_else(PoisonError::into_inner) = Some(entry);
        self.control.command(Order::Reset);
        self.control.command(Order::Run);
        self.state = State::Running;
        Ok(())
    }

    /// Stops cores and devices where they are; what devices had under way is finished.
    ///
    /// # Errors
    /// The machine is not running.
    pub fn pause(&mut self) -> anyhow::Result<()> {
        ensure!(self.state == State::Running, "the machine is not running");
        self.hold();
        Ok(())
    }

    fn hold(&mut self) {
        self.control.command(Order::Hold);
        for device in &self.devices {
            device.pause();
        }
        self.state = State::Paused;
    }

    /// Goes on after [`pause`](Self::pause). A guest that has ended does not: its event says so.
    ///
    /// # Errors
    /// The machine is not paused.
    pub fn resume(&mut self) -> anyhow::Result<()> {
        ensure!(self.state == State::Paused, "the machine is not paused");
        for device in &self.devices {
            device.resume();
        }
        self.control.command(Order::Run);
        self.state = State::Running;
        Ok(())
    }

    /// Presses the reset button: every device and core back to its state at power-on, the payload loaded
    /// afresh, and the guest started.
    ///
    /// # Errors
    /// The machine never ran or has ended, or the payload cannot be loaded any more; then it is off, and
    /// [`start`](Self::start) tries again.
    pub fn reset(&mut self) -> anyhow::Result<()> {
        match self.state {
            State::Running => self.hold(),
            State::Paused => {}
            State::Off | State::Stopped => bail!("the machine is not on"),
        }
        self.vm.reset()?;
        for device in &self.devices {
            device.reset();
        }
        for device in &self.devices {
            device.resume();
        }
        self.state = State::Off;
        self.power_on()
    }

    /// Presses the power button: the guest decides what comes of it. Says whether it listens to it now.
    pub fn press_power_button(&self) -> bool {
        self.power_button.press()
    }

    /// Where input for the serial port goes.
    pub fn serial_input(&self) -> &UartInput {
        &self.serial_input
    }

    /// Ends the guest. Devices finish what they have under way, so that what the guest was told is durable is.
    pub fn stop(&mut self) {
        if self.state == State::Stopped {
            return;
        }
        self.control.command(Order::End);
        for core in self.cores.drain(..) {
            // A core's thread has nothing to return, and a panic in it has been printed.
            let _ = core.join();
        }
        self.governor = None;
        if self.state != State::Paused {
            for device in &self.devices {
                device.pause();
            }
        }
        self.state = State::Stopped;
    }

    /// What happened to the guest since the last call. The cores are held after an event, until
    /// [`reset`](Self::reset) or [`stop`](Self::stop).
    pub fn take_event(&self) -> Option<Event> {
        self.control.take_event()
    }

    /// What the machine is doing.
    pub fn state(&self) -> State {
        self.state
    }

    /// How often the guest was left so far; counted when its cores are held.
    pub fn exit_counts(&self) -> ExitCounts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V: Vm<Arch: Board>> Drop for Machine<V> {
    fn drop(&mut self) {
        self.stop();
    }
}

impl<V: Vm<Arch: Board>> fmt::Debug for Machine<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").field("config", &self.shape.config).field("state", &self.state).finish()
    }
}

#[cfg(test)]
mod tests;
