//! The hypervisor traits on Apple's Hypervisor.framework.

cfg_if::cfg_if! {
    if #[cfg(any(all(target_os = "macos", target_arch = "aarch64"), feature = "simulated"))] {
        mod framework;
        mod hvf;
        mod irq;
        mod memory;
    }
}
