//! What a frame's sender left to others, done here: checksums completed, TCP cut into packets.

use hv_core::net::FrameHeader;

use crate::{
    checksum::Sum,
    ethernet::{self, IPV4, IPV6},
};

/// Packets that one frame may become; one with a smaller `gso_size` stays whole, as it would only be a waste.
const MAX_PACKETS: usize = 2048;

/// TCP as a protocol of IP.
const TCP: u8 = 6;

/// Bytes of a TCP header without options.
const TCP_HEADER: usize = 20;

/// Flags of TCP that belong to the last packet only: FIN and PSH.
const LAST_ONLY: u8 = 0x09;
/// The flag of TCP that belongs to the first packet only: CWR.
const FIRST_ONLY: u8 = 0x80;

/// Gives `frame` to `each` as the packets that a wire would carry: cut, with complete checksums. A frame whose header
/// is nonsense goes as it is.
pub(crate) fn packets(header: FrameHeader, frame: &mut [u8], mut each: impl FnMut(&[u8])) {
    if header.gso_type != FrameHeader::GSO_NONE
        && let Some(plan) = Plan::new(header, frame)
    {
        plan.cut(frame, each);
        return;
    }
    if header.flags & FrameHeader::NEEDS_CHECKSUM != 0 {
        complete(header, frame);
    }
    each(frame);
}

/// Sums up what `header` leaves open in `frame`, whose checksum field holds the sum of the pseudo header.
fn complete(header: FrameHeader, frame: &mut [u8]) {
    let start = usize::from(header.checksum_start);
    let field = start + usize::from(header.checksum_offset);
    if field + 2 > frame.len() {
        return;
    }
    let sum = match Sum::default().add(&frame[start..]).complete() {
        // Zero is "no checksum" in UDP, and the same number as this one.
        [0, 0] => [0xff, 0xff],
        sum => sum,
    };
    frame[field..field + 2].copy_from_slice(&sum);
}

/// Where things stand in a frame that is to be cut.
#[derive(Debug)]
struct Plan {
    is_v6: bool,
    ip: usize,
    tcp: usize,
    payload: usize,
    size: usize,
}

impl Plan {
    fn new(header: FrameHeader, frame: &[u8]) -> Option<Self> {
        let (kind, ip) = ethernet::packet(frame)?;
        let (is_v6, ip_header) = match header.gso_type & !FrameHeader::GSO_ECN {
            FrameHeader::GSO_TCPV4 if kind == IPV4 => (false, 20),
            FrameHeader::GSO_TCPV6 if kind == IPV6 => (true, 40),
            _ => return None,
        };
        let tcp = usize::from(header.checksum_start);
        if tcp < ip + ip_header || tcp + TCP_HEADER > frame.len() {
            return None;
        }
        let tcp_header = usize::from(frame[tcp + 12] >> 4) * 4;
        let (payload, size) = (tcp + tcp_header, usize::from(header.gso_size));
        if tcp_header < TCP_HEADER || payload >= frame.len() || size == 0 {
            return None;
        }
        let count = (frame.len() - payload).div_ceil(size);
        // What fits the fields of its headers.
        let fits = payload - ip + size.min(frame.len() - payload) <= 0xffff;
        (count <= MAX_PACKETS && fits).then_some(Self { is_v6, ip, tcp, payload, size })
    }

    fn cut(&self, frame: &[u8], mut each: impl FnMut(&[u8])) {
        let (headers, payload) = frame.split_at(self.payload);
        let sequence = u32::from_be_bytes([
            headers[self.tcp + 4],
            headers[self.tcp + 5],
            headers[self.tcp + 6],
            headers[self.tcp + 7],
        ]);
        let identity = u16::from_be_bytes([headers[self.ip + 4], headers[self.ip + 5]]);
        let flags = headers[self.tcp + 13];
        let count = payload.len().div_ceil(self.size);
        let mut packet = Vec::with_capacity(self.payload + self.size);
        let (mut at, mut number) = (sequence, identity);
        for (index, part) in payload.chunks(self.size).enumerate() {
            packet.clear();
            packet.extend_from_slice(headers);
            packet.extend_from_slice(part);
            packet[self.tcp + 4..self.tcp + 8].copy_from_slice(&at.to_be_bytes());
            let mut own = flags;
            if index > 0 {
                own &= !FIRST_ONLY;
            }
            if index + 1 < count {
                own &= !LAST_ONLY;
            }
            packet[self.tcp + 13] = own;
            self.address(&mut packet, number);
            each(&packet);
            // A part is no longer than `gso_size`, 16 bits.
            at = at.wrapping_add(u32::try_from(part.len()).unwrap_or_default());
            number = number.wrapping_add(1);
        }
    }

    /// Writes lengths and checksums of `packet`, and its `number` if it is IPv4.
    fn address(&self, packet: &mut [u8], number: u16) {
        let (ip, tcp) = (self.ip, self.tcp);
        // `new` has seen that these fit.
        let length = |bytes: usize| u16::try_from(bytes).unwrap_or(u16::MAX).to_be_bytes();
        let addresses = if self.is_v6 {
            let payload = length(packet.len() - ip - 40);
            packet[ip + 4..ip + 6].copy_from_slice(&payload);
            ip + 8..ip + 40
        } else {
            let total = length(packet.len() - ip);
            packet[ip + 2..ip + 4].copy_from_slice(&total);
            packet[ip + 4..ip + 6].copy_from_slice(&number.to_be_bytes());
            packet[ip + 10..ip + 12].fill(0);
            let header = Sum::default().add(&packet[ip..tcp]).complete();
            packet[ip + 10..ip + 12].copy_from_slice(&header);
            ip + 12..ip + 20
        };
        packet[tcp + 16..tcp + 18].fill(0);
        let pseudo = Sum::default().add(&packet[addresses]).add(&[0, TCP]).add(&length(packet.len() - tcp));
        let checksum = pseudo.add(&packet[tcp..]).complete();
        packet[tcp + 16..tcp + 18].copy_from_slice(&checksum);
    }
}

#[cfg(test)]
pub(crate) mod tests;
