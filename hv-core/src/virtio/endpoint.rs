//! `Endpoint`: a virtio device with its negotiation and its workers, behind either transport.

#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    Activation, ConfigInterrupt, Kind, QueueInterrupt, VirtioDevice, Virtqueue,
    negotiation::{Negotiation, Status, Transition},
    queue::InterruptSink,
    workers::{Bells, Failed, Workers},
};
use crate::{
    hypervisor::Reclaimer,
    io::{Doorbell, DoorbellHost, Threads},
    memory::GuestRam,
};

/// What a device needs of its machine.
#[derive(Clone)]
pub struct Surroundings {
    /// Guest RAM.
    pub ram: GuestRam,
    /// Watches doorbells, if it can.
    pub doorbells: Arc<dyn DoorbellHost>,
    /// Takes RAM back that the guest does not need.
    pub reclaimer: Arc<dyn Reclaimer>,
    /// Starts the threads of workers.
    pub threads: Threads,
}

/// Where the doorbell of a virtqueue is at this moment, if the guest can reach it.
pub type DoorbellPlace = Box<dyn Fn(u16) -> Option<Doorbell> + Send>;

/// A virtio device behind a transport: the part that both transports share.
pub struct Endpoint {
    kind: Kind,
    name: String,
    surroundings: Surroundings,
    signals: Arc<Signals>,
    /// Apart from `state`: a doorbell must not wait for a slow register access.
    bells: RwLock<Bells>,
    state: Mutex<State>,
}

struct State {
    device: Box<dyn VirtioDevice>,
    negotiation: Negotiation,
    doorbell_place: DoorbellPlace,
    /// Since `DRIVER_OK`.
    workers: Option<Workers>,
    paused: bool,
}

impl Endpoint {
    /// `device` in its state at power-on; `interrupts` are its transport's, `doorbell_place` its notify registers.
    pub fn new(
        device: Box<dyn VirtioDevice>,
        surroundings: Surroundings,
        interrupts: Arc<dyn InterruptSink>,
        doorbell_place: DoorbellPlace,
    ) -> Self {
        let (kind, name) = (device.kind(), device.name().to_owned());
        let negotiation = Negotiation::new(device.features(), device.queue_sizes());
        let signals = Arc::new(Signals::new(name.clone(), interrupts));
        let state = State { device, negotiation, doorbell_place, workers: None, paused: false };
        Self { kind, name, surroundings, signals, bells: RwLock::default(), state: Mutex::new(state) }
    }

    /// The device's type.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The device's name in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The status register.
    pub fn status(&self) -> u8 {
        let needs_reset = self.signals.needs_reset.load(Ordering::SeqCst);
        let mut status = self.state().negotiation.status();
        status.set(Status::NEEDS_RESET, needs_reset);
        status.bits()
    }

    /// A store to the status register; true if it was a reset, after which the transport clears its interrupts.
    pub fn set_status(&self, value: u8) -> bool {
        let mut state = self.state();
        match state.negotiation.set_status(value) {
            Transition::None => {}
            Transition::Activate => self.activate(&mut state),
            Transition::Reset => self.reset_locked(&mut state),
        }
        value == 0
    }

    fn activate(&self, state: &mut State) {
        self.signals.driver_ok.store(true, Ordering::SeqCst);
        if self.signals.needs_reset.load(Ordering::SeqCst) {
            // It broke before it was ready, and is told so now that it may be (2.1.2).
            self.signals.sink.config_changed();
            return;
        }
        match self.workers(state) {
            Ok(workers) => state.workers = Some(workers),
            Err(error) => self.signals.fail(&format_args!("{error:#}")),
        }
        if !state.paused {
            self.start_workers(state);
        }
    }

    fn workers(&self, state: &mut State) -> anyhow::Result<Workers> {
        let ram = &self.surroundings.ram;
        let sink: Arc<dyn InterruptSink> = self.signals.clone();
        let queues = state.negotiation.layouts().map(|layout| {
            let Some(layout) = layout else { return Ok(None) };
            let interrupt = QueueInterrupt::new(Arc::clone(&sink), layout.index);
            Virtqueue::new(Arc::clone(ram), layout, interrupt).map(Some)
        });
        let activation = Activation {
            ram: Arc::clone(ram),
            reclaimer: Arc::clone(&self.surroundings.reclaimer),
            features: state.negotiation.features(),
            queues: queues.collect::<Result<_, _>>()?,
            config_changed: ConfigInterrupt::new(Arc::clone(&sink)),
        };
        let workers = state.device.activate(activation)?;
        let signals = Arc::clone(&self.signals);
        let failed: Failed = Arc::new(move |error| signals.fail(error));
        Ok(Workers::new(self.name.clone(), self.surroundings.threads.clone(), workers, failed))
    }

