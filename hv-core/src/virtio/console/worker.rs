//! Serves all queues of a console on one thread.

use std::{io, sync::Arc};

use super::{
    Shared,
    control::{Dialogue, Effect, MESSAGE_LEN},
    port::{Host, Port, ring},
};
use crate::{
    chardev::TerminalSize,
    io::{EventLoop, Ready},
    virtio::{Activation, ConfigInterrupt, FIRST_SOURCE, QueueError, QueueWorker, Virtqueue},
};

/// Rings when the host has input, room for output, or another size.
const HOST: u8 = FIRST_SOURCE;

/// Serves all queues of a console.
pub(super) struct Worker {
    queues: Vec<u16>,
    hosts: Vec<Arc<Host>>,
    ports: Vec<Port>,
    control: Option<Control>,
    shared: Arc<Shared>,
    config_changed: ConfigInterrupt,
    /// The size that the guest was last told of.
    told: TerminalSize,
}

/// The control queues and what is said on them.
struct Control {
    /// Messages for the driver.
    receive: Virtqueue,
    /// Messages of the driver.
    transmit: Virtqueue,
    dialogue: Dialogue,
}

impl Worker {
    pub(super) fn new(hosts: &[Arc<Host>], shared: Arc<Shared>, with: Activation, multiport: bool) -> Self {
        let mut virtqueues = with.queues;
        let queues = (0..).zip(&virtqueues).filter(|(_, queue)| queue.is_some()).map(|(index, _)| index);
        let queues = queues.collect();
        let mut take = |index: usize| virtqueues.get_mut(index).and_then(Option::take);
        let count = if multiport { hosts.len() } else { 1 };
        let ports = (0..).zip(hosts.iter().take(count)).map(|(number, host)| {
            // The terminal's queues come first, then those for control messages, then the other ports' (5.3.2).
            let first = if number == 0 { 0 } else { 2 * number + 2 };
            Port::new(Arc::clone(host), take(first), take(first + 1))
        });
        let ports = ports.collect();
        let control = match (multiport, take(2), take(3)) {
            (true, Some(receive), Some(transmit)) => {
                Some(Control { receive, transmit, dialogue: Dialogue::default() })
            }
            _ => None,
        };
        let told = TerminalSize::default();
        let hosts = hosts.to_vec();
        Self { queues, hosts, ports, control, shared, config_changed: with.config_changed, told }
    }

    fn tell_size(&mut self) {
        let size = self.shared.size();
        if size != self.told {
            self.told = size;
            self.config_changed.fire();
            if let Some(control) = &mut self.control {
                control.dialogue.resize(size);
            }
        }
    }
}

impl QueueWorker for Worker {
    fn queues(&self) -> &[u16] {
        &self.queues
    }

    fn start(&mut self, event_loop: &mut EventLoop) -> io::Result<()> {
        let bell = event_loop.bell(HOST);
        for host in &self.hosts {
            let bell = bell.clone();
            host.wake_with(Arc::new(move || bell.ring()));
        }
        *self.shared.bell() = Some(bell);
        Ok(())
    }

    fn serve(&mut self, _: Ready, event_loop: &mut EventLoop) -> Result<(), QueueError> {
        self.tell_size();
        if let Some(control) = &mut self.control {
            control.serve(&self.hosts, &self.shared, event_loop)?;
        }
        for (number, port) in self.ports.iter_mut().enumerate() {
            port.send(event_loop)?;
            if self.shared.is_open(number) {
                port.receive(event_loop)?;
            }
        }
        Ok(())
    }
}

impl Control {
    fn serve(
        &mut self,
        hosts: &[Arc<Host>],
        shared: &Shared,
        event_loop: &EventLoop,
    ) -> Result<(), QueueError> {
        let names: Vec<_> = hosts.iter().map(|host| host.name.as_str()).collect();
        self.receive.disable_doorbell()?;
        self.transmit.disable_doorbell()?;
        let mut again = true;
        for _ in 0..self.transmit.size() {
            self.say()?;
            if !self.dialogue.has_room() {
                // Buffers for what we say are its turn; their doorbell brings us back.
                again = false;
                break;
            }
            let Some(chain) = self.transmit.pop()? else {
                again = self.transmit.enable_doorbell()?;
                break;
            };
            let mut message = [0; MESSAGE_LEN];
            let heard = chain.read_at(self.transmit.ram(), 0, &mut message) == MESSAGE_LEN;
            self.transmit.push(chain.head(), 0)?;
            self.transmit.recycle(chain);
            if heard && let Effect::Open(port, is_open) = self.dialogue.hear(message, &names, shared.size()) {
                shared.set_open(port, is_open);
            }
        }
        self.say()?;
        self.transmit.signal()?;
        self.receive.signal()?;
        if again {
            ring(event_loop, &self.transmit);
        }
        Ok(())
    }

    /// Says what is to be said, as far as the driver has buffers.
    fn say(&mut self) -> Result<(), QueueError> {
        while let Some(message) = self.dialogue.next() {
            let Some(chain) = self.receive.pop()? else {
                if self.receive.enable_doorbell()? {
                    continue;
                }
                break;
            };
            let written = chain.write_at(self.receive.ram(), 0, message);
            // A message is some bytes long.
            self.receive.push(chain.head(), u32::try_from(written).unwrap_or_default())?;
            self.receive.recycle(chain);
            self.dialogue.sent();
        }
        Ok(())
    }
}
