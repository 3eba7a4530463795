//! `Device`: what the machine does to each of its devices, and when.

/// A device with a life of its own beside its registers.
///
/// The machine calls these with every vCPU stopped, in this order of states:
/// running → `pause` → paused → (`reset`)* → `resume` → running. A device starts out running and in its
/// state at power-on.
pub trait Device: Send + Sync {
    /// Its name in messages.
    fn name(&self) -> &str;
    /// Finishes what is under way and becomes quiet: no access to guest RAM and no interrupt after it returns.
    fn pause(&self) {}
    /// Goes on after `pause`.
    fn resume(&self) {}
    /// Back to the state at power-on. Only while paused.
    fn reset(&self);
}
