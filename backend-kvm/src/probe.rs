//! `probe`: whether this host's KVM runs stock guests, found out by running one.

use std::{fmt, sync::mpsc, thread, time::Duration};

use hv_core::hypervisor::{Exit, Hypervisor, Kick, Result, Stop, Vcpu};

use crate::{Kvm, KvmVcpu, arch};

/// Far more than a processor takes, and little to wait for.
const PATIENCE: Duration = Duration::from_secs(2);

/// What this host's KVM runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// Any guest.
    Full,
    /// Guests made for it; it interprets others, and not all that they do. Says what it failed at.
    Interprets(String),
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("KVM runs stock guests"),
            Self::Interprets(failure) => {
                write!(f, "KVM only interprets stock guests, and fails at {failure}")
            }
        }
    }
}

/// Whether KVM drives the processor's own virtualization: then it runs any guest, and needs no [`probe`].
pub fn is_hardware_virtualization() -> bool {
    arch::has_hardware_virtualization()
}

/// Runs a guest of a few instructions in 64-bit mode: CMPXCHG16B (x86_64) or a call of PSCI (aarch64), and the interrupt
/// of a timer. At most 2 seconds.
///
/// # Errors
/// There is no KVM, or it refuses this user or a whole virtual machine; the message names the cure.
pub fn probe() -> Result<Probe> {
    let guest = arch::ProbeGuest::new(&Kvm::open()?)?;
    let failure = attempt(guest.vcpu)?;
    Ok(failure.map_or(Probe::Full, |step| Probe::Interprets(step.to_owned())))
}

/// Runs until each step reported itself; says at which step the guest failed.
fn attempt(mut vcpu: KvmVcpu) -> Result<Option<&'static str>> {
    let kick = vcpu.kick();
    let (ended, patience) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            if patience.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                kick.kick();
            }
        });
        // Moved, so that however this ends the other thread ends too.
        let _ended = ended;
        for (step, name) in (1..).zip(arch::PROBE_STEPS.iter().copied()) {
            let how = match vcpu.run()? {
                exit if arch::reported_step(&exit) == Some(step) => continue,
                Exit::Kicked => format!("nothing happened for {} s", PATIENCE.as_secs()),
                Exit::Stop(Stop::Crash(reason)) => reason,
                other => format!("unexpected {other:x?}"),
            };
            tracing::debug!("the probe fails at {name}: {how}");
            return Ok(Some(name));
        }
        Ok(None)
    })
}
