//! A distribution's kernel through the whole machine on Hypervisor.framework: this Mac's, or the simulated one.

use std::process::ExitCode;

cfg_if::cfg_if! {
    if #[cfg(any(all(target_os = "macos", target_arch = "aarch64"), feature = "simulated"))] {
        #[path = "boot/linux.rs"]
        mod linux;

        fn main() -> ExitCode {
            linux::main()
        }
    } else {
        fn main() -> ExitCode {
            println!("test boot ... ignored, this host has no Hypervisor.framework; --features simulated has one");
            ExitCode::SUCCESS
        }
    }
}
