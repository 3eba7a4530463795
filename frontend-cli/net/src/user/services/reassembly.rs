//! Fragments put together (RFC 791, 3.2; RFC 8200, 4.5). What overlaps is thrown away whole (RFC 5722).

use std::{
    collections::VecDeque,
    net::IpAddr,
    time::{Duration, Instant},
};

use smoltcp::wire::IpProtocol;

use super::{ethernet::Header, ip::Fragment};

/// Datagrams of which a part is missing; the oldest gives way.
const MAX_DATAGRAMS: usize = 8;

/// The longest payload, in bytes: that of the longest IPv4 packet.
const MAX_PAYLOAD: usize = 65_535 - 20;

/// Pieces with gaps between them, in one datagram.
const MAX_PIECES: usize = 64;

/// How long the missing parts are waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// What fragments of one datagram share. IPv4 counts the identification for each protocol, IPv6 does not.
#[derive(PartialEq, Eq)]
struct Key {
    source: IpAddr,
    destination: IpAddr,
    protocol: Option<IpProtocol>,
    identification: u32,
}

struct Datagram {
    key: Key,
    ends: Instant,
    /// The header of the first fragment, once it is there.
    header: Option<Header>,
    payload: Vec<u8>,
    /// Bytes of `payload` that are there: ranges with gaps between them, in order.
    pieces: Vec<(usize, usize)>,
    /// Bytes of the whole payload, known from the last fragment.
    len: Option<usize>,
    /// Two fragments contradicted each other, so that those to come are thrown away too.
    broken: bool,
}

/// Datagrams of which a part is missing.
#[derive(Default)]
pub(super) struct Reassembly {
    /// In the order of their beginnings, and so of their ends.
    datagrams: VecDeque<Datagram>,
}

impl Reassembly {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.datagrams.front().map(|datagram| datagram.ends)
    }

    pub(super) fn tick(&mut self, now: Instant) {
        while self.datagrams.front().is_some_and(|datagram| datagram.ends <= now) {
            self.datagrams.pop_front();
        }
    }

    /// Takes a fragment; the whole datagram if none is missing any more.
    pub(super) fn insert(&mut self, fragment: &Fragment<'_>, now: Instant) -> Option<(Header, Vec<u8>)> {
        self.tick(now);
        if fragment.offset == 0 && !fragment.more {
            // It is whole by itself, whatever else has its identification (RFC 6946).
            return Some((fragment.header, fragment.data.to_vec()));
        }
        let header = &fragment.header;
        let key = Key {
            source: header.source,
            destination: header.destination,
            protocol: header.source.is_ipv4().then_some(header.protocol),
            identification: fragment.identification,
        };
        let index = match self.datagrams.iter().position(|datagram| datagram.key == key) {
            Some(index) => index,
            None => {
                if self.datagrams.len() >= MAX_DATAGRAMS {
                    self.datagrams.pop_front();
                }
                self.datagrams.push_back(Datagram {
                    key,
                    ends: now + PATIENCE,
                    header: None,
                    payload: Vec::new(),
                    pieces: Vec::new(),
                    len: None,
                    broken: false,
                });
                self.datagrams.len() - 1
            }
        };
        let datagram = &mut self.datagrams[index];
        if datagram.broken {
            return None;
        }
        if datagram.insert(fragment).is_none() {
            datagram.broken = true;
            (datagram.payload, datagram.pieces) = (Vec::new(), Vec::new());
            return None;
        }
        if !datagram.is_whole() {
            return None;
        }
        let datagram = self.datagrams.remove(index)?;
        Some((datagram.header?, datagram.payload))
    }
}

impl Datagram {
    /// Takes a fragment; `None` if it and the others cannot be parts of one datagram.
    fn insert(&mut self, fragment: &Fragment<'_>) -> Option<()> {
        let (start, end) = (fragment.offset, fragment.offset + fragment.data.len());
        // All but the last are made of units of 8 bytes.
        if end > MAX_PAYLOAD || start == end || (fragment.more && !fragment.data.len().is_multiple_of(8)) {
            return None;
        }
        let known = self.pieces.last().map_or(0, |&(_, end)| end);
        if fragment.more {
            if self.len.is_some_and(|len| end > len) {
                return None;
            }
        } else {
            if self.len.is_some_and(|len| len != end) || known > end {
                return None;
            }
            self.len = Some(end);
        }
        if fragment.offset == 0 {
            self.header.get_or_insert(fragment.header);
        }
        let at = self.pieces.partition_point(|&(_, before)| before <= start);
        if let Some(&(from, to)) = self.pieces.get(at)
            && from < end
        {
            // The same once more does no harm; anything else that overlaps does (RFC 8200, 4.5).
            let same = from <= start && end <= to && self.payload.get(start..end) == Some(fragment.data);
            return same.then_some(());
        }
        if self.payload.len() < end {
            self.payload.resize(end, 0);
        }
        self.payload[start..end].copy_from_slice(fragment.data);
        self.join(at, start, end);
        (self.pieces.len() <= MAX_PIECES).then_some(())
    }

    /// Adds a piece before the one at `at`, which it does not overlap.
    fn join(&mut self, at: usize, start: usize, end: usize) {
        let before = at.checked_sub(1).filter(|&before| self.pieces[before].1 == start);
        let after = self.pieces.get(at).filter(|after| after.0 == end).map(|after| after.1);
        match (before, after) {
            (Some(before), Some(to)) => {
                self.pieces[before].1 = to;
                self.pieces.remove(at);
            }
            (Some(before), None) => self.pieces[before].1 = end,
            (None, Some(_)) => self.pieces[at].0 = start,
            (None, None) => self.pieces.insert(at, (start, end)),
        }
    }

    fn is_whole(&self) -> bool {
        self.len.is_some_and(|len| self.pieces == [(0, len)])
    }
}
