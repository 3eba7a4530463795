//! Distributor, redistributors and message frame as the guest and the host see them (IHI 0069, 12.8 to 12.11; BSA, appendix on
//! `GICv2m`).

use super::{DISTRIBUTOR_SIZE, Gic, MSI_SIZE, PRIVATE, REDISTRIBUTOR_REGION_SIZE, REDISTRIBUTOR_SIZE, SPIS};

/// `GICD_CTLR`: one security state (DS), affinity routing (ARE), and what can be written.
const CTLR_FIXED: u64 = 1 << 6 | 1 << 4;
const CTLR_GROUPS: u8 = 3;
/// `GICD_TYPER`: INTIDs of ten bits, 32 words of them.
const TYPER: u64 = 9 << 19 | 31;
/// Arm's implementation number, as the `IIDR`s have it (model).
const IIDR: u64 = 0x43b;
/// `PIDR2`: GICv3.
const PIDR2: u64 = 0x3b;
const PIDR2_OFFSET: u64 = 0xffe8;
const ROUTERS: std::ops::Range<u64> = 0x6100..0x6000 + 8 * 1020;
const SGI_FRAME: u64 = 0x1_0000;
/// `GICR_TYPER.Last`.
const LAST: u64 = 1 << 4;

impl Gic {
    /// A load of the guest's. `None`: it is none of the GIC's windows.
    pub(crate) fn read_memory(&mut self, address: u64, size: u32) -> Option<u64> {
        let configuration = &self.configuration;
        if let Some(offset) = Self::contains(configuration.distributor, DISTRIBUTOR_SIZE, address) {
            return Some(self.read_distributor(offset, size).unwrap_or(0));
        }
        if let Some(offset) = Self::contains(configuration.redistributors, REDISTRIBUTOR_REGION_SIZE, address)
        {
            let index = usize::try_from(offset / REDISTRIBUTOR_SIZE).ok()?;
            return Some(self.read_redistributor(index, offset % REDISTRIBUTOR_SIZE, size).unwrap_or(0));
        }
        let offset = Self::contains(configuration.frame, MSI_SIZE, address)?;
        Some(self.read_frame(offset).unwrap_or(0))
    }

    /// A store of the guest's. False: it is none of the GIC's windows.
    pub(crate) fn write_memory(&mut self, address: u64, size: u32, value: u64) -> bool {
        let configuration = &self.configuration;
        if let Some(offset) = Self::contains(configuration.distributor, DISTRIBUTOR_SIZE, address) {
            self.write_distributor(offset, size, value);
        } else if let Some(offset) =
            Self::contains(configuration.redistributors, REDISTRIBUTOR_REGION_SIZE, address)
        {
            if let Ok(index) = usize::try_from(offset / REDISTRIBUTOR_SIZE) {
                self.write_redistributor(index, offset % REDISTRIBUTOR_SIZE, size, value);
            }
        } else if let Some(offset) = Self::contains(configuration.frame, MSI_SIZE, address) {
            self.write_frame(offset, value);
        } else {
            return false;
        }
        true
    }

    /// A register of the distributor, by its offset; routers have eight bytes.
    pub(crate) fn read_distributor(&self, offset: u64, size: u32) -> Option<u64> {
        match offset {
            0 => Some(CTLR_FIXED | u64::from(self.groups_enabled)),
            4 => Some(TYPER),
            8 => Some(IIDR),
            PIDR2_OFFSET => Some(PIDR2),
            _ if ROUTERS.contains(&offset) => {
                let route = *self.routes.get(Self::router(offset)?)?;
                Some(if offset.is_multiple_of(8) { route } else { route >> 32 })
            }
            _ => self.shared.read(offset, size, PRIVATE),
        }
    }

    /// Writes a register of the distributor. Answers whether there is one.
    pub(crate) fn write_distributor(&mut self, offset: u64, size: u32, value: u64) -> bool {
        match offset {
            0 => self.groups_enabled = u32::from((value & 0xff) as u8 & CTLR_GROUPS),
            _ if ROUTERS.contains(&offset) => {
                let Some(route) = Self::router(offset).and_then(|number| self.routes.get_mut(number)) else {
                    return false;
                };
                *route = match (offset.is_multiple_of(8), size) {
                    (true, 8) => value,
                    (true, _) => *route & !0xffff_ffff | value & 0xffff_ffff,
                    (false, _) => *route & 0xffff_ffff | value << 32,
                };
            }
            _ => return self.shared.write(offset, size, value, PRIVATE),
        }
        true
    }

    fn router(offset: u64) -> Option<usize> {
        usize::try_from((offset - 0x6000) / 8).ok()?.checked_sub(SPIS.start as usize)
    }

    /// A register of a vCPU's redistributor.
    pub(crate) fn read_redistributor(&self, index: usize, offset: u64, size: u32) -> Option<u64> {
        let cpu = self.vcpus.get(index)?;
        Some(match offset {
            0 => 0,
            4 => IIDR,
            8 | 0xc => {
                let affinity = cpu.affinity;
                // Aff3 is at 32 in MPIDR.
                let affinity = (affinity >> 32 & 0xff) << 24 | affinity & 0xff_ffff;
                let last = if index + 1 == self.vcpus.len() { LAST } else { 0 };
                let value = affinity << 32 | (index as u64) << 8 | last;
                if offset == 8 { value } else { value >> 32 }
            }
            // GICR_WAKER: always awake (model: the header names no such register to be saved).
            0x14 => 0,
            PIDR2_OFFSET => PIDR2,
            SGI_FRAME.. => return cpu.private.read(offset - SGI_FRAME, size, 0),
            _ => return None,
        })
    }

    /// Writes a register of a vCPU's redistributor. Answers whether there is one.
    pub(crate) fn write_redistributor(&mut self, index: usize, offset: u64, size: u32, value: u64) -> bool {
        let Some(cpu) = self.vcpus.get_mut(index) else { return false };
        match offset {
            SGI_FRAME.. => cpu.private.write(offset - SGI_FRAME, size, value, 0),
            _ => false,
        }
    }

    /// A register of the message frame.
    pub(crate) fn read_frame(&self, offset: u64) -> Option<u64> {
        let messages = self.messages();
        match offset {
            8 => Some(u64::from(messages.start) << 16 | messages.len() as u64),
            0xfcc => Some(IIDR),
            _ => None,
        }
    }

    /// Writes a register of the message frame: what is stored at `SETSPI_NSR` is the INTID that becomes pending.
    pub(crate) fn write_frame(&mut self, offset: u64, value: u64) -> bool {
        if offset != 0x40 {
            return false;
        }
        if let Some(intid) = u32::try_from(value).ok().filter(|intid| self.messages().contains(intid)) {
            self.shared.latch(intid - PRIVATE);
        }
        true
    }
}
