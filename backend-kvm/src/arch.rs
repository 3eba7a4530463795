//! The crate's only choice of a host architecture.
//!
//! Each one has: `Guest` (the architecture of its guests), `REQUIRED` (capabilities without which there is no machine),
//! `facts`, `Chips` (what a VM has beside memory and cores), `Template` (what all cores of a VM share) and `Core`
//! (one core's power-on state), `state` and `set_state`, `location` (where a core is, for messages),
//! and `ProbeGuest` with `PROBE_PORT` and `PROBE_STEPS` (what a guest must be able to do).

cfg_if::cfg_if! {
    if #[cfg(target_arch = "x86_64")] {
        mod x86_64;
        pub(crate) use x86_64::{
            Chips, Core, Guest, PROBE_PORT, PROBE_STEPS, ProbeGuest, REQUIRED, Template, facts, has_hardware_virtualization, location, set_state,
            state,
        };
    } else {
        compile_error!("backend-kvm runs on x86_64 hosts");
    }
}
