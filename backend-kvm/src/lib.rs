//! The hypervisor traits on Linux KVM.
//!
//! What differs between host architectures is in `arch`, which is chosen in one place; the rest is the same on all.

mod arch;
mod doorbell;
mod kick;
mod kvm;
mod memory;
mod probe;
mod run_page;
mod vcpu;
mod vm;

pub use kick::VcpuKick;
pub use kvm::Kvm;
pub use probe::{Probe, is_hardware_virtualization, probe};
pub use vcpu::KvmVcpu;
pub use vm::KvmVm;
