//! The hypervisor traits on Apple's Hypervisor.framework (arm64).
//!
//! What the public modules decide is plain data in and plain data out: they know the Arm architecture and not the framework,
//! so they compile and are tested on every host. The rest is thin, and there where the framework is: on a Mac, or on any
//! host with the feature `simulated`.

pub mod access;
pub mod exception;
pub mod id_registers;
pub mod instruction;
pub mod park;
pub mod power;
mod sync;
pub mod syndrome;
pub mod system_registers;
pub mod timer;
pub mod translation;

// Its symbols stand in for the framework's.
#[cfg(feature = "simulated")]
use hvf_sim as _;

cfg_if::cfg_if! {
    if #[cfg(any(all(target_os = "macos", target_arch = "aarch64"), feature = "simulated"))] {
        mod cores;
        mod framework;
        mod hvf;
        mod irq;
        mod memory;
        mod state;
        mod vcpu;
        mod vm;

        pub use cores::VcpuKick;
        pub use hvf::Hvf;
        pub use vcpu::HvfVcpu;
        pub use vm::HvfVm;
    }
}

/// The simulated framework, whose symbols take the place of the real one's.
#[cfg(feature = "simulated")]
pub use hvf_sim as simulation;
