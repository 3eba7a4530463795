//! The agent in a guest of `hv`: its first process. It brings the guest up from an image and runs commands for the host.
//!
//! `docs/agent.md` describes what it does and what it says. [`session`] and [`dhcp`] work outside a guest too, for tests.
#![cfg(target_os = "linux")]

mod boot;
mod children;
mod control;
pub mod dhcp;
mod file;
#[doc(hidden)]
pub mod fuzzing;
mod log;
mod power_button;
pub mod session;
mod shutdown;
mod signals;
mod sockets;
mod users;
mod vsock;

pub use children::Children;

use std::{panic, process, thread};

use log::log;
use shutdown::Order;

/// The stack of a thread that does little.
const SMALL_STACK: usize = 128 << 10;

/// Is the guest's first process. It never returns: the end of that process is a kernel panic.
pub fn init() -> ! {
    if process::id() != 1 {
        eprintln!("hv-init is the first process of a guest of hv; there is nothing to run it for elsewhere");
        process::exit(2);
    }
    panic::set_hook(Box::new(|info| {
        log(&format!("the agent failed: {info}"));
        shutdown::stop_machine(false);
    }));
    match boot::boot() {
        Ok(running) => {
            let order = running.wait();
            running.shut_down(order);
        }
        Err(error) => {
            log(&error);
            shutdown::stop_machine(Order::FAILED.reboot);
        }
    }
}

/// Starts a thread that does little. Without it the guest lives on, so failure is only told.
fn start_thread(name: &'static str, body: impl FnOnce() + Send + 'static) -> bool {
    let started = thread::Builder::new().name(name.to_owned()).stack_size(SMALL_STACK).spawn(body);
    if let Err(error) = &started {
        log(&format!("no thread for {name}: {error}"));
    }
    started.is_ok()
}
