//! The hypervisor of this host: `hv-core` knows none, and a program brings the one it wants.

#[cfg(target_os = "macos")]
pub(crate) use backend_hvf::Hvf as Host;
#[cfg(target_os = "linux")]
pub(crate) use backend_kvm::Kvm as Host;