    fn start_workers(&self, state: &mut State) {
        let State { workers, doorbell_place, .. } = state;
        if let Some(workers) = workers {
            workers.start(&*self.surroundings.doorbells, &**doorbell_place, |bells| self.set_bells(bells));
        }
    }

    fn reset_locked(&self, state: &mut State) {
        self.set_bells(Bells::default());
        // The threads are joined here. They may raise interrupts until then, which takes no lock of ours.
        state.workers = None;
        state.device.reset();
        state.negotiation.reset();
        self.signals.reset();
    }

    /// Back to the state at power-on.
    pub fn reset(&self) {
        self.reset_locked(&mut self.state());
    }

    /// Stops the workers until [`resume`](Self::resume): no access to guest RAM and no interrupt after it returns.
    pub fn pause(&self) {
        let mut state = self.state();
        state.paused = true;
        if let Some(workers) = &mut state.workers {
            workers.pause();
        }
    }

    /// Goes on after [`pause`](Self::pause).
    pub fn resume(&self) {
        let mut state = self.state();
        if std::mem::take(&mut state.paused) {
            self.start_workers(&mut state);
        }
    }

    /// The doorbells moved: has them watched where they are now.
    pub fn doorbells_moved(&self) {
        let mut state = self.state();
        if state.paused {
            return;
        }
        if let Some(workers) = &mut state.workers {
            workers.pause();
        }
        self.start_workers(&mut state);
    }

    /// The driver rang the doorbell of `queue`.
    pub fn notify(&self, queue: u16) {
        self.bells.read().unwrap_or_else(PoisonError::into_inner).ring(queue);
    }

    /// The configuration space's generation (2.5.1).
    pub fn config_generation(&self) -> u32 {
        self.signals.generation.load(Ordering::SeqCst)
    }

    /// A load from the device's configuration space; zero beyond it.
    pub fn read_config(&self, offset: usize, data: &mut [u8]) {
        data.fill(0);
        self.state().device.read_config(offset, data);
    }

    /// A store to the device's configuration space; dropped beyond it.
    pub fn write_config(&self, offset: usize, data: &[u8]) {
        self.state().device.write_config(offset, data);
    }

    /// Looks at the setup registers.
    pub fn negotiation<T>(&self, look: impl FnOnce(&Negotiation) -> T) -> T {
        look(&self.state().negotiation)
    }

    /// Changes the setup registers.
    pub fn negotiate(&self, change: impl FnOnce(&mut Negotiation)) {
        change(&mut self.state().negotiation);
    }

    /// Enables the selected virtqueue; the device needs a reset if that is not valid.
    pub fn enable_queue(&self) {
        if let Err(error) = self.state().negotiation.enable_queue(&self.surroundings.ram) {
            self.signals.fail(&error);
        }
    }

    fn set_bells(&self, bells: Bells) {
        *self.bells.write().unwrap_or_else(PoisonError::into_inner) = bells;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({}: {:?})", self.name, self.kind)
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Surroundings")
    }
}

/// What workers tell the driver, without a lock that a register access holds.
struct Signals {
    name: String,
    sink: Arc<dyn InterruptSink>,
    generation: AtomicU32,
    needs_reset: AtomicBool,
    driver_ok: AtomicBool,
    logged: Mutex<Option<Instant>>,
}

/// A guest can break its device as often as it likes, and gets at most one line for each such time.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

impl Signals {
    fn new(name: String, sink: Arc<dyn InterruptSink>) -> Self {
        Self {
            name,
            sink,
            generation: AtomicU32::new(0),
            needs_reset: AtomicBool::new(false),
            driver_ok: AtomicBool::new(false),
            logged: Mutex::new(None),
        }
    }

    /// The device cannot go on (2.1.2).
    fn fail(&self, error: &dyn fmt::Display) {
        if self.needs_reset.swap(true, Ordering::SeqCst) {
            return;
        }
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.is_none_or(|last| last.elapsed() >= LOG_INTERVAL) {
            *logged = Some(Instant::now());
            tracing::warn!("{}: {error}; the device needs a reset", self.name);
        }
        drop(logged);
        if self.driver_ok.load(Ordering::SeqCst) {
            self.sink.config_changed();
        }
    }

    fn reset(&self) {
        self.needs_reset.store(false, Ordering::SeqCst);
        self.driver_ok.store(false, Ordering::SeqCst);
    }
}

impl InterruptSink for Signals {
    fn queue_used(&self, queue: u16) {
        self.sink.queue_used(queue);
    }

    fn config_changed(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.sink.config_changed();
    }
}
