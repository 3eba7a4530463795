//! Credit of one connection: how much payload may be under way, in counters that wrap (VIRTIO 1.2, 5.10.6.3).

#[cfg(test)]
mod tests;

/// Bytes of the guest's payload that a connection keeps while its host end takes none: the credit that the guest has.
pub(super) const BUF_ALLOC: u32 = 256 << 10;

/// Bytes passed on from which on the guest is told so without being asked: soon enough that it never has to wait
/// while its host end reads.
const TELL_AT: u32 = BUF_ALLOC / 4;

/// Both directions of one connection.
#[derive(Debug, Default)]
pub(super) struct Credit {
    /// Bytes sent to the guest.
    sent: u32,
    /// What the guest last said that it keeps for us, and has passed on.
    guest_buf_alloc: u32,
    guest_fwd_cnt: u32,
    /// Bytes that the guest sent and that were not passed on yet; at most [`BUF_ALLOC`].
    kept: u32,
    /// Bytes passed on to the host end.
    fwd_cnt: u32,
    /// `fwd_cnt` as the guest last heard it.
    told: u32,
}

/// The guest sent more than its credit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Overrun;

impl Credit {
    /// What a packet of the guest says of its side.
    pub(super) fn hear(&mut self, buf_alloc: u32, fwd_cnt: u32) {
        self.guest_buf_alloc = buf_alloc;
        self.guest_fwd_cnt = fwd_cnt;
    }

    /// Bytes that may be sent to the guest now. A guest that counts more bytes than there were gets none.
    pub(super) fn may_send(&self) -> u32 {
        let under_way = self.sent.wrapping_sub(self.guest_fwd_cnt);
        self.guest_buf_alloc.saturating_sub(under_way)
    }

    /// `count` bytes were sent to the guest, no more than it may be sent.
    pub(super) fn send(&mut self, count: u32) {
        self.sent = self.sent.wrapping_add(count);
    }

    /// The guest sent `count` bytes.
    pub(super) fn keep(&mut self, count: u32) -> Result<(), Overrun> {
        let kept = self.kept.checked_add(count).filter(|kept| *kept <= BUF_ALLOC).ok_or(Overrun)?;
        self.kept = kept;
        Ok(())
    }

    /// The host end took `count` of the bytes that were kept, or will never take them.
    pub(super) fn pass_on(&mut self, count: u32) {
        self.kept = self.kept.saturating_sub(count);
        self.fwd_cnt = self.fwd_cnt.wrapping_add(count);
    }

    /// The credit fields of the next packet, `buf_alloc` and `fwd_cnt`, which the guest hears with it.
    pub(super) fn tell(&mut self) -> (u32, u32) {
        self.told = self.fwd_cnt;
        (BUF_ALLOC, self.fwd_cnt)
    }

    /// Whether the guest should hear of its credit though nothing else is to be said.
    pub(super) fn is_news(&self) -> bool {
        self.fwd_cnt.wrapping_sub(self.told) >= TELL_AT
    }
}
