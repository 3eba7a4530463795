//! Threads that serve devices: an event loop each, bells that wake it, doorbells watched by the host.

mod bell;
mod doorbell;
mod event_loop;
mod rate;
mod threads;

pub use bell::Bell;
pub use doorbell::{Doorbell, DoorbellHost, NoDoorbellHost, WatchedDoorbell};
pub use event_loop::{EventLoop, Ready};
pub use rate::{Clock, Rate, RateLimiter, RateLimits, TokenBucket};
pub use threads::{ThreadKind, Threads};
