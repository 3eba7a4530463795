//! The locks and atomics of what crosses threads: the standard library's, or loom's when its models are checked.

#[cfg(not(all(feature = "models", test)))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, atomic};

#[cfg(all(feature = "models", test))]
pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard, atomic};
