//! What a guest's network cable leads to: a NAT in this process, a tap, another program's socket.

pub mod capture;
pub mod error;
pub mod segment;
pub mod socket;
pub mod switch;
pub mod tap;
pub mod user;

pub use error::NetError;
