//! What programs in the guest ask its first process for: `poweroff`, `reboot` and Ctrl-Alt-Del.

use std::sync::mpsc::Sender;

use signal_hook::{
    consts::{SIGINT, SIGTERM, SIGUSR1, SIGUSR2},
    iterator::Signals,
};

use crate::{log::log, shutdown::Order, start_thread};

/// `SIGPWR` on x86_64 and arm64.
const SIGPWR: i32 = 30;
/// `SIGRTMIN+4` and `SIGRTMIN+5`, by which systemd is asked, as the GNU C library counts them.
const POWER_OFF: i32 = 38;
const REBOOT: i32 = 39;

/// Orders what signals ask for, as busybox and systemd understand them.
pub(crate) fn watch(orders: &Sender<Order>) {
    let signals = [SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGPWR, POWER_OFF, REBOOT];
    let mut signals = match Signals::new(signals) {
        Ok(signals) => signals,
        Err(error) => return log(&format!("signals cannot be heard: {error}")),
    };
    let orders = orders.clone();
    start_thread("signals", move || {
        for signal in signals.forever() {
            let order = match signal {
                SIGINT | SIGTERM | REBOOT => Order::REBOOT,
                _ => Order::POWER_OFF,
            };
            if orders.send(order).is_err() {
                return;
            }
        }
    });
}
