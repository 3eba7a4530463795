//! Stand-in: what this host refuses.

/// One line: what, which value, what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NetError(pub String);
