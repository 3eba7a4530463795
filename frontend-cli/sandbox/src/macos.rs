//! macOS: one profile for the whole process, enforced by the kernel ([`profile`](crate::profile)). It knows no threads.

mod framework;

use crate::{Error, Mode, Part, Plan, Thread, limits, profile};

/// The closed doors of this process.
#[derive(Debug, Clone)]
pub struct Sandbox(());

impl Sandbox {
    /// Closes the doors, for all threads.
    ///
    /// # Errors
    /// macOS does not take the profile.
    pub fn close(plan: &Plan) -> Result<Self, Error> {
        if plan.mode != Mode::Off {
            limits::set(plan.hypervisor, plan.memory)?;
            framework::enter(&profile::text(plan, plan.mode == Mode::Log))?;
        }
        Ok(Self(()))
    }

    /// Nothing more: all threads have the same profile.
    ///
    /// # Errors
    /// None.
    pub fn begin(&self, _: Thread) -> Result<(), Error> {
        Ok(())
    }
}

/// What this host has of the sandbox.
pub fn support() -> Vec<Part> {
    let has = "a profile restricts files, sockets, processes and services".to_owned();
    let lacks = "macOS has no filter of system calls by thread, and refuses what it forbids without ending the process";
    vec![Part { name: "sandbox profile", has, lacks: Some(lacks.to_owned()) }]
}
