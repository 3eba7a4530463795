//! The rules of the simulated framework, each shown by a small guest. One VM in a process: tests run one after the other.

// It brings the `hv_*` symbols that applevisor-sys declares.
use hvf_sim as _;

#[path = "framework/calls.rs"]
mod calls;
#[path = "framework/code.rs"]
mod code;
#[path = "framework/exits.rs"]
mod exits;
#[path = "framework/gic.rs"]
mod gic;
#[path = "framework/guest.rs"]
mod guest;
#[path = "framework/programs.rs"]
mod programs;
#[path = "framework/rules.rs"]
mod rules;
