//! Guest architectures as types: plain data that compiles on every host.

pub mod aarch64;
pub mod x86_64;

pub use aarch64::Aarch64;
pub use x86_64::X86_64;

/// A guest architecture.
pub trait Arch: Copy + Send + Sync + 'static {
    /// What the machine must know of the host.
    type Facts: Clone + Send + Sync + 'static;
    /// Interrupt controller addresses and line numbers.
    type IrqPlan: Clone + Send + Sync + 'static;
    /// One core's registers.
    type CpuState: Clone + Send + 'static;
}
