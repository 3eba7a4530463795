//! The hypervisor traits on Apple's Hypervisor.framework (arm64).
//!
//! What the modules here decide is plain data in and plain data out: they know the Arm architecture and not the framework,
//! so they compile and are tested on every host.

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
