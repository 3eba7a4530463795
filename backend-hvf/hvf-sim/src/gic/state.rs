//! `hv_gic_state_*`: distributor and redistributors as bytes. Not the CPU interfaces (header: they are read separately).

use super::{Bank, Gic};
use crate::error::{Error, Result};

/// What the bytes begin with; the last is the version (header: it is versioned).
const MAGIC: u64 = u64::from_le_bytes(*b"hvfsim\0\x01");

impl Gic {
    /// All that [`restore`](Self::restore) needs.
    pub(crate) fn state(&self) -> Vec<u8> {
        let mut words = vec![MAGIC, self.vcpus.len() as u64, self.groups_enabled.into()];
        save(&self.shared, &mut words);
        words.extend(&self.routes);
        for cpu in &self.vcpus {
            save(&cpu.private, &mut words);
        }
        words.into_iter().flat_map(u64::to_le_bytes).collect()
    }

    /// Takes a state of [`state`](Self::state), of as many vCPUs (model).
    pub(crate) fn restore(&mut self, state: &[u8]) -> Result<()> {
        let (words, rest) = state.as_chunks::<8>();
        let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
        let mut next = || words.next().ok_or(Error::BadArgument);
        if !rest.is_empty() || next()? != MAGIC || next()? != self.vcpus.len() as u64 {
            return Err(Error::BadArgument);
        }
        self.groups_enabled = (next()? & 3) as u32;
        load(&mut self.shared, &mut next)?;
        for route in &mut self.routes {
            *route = next()?;
        }
        for cpu in &mut self.vcpus {
            load(&mut cpu.private, &mut next)?;
        }
        Ok(())
    }
}

fn save(bank: &Bank, words: &mut Vec<u64>) {
    for bits in [&bank.group, &bank.enabled, &bank.latched, &bank.line, &bank.active, &bank.edge] {
        words.extend(bits.iter().copied().map(u64::from));
    }
    words.extend(bank.priorities.iter().copied().map(u64::from));
}

fn load(bank: &mut Bank, next: &mut impl FnMut() -> Result<u64>) -> Result<()> {
    for bits in [
        &mut bank.group,
        &mut bank.enabled,
        &mut bank.latched,
        &mut bank.line,
        &mut bank.active,
        &mut bank.edge,
    ] {
        for word in bits {
            *word = (next()? & 0xffff_ffff) as u32;
        }
    }
    for priority in &mut bank.priorities {
        *priority = (next()? & 0xff) as u8;
    }
    Ok(())
}
