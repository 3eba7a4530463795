//! `Vcpu`: one core of a guest, and `Kick`, which brings it back.

use super::{Exit, Result};
use crate::arch::Arch;

/// One core. It is made, run and dropped on one thread.
pub trait Vcpu {
    /// The guest's architecture.
    type Arch: Arch;
    /// What brings [`run`](Self::run) back from another thread.
    type Kick: Kick;

    /// Runs the guest until the machine must act. A halted or powered-off core waits inside.
    ///
    /// The answer to a read is taken from the exit's `data` when `run`, `state` or `reset` is next called.
    ///
    /// # Errors
    /// The host cannot run this core any further.
    fn run(&mut self) -> Result<Exit<'_>>;

    /// A handle with which any thread can bring `run` back.
    fn kick(&self) -> Self::Kick;

    /// The registers, with a pending access completed.
    ///
    /// # Errors
    /// The host does not tell.
    fn state(&mut self) -> Result<<Self::Arch as Arch>::CpuState>;

    /// Replaces the registers.
    ///
    /// # Errors
    /// The host refuses a value.
    fn set_state(&mut self, state: &<Self::Arch as Arch>::CpuState) -> Result<()>;

    /// Puts the core with its timers back to its state at power-on, and its local interrupt controller, if
    /// [`Vm::reset`](super::Vm::reset) does not. A reset of the machine is that first, then this on each core.
    ///
    /// # Errors
    /// The host refuses.
    fn reset(&mut self) -> Result<()>;
}

/// Makes the core's current or next [`Vcpu::run`] return [`Exit::Kicked`], once, however often it is called
/// in between. Any thread, any time; a kick is never lost.
pub trait Kick: Clone + Send + Sync + 'static {
    /// Brings the core back.
    fn kick(&self);
}
