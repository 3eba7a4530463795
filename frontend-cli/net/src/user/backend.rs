//! The network as the network card has it: the turns of the card's worker.

use std::{io, time::Instant};

use hv_core::{
    memory::GuestBuffer,
    net::{FrameHeader, NetBackend, Offloads, Received},
};
use mio::Token;

use super::{FIRST_SERVICE, FIRST_TCP, FIRST_UDP, UserNetwork};

impl NetBackend for UserNetwork {
    fn takes(&self) -> Offloads {
        Offloads::all()
    }

    fn gives(&self) -> Offloads {
        Offloads::all()
    }

    fn start(&mut self, accepted: Offloads, registry: &mio::Registry) -> io::Result<()> {
        self.link.now = Instant::now();
        self.link.accepted = accepted;
        self.link.registry = Some(registry.try_clone()?);
        for (number, bound) in self.forwards.iter_mut().enumerate() {
            bound.register(registry, Token(number))?;
        }
        self.services.start(registry)
    }

    fn set_accepted(&mut self, accepted: Offloads) -> io::Result<()> {
        self.link.accepted = accepted;
        // What is ready was made for what the guest wanted before.
        let (header, len) = (self.next.header, std::mem::take(&mut self.next.len));
        self.link.finish((len > 0).then(|| (header, self.next.bytes[..len].to_vec())));
        Ok(())
    }

    fn stop(&mut self, registry: &mio::Registry) {
        self.services.stop(registry);
        self.tcp.stop(&self.link);
        self.udp.stop(&self.link);
        for bound in &mut self.forwards {
            bound.deregister(registry);
        }
        self.link.stop();
        self.next.len = 0;
        self.retry = None;
        self.count();
    }

    fn wake(&mut self, events: &mio::Events) {
        self.link.now = Instant::now();
        for event in events {
            match event.token() {
                Token(number) if number < FIRST_TCP => self.accept(number),
                Token(number) if number < FIRST_UDP => {
                    self.tcp.event(&mut self.link, number - FIRST_TCP, event);
                }
                Token(number) if number < FIRST_SERVICE => self.udp.event(number - FIRST_UDP),
                token => self.services.wake(token),
            }
        }
        if self.services.deadline().is_some_and(|deadline| deadline <= self.link.now) {
            self.services.tick(self.link.now);
        }
        if self.retry.take_if(|retry| *retry <= self.link.now).is_some() {
            self.accept_all();
        }
        self.tcp.wake(&mut self.link);
        self.udp.wake(&self.link);
        self.count();
    }

    fn send(&mut self, header: FrameHeader, frame: GuestBuffer<'_>) -> io::Result<bool> {
        // A longer frame is none.
        if let Ok(len) = usize::try_from(frame.len())
            && len <= self.buffer.len()
        {
            self.link.now = Instant::now();
            let len = frame.copy_to(&mut self.buffer[..len])?;
            self.take(header, len);
        }
        Ok(true)
    }

    fn flush(&mut self) {
        self.link.now = Instant::now();
        self.tcp.flush(&mut self.link);
        self.count();
    }

    fn next_len(&mut self) -> Option<usize> {
        self.prepare();
        (self.next.len > 0).then_some(self.next.len)
    }

    fn receive(&mut self, buffer: GuestBuffer<'_>) -> io::Result<Option<Received>> {
        self.prepare();
        if self.next.len == 0 {
            return Ok(None);
        }
        let (header, len) = (self.next.header, self.next.len);
        // Whether or not the guest's buffer is any good, the frame is gone.
        let copied = buffer.copy_from(self.next.filled());
        self.next.len = 0;
        Ok((copied? == len).then_some(Received { header, len }))
    }

    fn deadline(&self) -> Option<Instant> {
        [self.tcp.deadline(), self.udp.deadline(), self.services.deadline(), self.retry]
            .into_iter()
            .flatten()
            .min()
    }
}
