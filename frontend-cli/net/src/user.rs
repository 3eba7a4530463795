//! `--net user`: a network in this process.

#[cfg_attr(not(test), expect(dead_code, reason = "the NAT will use it"))]
pub(crate) mod services;
