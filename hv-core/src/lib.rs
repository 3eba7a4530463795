//! The machine of `hv`: it knows guests, not hosts.
//!
//! Four ideas carry everything else:
//! 1. [`hypervisor`]: the contract that a backend signs. A vCPU runs until the *machine* must act.
//! 2. [`arch`]: guest architectures are types, so all of them compile and are tested on every host.
//! 3. [`bus`], [`irq`], [`io`]: all that a device sees of the world: accesses to its registers, lines and messages
//!    to raise, and a thread that wakes when there is work.
//! 4. [`machine`]: puts devices, memory and cores together and owns their states: running, paused, stopped.
//!
//! The programs in `examples/` use it as a library: they boot a kernel, add a device, and drive a guest.

pub mod arch;
pub mod block;
pub mod boot;
pub mod bus;
pub mod chardev;
pub mod device;
pub mod devices;
pub mod hypervisor;
pub mod io;
pub mod irq;
pub mod machine;
pub mod memory;
pub mod net;
pub mod pci;
pub mod tables;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod virtio;
