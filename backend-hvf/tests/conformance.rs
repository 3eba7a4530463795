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
            hv_conformance::run::<Hvf>(&host)
        }
    } else {
        fn main() -> ExitCode {
            println!("test conformance ... ignored, this host has no Hypervisor.framework; --features simulated has one");
            ExitCode::SUCCESS
        }
    }
}
