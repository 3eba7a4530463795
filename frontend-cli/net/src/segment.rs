//! A private segment between guests of one user, without a daemon: each guest has a Unix datagram socket in a shared
//! folder and sends its frames to the others'.

mod folder;
mod learned;
mod member;

use std::{
    io,
    os::fd::AsFd,
    path::Path,
    time::{Duration, Instant},
};

use folder::Folder;
use hv_core::{
    memory::GuestBuffer,
    net::{FrameHeader, MAX_FRAME, NetBackend, Offloads, Received},
};
pub(crate) use learned::Learned;
use member::{Delivery, Member};
use mio::net::UnixDatagram;

use crate::{
    NetError, ethernet,
    mailbox::{MOST_HEAD, Mailbox},
    readiness::{Readiness, tokens},
    socket::enlarge,
};

/// Guests on one segment.
pub const MOST_MEMBERS: usize = 32;

/// Bytes of a guest's name; it stands in each datagram.
const LONGEST_NAME: usize = 64;

/// How often to look for members that could not be heard when they came.
const LOOK_AROUND: Duration = Duration::from_secs(1);

/// Joins the segment of `folder` as `guest`: makes the folder if it is not there, private to this user.
///
/// # Errors
/// The folder is not this user's alone, the name is taken or the segment is full.
pub fn join(folder: &Path, guest: &str) -> Result<Box<dyn NetBackend>, NetError> {
    Ok(Box::new(Segment::join(folder, guest)?))
}

/// One guest's end of a segment.
#[derive(Debug)]
struct Segment {
    folder: Folder,
    socket: UnixDatagram,
    readiness: Readiness,
    mailbox: Mailbox,
    /// Before each frame: the length of this guest's name, and the name.
    head: Vec<u8>,
    members: Vec<Member>,
    learned: Learned,
    looked_around: Instant,
    /// When a member that is waited for has had its time.
    until: Option<Instant>,
}

impl Segment {
    fn join(folder: &Path, guest: &str) -> Result<Self, NetError> {
        if !folder::is_name(guest) {
            return Err(NetError::MemberName { guest: guest.to_owned(), limit: LONGEST_NAME });
        }
        let (folder, socket) = Folder::join(folder, guest)?;
        enlarge(&socket);
        // `is_name` has seen that it is short.
        let mut head = vec![u8::try_from(guest.len()).unwrap_or_default()];
        head.extend_from_slice(guest.as_bytes());
        let mut segment = Self {
            folder,
            socket,
            readiness: Readiness::new(tokens::SEGMENT),
            mailbox: Mailbox::default(),
            head,
            members: Vec::new(),
            learned: Learned::default(),
            looked_around: Instant::now(),
            until: None,
        };
        segment.look_around();
        Ok(segment)
    }

    /// Gets to know members that are not known, and tells them of this one.
    fn look_around(&mut self) {
        self.looked_around = Instant::now();
        for name in self.folder.others() {
            self.meet(&name);
        }
    }

    /// Gets to know `name`, unless it is known, or is this one, as only a stranger would say.
    fn meet(&mut self, name: &str) {
        let is_known = self.members.iter().any(|member| member.name() == name);
        if is_known || self.members.len() >= MOST_MEMBERS || self.head[1..] == *name.as_bytes() {
            return;
        }
        match Member::meet(&self.folder.path(name), name, &self.head) {
            Ok(member) => self.members.push(member),
            Err(error) if folder::is_over(&error) => self.folder.bury(name),
            Err(error) => tracing::debug!("guest {name} on the network segment: {error}"),
        }
    }

    /// Sends a frame to the member at `index`, and forgets a member that is there no more.
    fn deliver(&mut self, index: usize, frame: GuestBuffer<'_>, may_wait: bool) -> Delivery {
        let delivery = self.members[index].send(&self.head, frame, may_wait, &self.readiness);
        if matches!(delivery, Delivery::Gone) {
            let member = self.members.swap_remove(index);
            tracing::debug!("guest {} left the network segment", member.name());
            self.learned.forget(member.name());
            // It is stale, or another has the name by now.
            self.meet(member.name());
        }
        delivery
    }

    /// Reads until there is a frame, or nothing to read; says how long the frame is.
    fn fill(&mut self) -> io::Result<Option<usize>> {
        let Self { mailbox, socket, learned, members, .. } = self;
        let mut strangers = Vec::new();
        let filled = mailbox.fill(
            |bytes| socket.recv(bytes),
            |datagram| {
                let (name, at) = sender(datagram)?;
                if !members.iter().any(|member| member.name() == name) {
                    strangers.push(name.to_owned());
                }
                let frame = &datagram[at..];
                let header = frame.first_chunk()?;
                learned.learn(ethernet::source(header), name);
                (frame.len() <= MAX_FRAME).then_some(at)
            },
        );
        for name in strangers {
            self.meet(&name);
        }
        filled
    }
}

/// Who sent `datagram`, and where its frame begins.
pub(crate) fn sender(datagram: &[u8]) -> Option<(&str, usize)> {
    let (len, rest) = datagram.split_first()?;
    let name = str::from_utf8(rest.get(..usize::from(*len))?).ok()?;
    folder::is_name(name).then_some((name, 1 + name.len()))
}

const _: () = assert!(LONGEST_NAME < MOST_HEAD);

impl NetBackend for Segment {
    fn start(&mut self, _: Offloads, registry: &mio::Registry) -> io::Result<()> {
        self.readiness.start(registry)?;
        self.mailbox.may_have_more();
        self.readiness.add(self.socket.as_fd())
    }

    fn stop(&mut self, _: &mio::Registry) {
        for member in &mut self.members {
            member.wait_no_more(&self.readiness);
        }
        self.until = None;
        self.readiness.remove(self.socket.as_fd());
        self.readiness.stop();
    }

    fn wake(&mut self, _: &mio::Events) {
        self.until = None;
        self.mailbox.may_have_more();
    }

    fn send(&mut self, _: FrameHeader, frame: GuestBuffer<'_>) -> io::Result<bool> {
        let mut header = [0; ethernet::HEADER];
        let is_frame = frame.copy_to(&mut header)? == header.len() && frame.len() <= MAX_FRAME as u64;
        if !is_frame {
            return Ok(true);
        }
        let to = ethernet::destination(&header);
        let known = self
            .learned
            .find(to)
            .and_then(|name| self.members.iter().position(|member| member.name() == name));
        if let Some(index) = known {
            if let Delivery::Wait(until) = self.deliver(index, frame, true) {
                self.until = Some(until);
                return Ok(false);
            }
            return Ok(true);
        }
        if self.looked_around.elapsed() >= LOOK_AROUND {
            self.look_around();
        }
        // From the end, as one that is gone makes room for the last.
        for index in (0..self.members.len()).rev() {
            self.deliver(index, frame, false);
        }
        Ok(true)
    }

    fn next_len(&mut self) -> Option<usize> {
        self.fill().ok().flatten()
    }

    fn receive(&mut self, buffer: GuestBuffer<'_>) -> io::Result<Option<Received>> {
        self.fill()?;
        self.mailbox.give(buffer)
    }

    fn deadline(&self) -> Option<Instant> {
        if !self.readiness.is_started() {
            return None;
        }
        [self.until, self.mailbox.deadline()].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests;
