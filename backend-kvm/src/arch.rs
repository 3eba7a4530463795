//! The crate's only choice of a host architecture.
//!
//! Each one has: `Guest` (the architecture of its guests), `REQUIRED` (capabilities without which there is no machine),
//! `ABSENT` and `DISABLED` (what helps against a missing `/dev/kvm`), `facts`, `create_vm`, `Chips` (what a VM has beside
//! memory and cores), `Lines` (their inputs), `Template` (what all cores of a VM share) and `Core` (one core's power-on
//! state), `state` and `set_state`, `location` (where a core is, for messages), and `ProbeGuest` with `PROBE_STEPS`
//! (what a guest must be able to do) and `reported_step` (which of them it just did).

cfg_if::cfg_if! {
    if #[cfg(target_arch = "x86_64")] {
        mod x86_64;
        pub(crate) use x86_64::{
            ABSENT, Chips, Core, DISABLED, Guest, Lines, PROBE_STEPS, ProbeGuest, REQUIRED, Template, create_vm, facts,
            has_hardware_virtualization, location, reported_step, set_state, state,
        };
    } else if #[cfg(target_arch = "aarch64")] {
        mod aarch64;
        pub(crate) use aarch64::{
            ABSENT, Chips, Core, DISABLED, Guest, Lines, PROBE_STEPS, ProbeGuest, REQUIRED, Template, create_vm, facts,
            has_hardware_virtualization, location, reported_step, set_state, state,
        };
    } else {
        compile_error!("backend-kvm runs on x86_64 and aarch64 hosts");
    }
}
