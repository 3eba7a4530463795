//! `RunPage`: the pages that a core shares with KVM (`struct kvm_run`), read and written without references into them.

use std::{fs::File, io, mem::offset_of, sync::atomic::Ordering};

use hv_core::hypervisor::{Error, Result};
use kvm_bindings::{
    KVM_EXIT_IO_OUT, kvm_run, kvm_run__bindgen_ty_1__bindgen_ty_2 as FailEntry,
    kvm_run__bindgen_ty_1__bindgen_ty_4 as Io, kvm_run__bindgen_ty_1__bindgen_ty_6 as Mmio,
    kvm_run__bindgen_ty_1__bindgen_ty_13 as Internal, kvm_run__bindgen_ty_1__bindgen_ty_22 as Undecoded,
};
use vm_memory::{Bytes, FileOffset, MmapRegion, VolatileMemory};

/// Where the part begins that depends on the reason of the exit.
const REASON: usize = offset_of!(kvm_run, __bindgen_anon_1);

/// A mapping of its own, beside the one in kvm-ioctls: other threads write `immediate_exit` here.
pub(crate) struct RunPage(MmapRegion);

/// An access that the guest waits for: to a port with `count` elements, or to memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RawAccess {
    /// Whether the guest stores.
    pub(crate) write: bool,
    /// Port or guest-physical address.
    pub(crate) address: u64,
    /// Where its bytes lie in the pages.
    pub(crate) offset: usize,
    /// Size of one element in bytes.
    pub(crate) width: usize,
    /// Number of elements.
    pub(crate) count: usize,
}

impl RunPage {
    pub(crate) fn map(vcpu: File, size: usize) -> Result<Self> {
        let mapped = MmapRegion::build(
            Some(FileOffset::new(vcpu, 0)),
            size,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
        );
        Ok(Self(mapped.map_err(|error| Error::new("mmap of a vCPU", io::Error::other(error)))?))
    }

    pub(crate) fn set_immediate_exit(&self, value: bool) {
        let stored = self.0.as_volatile_slice().store(
            u8::from(value),
            offset_of!(kvm_run, immediate_exit),
            Ordering::SeqCst,
        );
        debug_assert!(stored.is_ok(), "the mapping holds struct kvm_run");
    }

    /// `KVM_EXIT_*`
    pub(crate) fn exit_reason(&self) -> u32 {
        self.u32(offset_of!(kvm_run, exit_reason))
    }

    /// Of `KVM_EXIT_IO`.
    pub(crate) fn port_access(&self) -> RawAccess {
        let mut port = [0; 2];
        self.read(REASON + offset_of!(Io, port), &mut port);
        RawAccess {
            write: u32::from(self.u8(REASON + offset_of!(Io, direction))) == KVM_EXIT_IO_OUT,
            address: u16::from_ne_bytes(port).into(),
            offset: usize::try_from(self.u64(REASON + offset_of!(Io, data_offset))).unwrap_or(usize::MAX),
            width: self.u8(REASON + offset_of!(Io, size)).into(),
            count: self.u32(REASON + offset_of!(Io, count)) as usize,
        }
    }

    /// Of `KVM_EXIT_MMIO`.
    pub(crate) fn memory_access(&self) -> RawAccess {
        RawAccess {
            write: self.u8(REASON + offset_of!(Mmio, is_write)) != 0,
            address: self.u64(REASON + offset_of!(Mmio, phys_addr)),
            offset: REASON + offset_of!(Mmio, data),
            width: self.u32(REASON + offset_of!(Mmio, len)) as usize,
            count: 1,
        }
    }

    /// `KVM_EXIT_FAIL_ENTRY`: the processor's reason.
    pub(crate) fn entry_failure(&self) -> u64 {
        self.u64(REASON + offset_of!(FailEntry, hardware_entry_failure_reason))
    }

    /// `KVM_EXIT_INTERNAL_ERROR`: the kind and its data, as many as there are.
    pub(crate) fn internal_error(&self) -> (u32, Vec<u64>) {
        let count = self.u32(REASON + offset_of!(Internal, ndata)).min(16) as usize;
        let data = (0..count).map(|n| self.u64(REASON + offset_of!(Internal, data) + n * 8)).collect();
        (self.u32(REASON + offset_of!(Internal, suberror)), data)
    }

    /// `KVM_EXIT_ARM_NISV`: the guest-physical address.
    pub(crate) fn undecoded_address(&self) -> u64 {
        self.u64(REASON + offset_of!(Undecoded, fault_ipa))
    }

    /// `KVM_EXIT_SYSTEM_EVENT`: the kind, first field of its structure.
    pub(crate) fn system_event(&self) -> u32 {
        self.u32(REASON)
    }

    /// Copies out of the pages; what lies beyond them is left as it is.
    pub(crate) fn read(&self, offset: usize, data: &mut [u8]) {
        let read = self.0.as_volatile_slice().read_slice(data, offset);
        debug_assert!(read.is_ok(), "{offset:#x} is not in the pages");
    }

    /// Copies into the pages; what lies beyond them is dropped.
    pub(crate) fn write(&self, offset: usize, data: &[u8]) {
        let written = self.0.as_volatile_slice().write_slice(data, offset);
        debug_assert!(written.is_ok(), "{offset:#x} is not in the pages");
    }

    fn u8(&self, offset: usize) -> u8 {
        let mut data = [0];
        self.read(offset, &mut data);
        data[0]
    }

    fn u32(&self, offset: usize) -> u32 {
        let mut data = [0; 4];
        self.read(offset, &mut data);
        u32::from_ne_bytes(data)
    }

    fn u64(&self, offset: usize) -> u64 {
        let mut data = [0; 8];
        self.read(offset, &mut data);
        u64::from_ne_bytes(data)
    }
}
