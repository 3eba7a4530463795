//! Serves a pair of virtqueues: frames both ways, and in the first pair commands.

use std::{io, time::Duration};

use super::{common::Common, control::Control, plug::Plug, receive::Receive, transmit::Transmit};
use crate::{
    io::{EventLoop, Ready, ThreadKind},
    virtio::{ConfigInterrupt, FIRST_SOURCE, QueueError, QueueWorker, Virtqueue, look_out::LookOut},
};

/// Rings when a handle or another worker wants something.
const OTHERS: u8 = FIRST_SOURCE;
/// Ready when the backend has events.
const BACKEND: u8 = FIRST_SOURCE + 1;

/// Serves a pair of virtqueues.
pub(super) struct Worker {
    queues: Vec<u16>,
    plug: Plug,
    common: Common,
    receive: Receive,
    transmit: Transmit,
    control: Option<Control>,
    config_changed: ConfigInterrupt,
    look_out: LookOut,
}

impl Worker {
    pub(super) fn new(
        plug: Plug,
        common: Common,
        receive: Receive,
        transmit: Virtqueue,
        control: Option<Control>,
        config_changed: ConfigInterrupt,
    ) -> Self {
        let queues = [receive.queue().index(), transmit.index()];
        let queues = queues.into_iter().chain(control.as_ref().map(Control::index)).collect();
        let (transmit, look_out) = (Transmit::new(transmit), LookOut::new());
        Self { queues, plug, common, receive, transmit, control, config_changed, look_out }
    }

    /// Has the backend run or not as the driver wants, and its events heard; says whether there may be more of them.
    fn attend(&mut self, ready: Ready, event_loop: &mut EventLoop) -> Result<bool, QueueError> {
        let settled = self.plug.settle(event_loop, BACKEND);
        let changed = settled
            .map_err(|error| self.receive.queue().error(format!("the host's end does not start: {error}")))?;
        let heard = self.plug.hear(ready.contains(BACKEND));
        if changed || heard.woken {
            self.transmit.unblock();
        }
        let link_changed = (changed || heard.woken) && self.plug.link_changed();
        if (link_changed || ready.contains(OTHERS)) && self.common.shared.link_changed() {
            self.config_changed.fire();
        }
        if changed && self.plug.number() > 0 {
            // The worker of commands waits for this one.
            self.common.shared.pairs()[0].ring();
        }
        Ok(heard.more)
    }

    /// Moves frames both ways; says whether there is more to do at once.
    fn transfer(&mut self) -> Result<bool, QueueError> {
        let Some(backend) = self.plug.backend() else { return Ok(false) };
        let Self { receive, transmit, common, look_out, .. } = self;
        let budgets = (transmit.queue().size().into(), receive.queue().size().into());
        let (mut to_send, mut to_receive) = budgets;
        transmit.queue().disable_doorbell()?;
        loop {
            let before = (to_send, to_receive);
            transmit.run(backend, common, &mut to_send)?;
            receive.run(backend, common, &mut to_receive)?;
            if to_send == 0 || to_receive == 0 {
                return Ok(true);
            }
            if transmit.waits() {
                // What it waits for brings us back; a doorbell would only disturb.
                return Ok(false);
            }
            let moved = before != (to_send, to_receive);
            if moved && look_out.look(|| transmit.has_frames() || receive.has_what_it_waits_for()) {
                continue;
            }
            if !transmit.queue().enable_doorbell()? {
                return Ok(false);
            }
            transmit.queue().disable_doorbell()?;
        }
    }
}

impl QueueWorker for Worker {
    fn queues(&self) -> &[u16] {
        &self.queues
    }

    fn thread(&self) -> ThreadKind {
        ThreadKind::Network
    }

    fn start(&mut self, event_loop: &mut EventLoop) -> io::Result<()> {
        self.plug.watch(event_loop, BACKEND)?;
        self.plug.pair().set_bell(Some(event_loop.bell(OTHERS)));
        Ok(())
    }

    fn serve(&mut self, ready: Ready, event_loop: &mut EventLoop) -> Result<(), QueueError> {
        if self.attend(ready, event_loop)? {
            event_loop.bell(BACKEND).ring();
        }
        if let Some(control) = &mut self.control
            && (ready.contains(OTHERS) || ready.bits() >> control.index() & 1 == 1)
            && control.serve(&self.common.shared)?
        {
            event_loop.bell(OTHERS).ring();
        }
        if self.transfer()? {
            // Each turn looks at both queues.
            event_loop.bell(OTHERS).ring();
        }
        Ok(())
    }

    /// Until the backend's time, or that of a frame which waits for tokens.
    fn patience(&self) -> Option<Duration> {
        if !self.plug.is_running() {
            return None;
        }
        let dues = [self.transmit.due(), self.receive.due()].into_iter().flatten();
        let waits = dues.map(|due| self.common.until(Some(due)).unwrap_or_default());
        waits.chain(self.plug.patience()).min()
    }
}
