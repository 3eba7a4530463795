//! `Configuration`: where the GIC's windows are (header: `hv_gic_config.h`, `hv_gic_parameters.h`).

use std::ops::Range;

use crate::error::{Error, Result};

/// Bytes of the distributor's window.
pub(crate) const DISTRIBUTOR_SIZE: u64 = 0x1_0000;
/// Bytes of one redistributor (header: two frames of 64 KiB).
pub(crate) const REDISTRIBUTOR_SIZE: u64 = 0x2_0000;
/// Bytes that redistributors may take (model: 256 of them).
pub(crate) const REDISTRIBUTOR_REGION_SIZE: u64 = 0x200_0000;
/// Bytes of the message frame (model).
pub(crate) const MSI_SIZE: u64 = 0x1_0000;
/// What the windows of distributor and redistributors are aligned to (model).
pub(crate) const WINDOW_ALIGNMENT: u64 = 0x1_0000;
/// What the message frame is aligned to (model).
pub(crate) const MSI_ALIGNMENT: u64 = 0x1_0000;
/// INTIDs of SPIs (model: all that GICv3 has).
pub(crate) const SPIS: Range<u32> = 32..1020;
/// `GICM_SETSPI_NSR`.
const SET_SPI: u64 = 0x40;

/// What `hv_gic_config_set_*` has set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Configuration {
    pub(crate) distributor: Option<u64>,
    pub(crate) redistributors: Option<u64>,
    pub(crate) frame: Option<u64>,
    pub(crate) messages: Option<Range<u32>>,
}

impl Configuration {
    /// A base address, if it is aligned (header).
    pub(crate) fn base(address: u64, alignment: u64) -> Result<Option<u64>> {
        if address.is_multiple_of(alignment) { Ok(Some(address)) } else { Err(Error::BadArgument) }
    }

    /// INTIDs of messages, if they are SPIs (header).
    pub(crate) fn range(base: u32, count: u32) -> Result<Option<Range<u32>>> {
        let end = base.checked_add(count).ok_or(Error::BadArgument)?;
        if count == 0 || base < SPIS.start || end > SPIS.end {
            return Err(Error::BadArgument);
        }
        Ok(Some(base..end))
    }

    /// Model: the windows have to be set, and none overlaps another.
    pub(super) fn check(&self) -> Result<()> {
        let mut windows = vec![
            (self.distributor.ok_or(Error::BadArgument)?, DISTRIBUTOR_SIZE),
            (self.redistributors()?, REDISTRIBUTOR_REGION_SIZE),
        ];
        windows.extend(self.frame.map(|base| (base, MSI_SIZE)));
        windows.sort_unstable();
        let is_apart = windows.windows(2).all(|pair| match pair {
            [(base, size), (next, _)] => base.checked_add(*size).is_some_and(|end| end <= *next),
            _ => true,
        });
        if is_apart { Ok(()) } else { Err(Error::BadArgument) }
    }

    pub(super) fn redistributors(&self) -> Result<u64> {
        self.redistributors.ok_or(Error::BadArgument)
    }

    /// INTIDs of messages (header: only if both frame and range are set).
    pub(super) fn messages(&self) -> Range<u32> {
        self.frame.and(self.messages.clone()).unwrap_or(0..0)
    }

    /// Where messages are stored.
    pub(super) fn message_address(&self) -> Option<u64> {
        self.messages.as_ref().and(self.frame).map(|frame| frame + SET_SPI)
    }
}
