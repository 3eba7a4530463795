//! `Power`: the cores' power states, shared by their threads; applies what PSCI calls ask for.

use std::{sync::PoisonError, time::Instant};

use hv_core::{
    arch::aarch64::{
        psci::{self, Effect, Psci, Start, code},
        smccc::Call,
    },
    hypervisor::Stop,
};

use crate::{
    park::{Park, Wake},
    sync::{Mutex, MutexGuard},
};

/// What a core may do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Enter the guest.
    Run,
    /// Take the state of power-on, then begin here.
    Start(Start),
    /// Return [`Exit::Kicked`](hv_core::hypervisor::Exit::Kicked); the kick is taken.
    Kicked,
}

/// What becomes of the core that called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It goes on with this in X0.
    Return(u64),
    /// It waits for an interrupt ([`Power::wait_for_interrupt`]), and goes on with this in X0.
    Suspend(u64),
    /// It is off: its next [`Power::turn`] waits for a start.
    Off,
    /// The machine ends; every core's next [`Power::turn`] waits for a reset. The others may be in the guest and must be
    /// brought out of it.
    Stop(Stop),
}

/// The cores of one machine.
#[derive(Debug)]
pub struct Power {
    states: Mutex<States>,
    parks: Box<[Park]>,
}

#[derive(Debug)]
struct States {
    psci: Psci,
    /// Of each core that is to begin.
    starts: Box<[Option<Start>]>,
    /// The machine was switched off or is to be reset.
    is_stopped: bool,
}

impl Power {
    /// A machine of `vcpus` cores at power-on, with guest-physical addresses of `address_bits`.
    pub fn new(vcpus: u32, address_bits: u8) -> Self {
        let states = States {
            psci: Psci::new(vcpus, address_bits),
            starts: (0..vcpus).map(|_| None).collect(),
            is_stopped: false,
        };
        let power = Self { states: Mutex::new(states), parks: (0..vcpus).map(|_| Park::new()).collect() };
        power.reset();
        power
    }

    /// Back to power-on: core 0 is on, the others are off. Kicks stay.
    pub fn reset(&self) {
        let mut states = self.states();
        states.psci.reset();
        states.starts.fill(None);
        states.is_stopped = false;
        for park in &self.parks {
            park.raise(Wake::ATTENTION | Wake::POWER);
        }
    }

    /// What core `index` may do now. Waits while it is off or the machine is stopped. Takes no lock while nothing has
    /// changed. Only on the core's thread.
    pub fn turn(&self, index: u32) -> Turn {
        let Some(park) = self.park(index) else { return Turn::Kicked };
        loop {
            if park.take(Wake::KICK).has(Wake::KICK) {
                return Turn::Kicked;
            }
            if !park.raised(Wake::ATTENTION).has(Wake::ATTENTION) {
                return Turn::Run;
            }
            park.take(Wake::POWER);
            if let Some(turn) = self.look(index, park) {
                return turn;
            }
            park.wait(Wake::KICK | Wake::POWER, None);
        }
    }

    /// Core `index` calls; see [`Psci::call`]. Only on the core's thread.
    pub fn call(&self, index: u32, call: Call) -> Outcome {
        let mut states = self.states();
        match states.psci.call(index, call) {
            Effect::Return(value) => Outcome::Return(value),
            Effect::Suspend => Outcome::Suspend(code::SUCCESS),
            Effect::Start { core, start } => {
                if let Some((slot, park)) = states.start_slot(core).zip(self.park(core)) {
                    *slot = Some(start);
                    park.raise(Wake::ATTENTION | Wake::POWER);
                }
                Outcome::Return(code::SUCCESS)
            }
            Effect::Off => {
                if let Some(park) = self.park(index) {
                    park.raise(Wake::ATTENTION);
                }
                Outcome::Off
            }
            Effect::SystemOff => self.stop(states, Stop::PowerOff),
            Effect::SystemReset => self.stop(states, Stop::Reset),
        }
    }

    /// Core `index` sleeps until an interrupt may be pending, a kick or a change of power asks for its next
    /// [`turn`](Self::turn), or `deadline` has come ([`Wake::NONE`]). An interrupt told since it last slept so
    /// wakes it at once. Only on the core's thread.
    pub fn wait_for_interrupt(&self, index: u32, deadline: Option<Instant>) -> Wake {
        let Some(park) = self.park(index) else { return Wake::NONE };
        let woken = park.wait(Wake::KICK | Wake::INTERRUPT | Wake::ATTENTION, deadline);
        park.take(Wake::INTERRUPT);
        woken
    }

    /// Core `index` has a kick to take. Any thread; it must be brought out of the guest after this.
    pub fn kick(&self, index: u32) {
        if let Some(park) = self.park(index) {
            park.raise(Wake::KICK);
        }
    }

    /// An interrupt may be pending for core `index`. Any thread.
    pub fn interrupt(&self, index: u32) {
        if let Some(park) = self.park(index) {
            park.raise(Wake::INTERRUPT);
        }
    }

    /// An interrupt may be pending for any core. Any thread.
    pub fn interrupt_all(&self) {
        for park in &self.parks {
            park.raise(Wake::INTERRUPT);
        }
    }

    /// What core `index` may do by its power state; `None` if it has to wait.
    fn look(&self, index: u32, park: &Park) -> Option<Turn> {
        let mut states = self.states();
        if states.is_stopped {
            return None;
        }
        let start = states.start_slot(index).and_then(Option::take);
        if start.is_some() {
            states.psci.begun(index);
        }
        let turn = match states.psci.power(index) {
            psci::Power::On => start.map_or(Turn::Run, Turn::Start),
            psci::Power::Off | psci::Power::OnPending => return None,
        };
        // Under the lock, so that no change falls between the look and this.
        park.take(Wake::ATTENTION);
        Some(turn)
    }

    fn stop(&self, mut states: MutexGuard<'_, States>, stop: Stop) -> Outcome {
        states.is_stopped = true;
        for park in &self.parks {
            park.raise(Wake::ATTENTION | Wake::POWER);
        }
        Outcome::Stop(stop)
    }

    fn park(&self, index: u32) -> Option<&Park> {
        self.parks.get(usize::try_from(index).ok()?)
    }

    fn states(&self) -> MutexGuard<'_, States> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl States {
    fn start_slot(&mut self, index: u32) -> Option<&mut Option<Start>> {
        self.starts.get_mut(usize::try_from(index).ok()?)
    }
}

#[cfg(all(test, feature = "models"))]
mod models;
#[cfg(all(test, not(feature = "models")))]
mod tests;
