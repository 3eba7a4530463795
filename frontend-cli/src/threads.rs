//! Threads beside those of the machine: with a name and a small stack.

use std::{
    io,
    thread::{Builder, JoinHandle},
};

/// None of them goes deep. Where the host gives large pages (2 MiB on x86_64 and arm64) a stack of the usual size is one, and all
/// of it is memory at the first touch.
const STACK: usize = 256 << 10;

/// Starts a thread that runs `body`; `name` is what the host's tools show.
///
/// # Errors
/// The host is out of threads or memory.
pub(crate) fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.to_owned()).stack_size(STACK).spawn(body)
}
