//! `Common`: what both directions of a pair need.

use std::{
    fmt, io,
    sync::Arc,
    time::{Duration, Instant},
};

use super::shared::{Shared, Traffic};
use crate::{io::RateLimiter, memory::GuestRam, net::Received};

/// Seconds between two complaints about the same pair.
const COMPLAINT_INTERVAL: u64 = 5;

/// What both directions of a pair need.
pub(super) struct Common {
    name: String,
    pub(super) ram: GuestRam,
    pub(super) shared: Arc<Shared>,
    number: usize,
    limiter: Option<Arc<RateLimiter>>,
    complained: Option<Instant>,
}

impl Common {
    pub(super) fn new(
        name: String,
        ram: GuestRam,
        shared: Arc<Shared>,
        number: usize,
        limiter: Option<Arc<RateLimiter>>,
    ) -> Self {
        Self { name, ram, shared, number, limiter, complained: None }
    }

    /// The pair's counters.
    pub(super) fn traffic(&self) -> &Traffic {
        // Made for a pair that there is.
        &self.shared.pairs()[self.number].traffic
    }

    /// Takes the tokens of a frame; when it may pass, if not now.
    pub(super) fn pay(&self, bytes: u64) -> Option<Duration> {
        self.limiter.as_ref()?.reserve(bytes)
    }

    /// How long until `due`, if it has not come.
    pub(super) fn until(&self, due: Option<Duration>) -> Option<Duration> {
        self.limiter.as_ref()?.until(due?)
    }

    /// What the backend gave, if that is a frame; complains of errors.
    pub(super) fn look_at(&mut self, received: io::Result<Option<Received>>) -> Option<Received> {
        received.unwrap_or_else(|error| {
            self.complain(format_args!("cannot receive on the host: {error}"));
            None
        })
    }

    /// A frame was lost: one line now and then says why.
    pub(super) fn drop_frame(&mut self, why: fmt::Arguments<'_>) {
        self.traffic().dropped();
        self.complain(why);
    }

    /// One line now and then: what goes wrong once goes wrong for each frame.
    pub(super) fn complain(&mut self, what: fmt::Arguments<'_>) {
        if self.complained.is_none_or(|at| at.elapsed().as_secs() >= COMPLAINT_INTERVAL) {
            self.complained = Some(Instant::now());
            tracing::warn!("{}: {what}", self.name);
        }
    }
}
