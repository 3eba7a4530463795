//! The control socket of a guest: its protocol, the server in the guest's process, and the client.
//!
//! `docs/control.md` is the protocol for people who write clients of their own.

mod client;
mod line;
mod peer;
mod protocol;
mod server;
mod tap;

pub use client::{Client, ClientError, ConsoleConnection};
pub use line::{Lines, TooLong};
pub use protocol::{Answer, LINE_LIMIT, Request, State, Status};
pub use server::{Handle, Order, Server, serve};
pub use tap::{ConsoleTap, HISTORY_LIMIT, Tail};
