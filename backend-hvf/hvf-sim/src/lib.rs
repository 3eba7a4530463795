//! Hypervisor.framework as of macOS 15 on arm64, simulated over Unicorn: its `hv_*` symbols for hosts that have no such framework.
//!
//! A program that is linked against it runs unchanged, and stricter than on a Mac: what the framework's headers forbid fails here.
//! Comments name the source of each rule: *header* (the SDK's headers and Apple's documentation, which say the same), *peer* (seen
//! by another project on a Mac), or *model* (our guess; `docs/macos.md` lists them). There is one processor, which vCPUs take in turns.
//!
//! A test tool under the GPL, as Unicorn is: nothing that is shipped depends on it.

mod alarm;
mod engine;
mod error;
mod gic;
mod identity;
mod memory;
mod object;
mod parking;
mod run;
mod stage2;
mod symbols;
mod system_registers;
mod turns;
mod vcpu;
mod vm;

use std::sync::atomic::{AtomicBool, Ordering};

static WFI_WAITS: AtomicBool = AtomicBool::new(false);

/// Whether `WFI` waits inside `hv_vcpu_run` for an interrupt, the virtual timer or `hv_vcpus_exit`, or is an exit (EC 0x01), which is
/// the default. What a Mac does with a GIC of the framework is not known; a backend has to work with both. It holds for the process.
pub fn wfi_waits(waits: bool) {
    WFI_WAITS.store(waits, Ordering::SeqCst);
}

fn waits_for_interrupt() -> bool {
    WFI_WAITS.load(Ordering::SeqCst)
}
