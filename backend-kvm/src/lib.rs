//! The hypervisor traits on Linux KVM.
