//! `Control`: the connection over which a guest as a whole is spoken of.

use std::{
    io::{self, ErrorKind},
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail};
use hv_agent_protocol::{AgentMessage, HostMessage, Outgoing, Reader, VERSION};

use super::shown;

/// What the agent tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    /// Sessions can begin.
    Ready,
    /// The guest cannot be brought up, for this reason.
    BootFailed(String),
    /// The guest powers off.
    PoweringOff,
    /// The guest resets itself. A reset that was not told of is a crash.
    Rebooting,
}

/// The host's end of a guest's control connection.
#[derive(Debug)]
pub(crate) struct Control {
    reader: Reader<UnixStream>,
    handle: ControlHandle,
    release: String,
}

/// Speaks to the agent, from any thread.
#[derive(Debug, Clone)]
pub(crate) struct ControlHandle(Arc<Mutex<UnixStream>>);

/// How long the agent may leave what it is told in its socket.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

impl Control {
    /// Greets the agent that has connected, within `timeout`.
    pub(crate) fn accept(stream: UnixStream, timeout: Duration) -> anyhow::Result<Self> {
        let until = Instant::now() + timeout;
        let writer = stream.try_clone().context("out of file descriptors; raise `ulimit -n`")?;
        writer.set_write_timeout(Some(WRITE_TIMEOUT)).context("the agent's connection is broken")?;
        let mut reader = Reader::new(stream);
        let release = match receive(&mut reader, Some(until))? {
            Some(AgentMessage::Hello { version: VERSION, release }) => shown(release),
            Some(AgentMessage::Hello { version, .. }) => {
                bail!("the guest's agent speaks version {version} of its protocol, this hv version {VERSION}")
            }
            Some(other) => bail!("the guest's agent says {} and not hello", name(&other)),
            None => bail!("the guest's agent left before it said hello"),
        };
        let handle = ControlHandle(Arc::new(Mutex::new(writer)));
        handle.say(&HostMessage::Welcome { version: VERSION, time: now() })?;
        Ok(Self { reader, handle, release })
    }

    /// The release of the guest's kernel.
    pub(crate) fn release(&self) -> &str {
        &self.release
    }

    /// What speaks to the agent while this listens.
    pub(crate) fn handle(&self) -> ControlHandle {
        self.handle.clone()
    }

    /// What the agent tells next, if it does so within `timeout`; nothing when it has left, as it does when the machine stops.
    pub(crate) fn next(&mut self, timeout: Option<Duration>) -> anyhow::Result<Option<News>> {
        let until = timeout.map(|timeout| Instant::now() + timeout);
        Ok(match receive(&mut self.reader, until)? {
            Some(AgentMessage::Ready) => Some(News::Ready),
            Some(AgentMessage::BootFailed { reason }) => Some(News::BootFailed(shown(reason))),
            Some(AgentMessage::PoweringOff) => Some(News::PoweringOff),
            Some(AgentMessage::Rebooting) => Some(News::Rebooting),
            Some(other) => bail!("the guest's agent says {} where it may not", name(&other)),
            None => None,
        })
    }

    /// Waits until sessions can begin.
    pub(crate) fn wait_until_ready(&mut self, timeout: Duration) -> anyhow::Result<()> {
        match self.next(Some(timeout))? {
            Some(News::Ready) => Ok(()),
            Some(News::BootFailed(reason)) => bail!("the guest cannot be brought up: {reason}"),
            Some(News::PoweringOff | News::Rebooting) => bail!("the guest ended before it was up"),
            None => bail!("the guest's agent left before the guest was up"),
        }
    }
}

impl ControlHandle {
    /// Has all processes of the guest ended, by force after `grace`, and the machine powered off.
    pub(crate) fn power_off(&self, grace: Duration) -> anyhow::Result<()> {
        self.say(&HostMessage::PowerOff { grace: u32::try_from(grace.as_millis()).unwrap_or(u32::MAX) })
    }

    /// Sets the guest's clock to the host's, after either stood still.
    pub(crate) fn set_clock(&self) -> anyhow::Result<()> {
        self.say(&HostMessage::Time { time: now() })
    }

    fn say(&self, message: &HostMessage<'_>) -> anyhow::Result<()> {
        let mut outgoing = Outgoing::default();
        outgoing.push(message)?;
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        outgoing.write_to(&mut *stream).context("the guest's agent does not listen")
    }
}

fn receive(
    reader: &mut Reader<UnixStream>,
    until: Option<Instant>,
) -> anyhow::Result<Option<AgentMessage<'_>>> {
    let overdue = || io::Error::new(ErrorKind::TimedOut, "it says nothing in time");
    let broken = "the guest's agent is not understood";
    // Each read has a time of its own, so that bytes that drip in do not make the whole longer.
    while !reader.has_message().context(broken)? {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(overdue()).context(broken);
        }
        reader.source().set_read_timeout(left).context(broken)?;
        match reader.fill() {
            Ok(true) => {}
            // The rest of a message that never came says nothing.
            Ok(false) => return Ok(None),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Err(overdue()).context(broken);
            }
            // How a machine that stopped looks.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(error).context(broken),
        }
    }
    reader.receive().context(broken)
}

/// The name of a message, without what it carries.
fn name(message: &AgentMessage<'_>) -> &'static str {
    match message {
        AgentMessage::Hello { .. } => "hello",
        AgentMessage::Ready => "that it is ready",
        AgentMessage::BootFailed { .. } => "that booting failed",
        AgentMessage::Pong(_) => "pong",
        AgentMessage::PoweringOff | AgentMessage::Rebooting => "that it ends",
        _ => "something of a session",
    }
}

/// Nanoseconds since 1970.
fn now() -> u64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
