//! The rings that bytes of TCP wait in: large ones for the first connections, small ones for the rest, so that a
//! thousand connections keep to 64 MiB whatever they do.

use smoltcp::socket::tcp::SocketBuffer;

/// Connections that may have rings of a size, and that size in bytes: from the guest, and to the guest.
const TIERS: [(usize, usize, usize); 4] = [
    (16, 512 << 10, 512 << 10),
    (40, 128 << 10, 128 << 10),
    (160, 32 << 10, 32 << 10),
    (usize::MAX, 16 << 10, 16 << 10),
];

/// The size of a pair of rings, as a place in [`TIERS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tier(usize);

/// How many connections have rings of which size.
#[derive(Debug, Default)]
pub(crate) struct Rings([usize; TIERS.len()]);

impl Rings {
    /// The largest rings that are left: the one for bytes of the guest, and the one for bytes for it.
    pub(crate) fn take(&mut self) -> (Tier, SocketBuffer<'static>, SocketBuffer<'static>) {
        let tier =
            (0..TIERS.len() - 1).find(|tier| self.0[*tier] < TIERS[*tier].0).unwrap_or(TIERS.len() - 1);
        self.0[tier] += 1;
        let (_, from_guest, to_guest) = TIERS[tier];
        // Fresh zeroed memory takes room only where it is written.
        (Tier(tier), SocketBuffer::new(vec![0; from_guest]), SocketBuffer::new(vec![0; to_guest]))
    }

    /// The rings of that size are gone.
    pub(crate) fn give_back(&mut self, tier: Tier) {
        self.0[tier.0] = self.0[tier.0].saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_connections_keep_to_64_mib() {
        let mut rings = Rings::default();
        let size = |(_, from, to): &(Tier, SocketBuffer<'static>, SocketBuffer<'static>)| {
            from.capacity() + to.capacity()
        };
        let taken: Vec<_> = (0..1000).map(|_| rings.take()).collect();
        // What a connection has beside its rings takes the rest.
        assert!(taken.iter().map(size).sum::<usize>() <= 61 << 20);
        rings.give_back(taken[0].0);
        assert_eq!(size(&rings.take()), size(&taken[0]));
        assert_ne!(size(&rings.take()), size(&taken[0]));
    }
}
