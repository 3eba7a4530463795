//! `Error`: which request the host refused, and why.

/// The host refused a request of ours.
#[derive(Debug, thiserror::Error)]
#[error("{operation}: {source}")]
pub struct Error {
    /// What was asked, in the host's own words: `KVM_CREATE_VM`, `hv_vm_map`.
    pub operation: &'static str,
    /// What the host answered.
    #[source]
    pub source: std::io::Error,
}

impl Error {
    /// `operation` failed with `source`.
    pub fn new(operation: &'static str, source: impl Into<std::io::Error>) -> Self {
        Self { operation, source: source.into() }
    }
}

/// The result of a request to the host.
pub type Result<T> = std::result::Result<T, Error>;
