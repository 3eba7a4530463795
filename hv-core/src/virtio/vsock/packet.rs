//! The header that every packet begins with (VIRTIO 1.2, 5.10.6).

/// Bytes of a header.
pub(super) const HEADER_LEN: usize = 44;

/// The CID of the host (5.10.4).
pub(super) const HOST_CID: u64 = 2;

/// `VIRTIO_VSOCK_TYPE_STREAM`.
pub(super) const STREAM: u16 = 1;

/// `VIRTIO_VSOCK_SHUTDOWN_F_RECEIVE`: the sender of the packet will receive no more.
pub(super) const RECEIVES_NO_MORE: u32 = 1;
/// `VIRTIO_VSOCK_SHUTDOWN_F_SEND`: the sender of the packet will send no more.
pub(super) const SENDS_NO_MORE: u32 = 2;
/// Both.
pub(super) const CLOSED: u32 = RECEIVES_NO_MORE | SENDS_NO_MORE;

/// What a packet is for (`VIRTIO_VSOCK_OP_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Operation {
    /// A connection is asked for.
    Request = 1,
    /// It is accepted.
    Response = 2,
    /// It is refused, or ends at once (`RST`).
    Reset = 3,
    /// The sender will receive or send no more; the flags say which.
    Shutdown = 4,
    /// Payload (`RW`).
    Data = 5,
    /// The sender's credit fields are new.
    CreditUpdate = 6,
    /// The sender wants to hear the receiver's credit fields.
    CreditRequest = 7,
}

/// A header, with the fields of `struct virtio_vsock_hdr`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Header {
    pub(super) src_cid: u64,
    pub(super) dst_cid: u64,
    pub(super) src_port: u32,
    pub(super) dst_port: u32,
    /// Bytes of payload behind the header.
    pub(super) len: u32,
    /// `type`: of socket.
    pub(super) kind: u16,
    pub(super) op: u16,
    pub(super) flags: u32,
    /// Bytes that the sender keeps for the receiver's payload.
    pub(super) buf_alloc: u32,
    /// Bytes of payload that the sender has passed on so far, modulo 2^32.
    pub(super) fwd_cnt: u32,
}

impl Operation {
    pub(super) fn from_number(number: u16) -> Option<Self> {
        Some(match number {
            1 => Self::Request,
            2 => Self::Response,
            3 => Self::Reset,
            4 => Self::Shutdown,
            5 => Self::Data,
            6 => Self::CreditUpdate,
            7 => Self::CreditRequest,
            _ => return None,
        })
    }
}

impl Header {
    pub(super) fn decode(raw: &[u8; HEADER_LEN]) -> Self {
        let mut rest = &raw[..];
        Self {
            src_cid: u64::from_le_bytes(take(&mut rest)),
            dst_cid: u64::from_le_bytes(take(&mut rest)),
            src_port: u32::from_le_bytes(take(&mut rest)),
            dst_port: u32::from_le_bytes(take(&mut rest)),
            len: u32::from_le_bytes(take(&mut rest)),
            kind: u16::from_le_bytes(take(&mut rest)),
            op: u16::from_le_bytes(take(&mut rest)),
            flags: u32::from_le_bytes(take(&mut rest)),
            buf_alloc: u32::from_le_bytes(take(&mut rest)),
            fwd_cnt: u32::from_le_bytes(take(&mut rest)),
        }
    }

    pub(super) fn encode(&self) -> [u8; HEADER_LEN] {
        let fields: [&[u8]; 10] = [
            &self.src_cid.to_le_bytes(),
            &self.dst_cid.to_le_bytes(),
            &self.src_port.to_le_bytes(),
            &self.dst_port.to_le_bytes(),
            &self.len.to_le_bytes(),
            &self.kind.to_le_bytes(),
            &self.op.to_le_bytes(),
            &self.flags.to_le_bytes(),
            &self.buf_alloc.to_le_bytes(),
            &self.fwd_cnt.to_le_bytes(),
        ];
        let mut raw = [0; HEADER_LEN];
        for (to, from) in raw.iter_mut().zip(fields.into_iter().flatten()) {
            *to = *from;
        }
        raw
    }

    /// The `RST` that answers this packet: from where it was sent to, of its own type (5.10.6.4.2).
    pub(super) fn refusal(&self) -> Self {
        Self {
            src_cid: self.dst_cid,
            dst_cid: self.src_cid,
            src_port: self.dst_port,
            dst_port: self.src_port,
            kind: self.kind,
            op: Operation::Reset as u16,
            ..Self::default()
        }
    }
}

/// The next `N` bytes; zeroes where there are none.
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let Some((bytes, after)) = rest.split_first_chunk() else { return [0; N] };
    *rest = after;
    *bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_has_its_fields_where_the_specification_has_them() {
        let raw: [u8; HEADER_LEN] = std::array::from_fn(|at| u8::try_from(at).unwrap());
        let header = Header::decode(&raw);
        assert_eq!(header.src_cid, 0x0706_0504_0302_0100);
        assert_eq!(header.dst_cid, 0x0f0e_0d0c_0b0a_0908);
        assert_eq!((header.src_port, header.dst_port), (0x1312_1110, 0x1716_1514));
        assert_eq!((header.len, header.kind, header.op), (0x1b1a_1918, 0x1d1c, 0x1f1e));
        assert_eq!((header.flags, header.buf_alloc), (0x2322_2120, 0x2726_2524));
        assert_eq!(header.fwd_cnt, 0x2b2a_2928);
        assert_eq!(header.encode(), raw);
    }

    #[test]
    fn operations_have_their_numbers() {
        for number in 0..=u16::MAX {
            let operation = Operation::from_number(number);
            assert_eq!(operation.is_some(), (1..=7).contains(&number));
            assert!(operation.is_none_or(|operation| operation as u16 == number));
        }
    }

    #[test]
    fn a_refusal_goes_back_where_the_packet_came_from() {
        let packet =
            Header { src_cid: 3, dst_cid: 9, src_port: 1, dst_port: 2, kind: 7, op: 1, ..Header::default() };
        let refusal = packet.refusal();
        assert_eq!((refusal.src_cid, refusal.dst_cid), (9, 3));
        assert_eq!((refusal.src_port, refusal.dst_port), (2, 1));
        assert_eq!((refusal.kind, refusal.op, refusal.len), (7, 3, 0));
    }
}
