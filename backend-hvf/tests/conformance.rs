//! The conformance suite on Hypervisor.framework: this Mac's, or the simulated one.

use std::process::ExitCode;

cfg_if::cfg_if! {
    if #[cfg(any(all(target_os = "macos", target_arch = "aarch64"), feature = "simulated"))] {
        use backend_hvf::Hvf;
        use hv_conformance::Host;
        use hv_core::hypervisor::Hypervisor;

        fn main() -> ExitCode {
            let host = match Hvf::open() {
                Ok(_) => Host::Full,
                Err(error) => Host::Missing(error.to_string()),
            };
            // Whether WFI waits in the framework or comes out of it is not known of every Mac: either must do.
            #[cfg(feature = "simulated")]
            {
                println!("WFI waits in the framework");
                backend_hvf::simulation::wfi_waits(true);
                let waiting = hv_conformance::run::<Hvf>(&host);
                if waiting != ExitCode::SUCCESS {
                    return waiting;
                }
                println!("WFI comes out of the framework");
                backend_hvf::simulation::wfi_waits(false);
            }
            hv_conformance::run::<Hvf>(&host)
        }
    } else {
        fn main() -> ExitCode {
            println!("test conformance ... ignored, this host has no Hypervisor.framework; --features simulated has one");
            ExitCode::SUCCESS
        }
    }
}
