//! `Doorbells`: guest stores that KVM turns into an eventfd (`KVM_IOEVENTFD`).
#![expect(unsafe_code, reason = "an eventfd changes its owner's type")]

use std::{
    io,
    os::fd::{FromRawFd, IntoRawFd, OwnedFd},
    sync::Arc,
};

use hv_core::io::{Doorbell, DoorbellHost, WatchedDoorbell};
use kvm_bindings::KVM_CAP_IOEVENTFD_ANY_LENGTH;
use kvm_ioctls::{Cap, IoEventAddress, NoDatamatch, VmFd};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

/// Watches doorbells in the host's kernel.
pub(crate) struct Doorbells {
    vm: Arc<VmFd>,
    watches: bool,
    any_length: bool,
}

/// A doorbell that KVM watches until this is dropped.
struct Watch {
    vm: Arc<VmFd>,
    event: EventFd,
    doorbell: Doorbell,
}

impl Doorbells {
    pub(crate) fn new(vm: Arc<VmFd>) -> Self {
        let any_length = vm.check_extension_raw(KVM_CAP_IOEVENTFD_ANY_LENGTH.into()) > 0;
        Self { watches: vm.check_extension(Cap::Ioeventfd), any_length, vm }
    }

    fn try_watch(&self, doorbell: Doorbell) -> io::Result<WatchedDoorbell> {
        let event = EventFd::new(EFD_CLOEXEC | EFD_NONBLOCK)?;
        // SAFETY: `into_raw_fd` gave the descriptor up.
        let fd = unsafe { OwnedFd::from_raw_fd(event.try_clone()?.into_raw_fd()) };
        let address = IoEventAddress::Mmio(doorbell.address);
        match doorbell.value {
            Some(value) => self.vm.register_ioevent(&event, &address, value)?,
            None => self.vm.register_ioevent(&event, &address, NoDatamatch)?,
        }
        Ok(WatchedDoorbell::new(fd, Watch { vm: Arc::clone(&self.vm), event, doorbell }))
    }
}

impl DoorbellHost for Doorbells {
    fn watch(&self, doorbell: Doorbell) -> Option<WatchedDoorbell> {
        if !self.watches || (doorbell.value.is_none() && !self.any_length) {
            return None;
        }
        self.try_watch(doorbell)
            .inspect_err(|error| tracing::debug!("KVM_IOEVENTFD: {doorbell:x?}: {error}"))
            .ok()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let address = IoEventAddress::Mmio(self.doorbell.address);
        let gone = match self.doorbell.value {
            Some(value) => self.vm.unregister_ioevent(&self.event, &address, value),
            None => self.vm.unregister_ioevent(&self.event, &address, NoDatamatch),
        };
        if let Err(error) = gone {
            tracing::warn!("KVM_IOEVENTFD: {:x?} cannot be given up: {error}", self.doorbell);
        }
    }
}
