//! Linux: Landlock for paths, TCP ports and signals, seccomp for system calls by kind of thread, limits, no new privileges.

mod calls;
mod filter;
mod names;
mod paths;
mod violation;

use std::{collections::BTreeMap, sync::Arc};

use seccompiler::BpfProgram;

use crate::{Error, Mode, Part, Plan, Thread, limits};

/// The closed doors of this process.
#[derive(Clone)]
pub struct Sandbox {
    /// What each kind of thread puts on top of what all have.
    filters: Arc<BTreeMap<Thread, BpfProgram>>,
}

impl Sandbox {
    /// Closes the doors for the calling thread and all that it makes from now on; there should be no other yet. What this host
    /// does not have is left out: [`support`] tells what that is.
    ///
    /// # Errors
    /// The host has a part and refuses it all the same.
    pub fn close(plan: &Plan) -> Result<Self, Error> {
        if plan.mode == Mode::Off {
            return Ok(Self { filters: Arc::default() });
        }
        limits::set(plan.hypervisor, plan.memory)?;
        if plan.mode == Mode::On {
            paths::close(plan)?;
        }
        if !filter::is_supported() {
            return Ok(Self { filters: Arc::default() });
        }
        if plan.mode == Mode::On {
            violation::handle(plan.last, plan.code)?;
        }
        let of = |rules| filter::compile(rules, plan.mode);
        let filters = Thread::ALL.map(|thread| Ok((thread, of(calls::of(thread, plan))?)));
        let filters = filters.into_iter().collect::<Result<_, Error>>()?;
        // A thread's filters are its own and those of the thread that made it, so these must leave what any of them needs.
        let any = of(calls::of_any(plan))?;
        filter::install(&filter::without_clone3()?)?;
        filter::install(&any)?;
        Ok(Self { filters: Arc::new(filters) })
    }

    /// From now on the calling thread can do what `thread` needs, and nothing else.
    ///
    /// # Errors
    /// The host refuses the filter.
    pub fn begin(&self, thread: Thread) -> Result<(), Error> {
        self.filters.get(&thread).map_or(Ok(()), filter::install)
    }
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandbox").field("threads", &self.filters.keys()).finish()
    }
}

/// What this host has of the sandbox.
pub fn support() -> Vec<Part> {
    vec![filter::support(), paths::support()]
}
