//! `Output`: one of the command's two outputs, on its way to the host.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use hv_agent_protocol::{AgentMessage, Outgoing, Stream};
use rustix::io::{Errno, ioctl_fionread, read};

/// An output of the command.
#[derive(Debug)]
pub(super) struct Output {
    stream: Stream,
    /// Nothing once it has ended, or nobody wants more of it.
    source: Option<OwnedFd>,
    /// How many bytes of it still count, where its end is not waited for.
    left: Option<usize>,
}

impl Output {
    /// An output that is read from `source`, which does not block.
    pub(super) fn new(stream: Stream, source: Option<OwnedFd>) -> Self {
        Self { stream, source, left: None }
    }

    pub(super) fn stream(&self) -> Stream {
        self.stream
    }

    pub(super) fn source(&self) -> Option<BorrowedFd<'_>> {
        self.source.as_ref().map(AsFd::as_fd)
    }

    /// Whether all of it was read.
    pub(super) fn is_done(&self) -> bool {
        self.source.is_none()
    }

    pub(super) fn is_limited(&self) -> bool {
        self.left.is_some()
    }

    /// Lets it end with what is in it now.
    pub(super) fn limit(&mut self) {
        if let Some(source) = &self.source
            && self.left.is_none()
        {
            let left = ioctl_fionread(source).ok().and_then(|left| usize::try_from(left).ok()).unwrap_or(0);
            self.left = Some(left);
            if left == 0 {
                self.source = None;
            }
        }
    }

    /// Closes it, so that the command's next write fails with EPIPE.
    pub(super) fn close(&mut self) {
        self.source = None;
    }

    /// Reads once and passes it on.
    pub(super) fn read(&mut self, buffer: &mut [u8], outgoing: &mut Outgoing) -> io::Result<()> {
        let Some(source) = &self.source else { return Ok(()) };
        let most = self.left.unwrap_or(usize::MAX).min(buffer.len());
        let room = buffer.get_mut(..most).unwrap_or_default();
        let bytes = match read(source, &mut *room) {
            Ok(count) => room.get(..count).unwrap_or_default(),
            Err(Errno::INTR | Errno::AGAIN) => return Ok(()),
            // A terminal that nobody has open any more; any other failure is an end as well.
            Err(_) => &[],
        };
        self.left = self.left.map(|left| left.saturating_sub(bytes.len()));
        if bytes.is_empty() || self.left == Some(0) {
            self.source = None;
        }
        if bytes.is_empty() {
            return Ok(());
        }
        match self.stream {
            Stream::Stdout => outgoing.push(&AgentMessage::Stdout(bytes)),
            Stream::Stderr => outgoing.push(&AgentMessage::Stderr(bytes)),
        }
    }
}
