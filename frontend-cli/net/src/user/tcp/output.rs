//! What connections have for the guest, and when they are looked at without being asked.

use std::time::Duration;

use super::{Tcp, flow::Stage, seal, stack::Due};
use crate::user::{
    icmp::Reason,
    link::{Frame, Link},
};

/// How long the host may take to answer whether there is a connection.
const CONNECT_PATIENCE: Duration = Duration::from_secs(60);

/// A socket that wants to send and does not is looked at again after this: it cannot keep us busy.
const PAUSE: Duration = Duration::from_millis(10);

impl Tcp {
    /// Puts the next frame for the guest into `frame`; false if there is none.
    pub(crate) fn output(&mut self, link: &mut Link, frame: &mut Frame) -> bool {
        while let Some(slot) = self.queue.pop_front() {
            let Some(flow) = self.flows.at(slot) else { continue };
            let ends = flow.ends;
            let Some((open, stream)) = flow.open() else { continue };
            open.is_queued = false;
            open.fill(stream);
            let len = self.stack.output(link.now, &mut open.sockets, frame);
            if len == 0 {
                self.settle_after(link, slot, true);
                continue;
            }
            if let Some(segment) = seal(link, ends, frame, len, open.segment) {
                open.has_sent(segment);
            }
            self.settle(link, slot);
            return true;
        }
        false
    }

    /// Sees what the connection with number `slot` wants next: to send, to be looked at later, to be forgotten.
    pub(super) fn settle(&mut self, link: &mut Link, slot: usize) {
        self.settle_after(link, slot, false);
    }

    fn settle_after(&mut self, link: &mut Link, slot: usize, was_silent: bool) {
        let Self { stack, flows, queue, deadlines, .. } = self;
        let Some(flow) = flows.at(slot) else { return };
        let open = match &mut flow.stage {
            Stage::Open(open) => open,
            Stage::Connecting { since, .. } => {
                return deadlines.plan(slot, *since + CONNECT_PATIENCE, &mut flow.planned);
            }
        };
        open.hand_on_reset();
        if let Some(was_ended) = open.end() {
            return self.remove(link, slot, !was_ended);
        }
        let due = stack.due(link.now, &open.sockets);
        let wants_now = due == Due::Now;
        if open.is_over() && !wants_now {
            return self.remove(link, slot, false);
        }
        if (wants_now && !was_silent || open.may_fill()) && !open.is_queued {
            open.is_queued = true;
            queue.push_back(slot);
        }
        let wish = match due {
            Due::Now if was_silent => Some(link.now + PAUSE),
            Due::At(at) => Some(at),
            _ => None,
        };
        let limit = match open.patience() {
            Some(patience) => Some(*open.waiting.get_or_insert(link.now) + patience),
            None => {
                open.waiting = None;
                None
            }
        };
        if let Some(at) = wish.into_iter().chain(limit).chain(open.resend_at()).min() {
            deadlines.plan(slot, at, &mut flow.planned);
        }
    }

    /// Looks at the connections whose time has come.
    pub(crate) fn wake(&mut self, link: &mut Link) {
        while let Some((slot, at)) = self.deadlines.due(link.now) {
            let Some(flow) = self.flows.at(slot).filter(|flow| flow.planned == Some(at)) else {
                continue;
            };
            flow.planned = None;
            match &mut flow.stage {
                Stage::Connecting { syn, since } if *since + CONNECT_PATIENCE <= link.now => {
                    let (ends, syn) = (flow.ends, std::mem::take(syn));
                    self.remove(link, slot, true);
                    Self::report(link, ends, &syn, Reason::Host);
                }
                Stage::Connecting { .. } => self.settle(link, slot),
                Stage::Open(open) => {
                    let patience = open.patience();
                    let since = open.waiting;
                    let is_late = |(since, patience)| since + patience <= link.now;
                    if since.zip(patience).is_some_and(is_late) {
                        open.abort();
                    } else if open.resend_at().is_some_and(|at| at <= link.now) {
                        open.resent += 1;
                        let len = self.stack.resend(link.now, &mut open.sockets, &mut self.reply);
                        self.reply(link, slot, len);
                    }
                    self.settle(link, slot);
                }
            }
        }
    }
}
