//! `Interface`: a vCPU's CPU interface, the `ICC_*_EL1` registers (IHI 0069, 12.2).

use super::{Gic, SPURIOUS, bank::PRIORITY_MASK};

const PMR: u16 = 0xc230;
const IAR0: u16 = 0xc640;
const EOIR0: u16 = 0xc641;
const HPPIR0: u16 = 0xc642;
const BPR0: u16 = 0xc643;
const AP0R: u16 = 0xc644;
const AP0R_LAST: u16 = 0xc647;
const AP1R: u16 = 0xc648;
const AP1R_LAST: u16 = 0xc64b;
const DIR: u16 = 0xc659;
const RPR: u16 = 0xc65b;
const SGI1R: u16 = 0xc65d;
const ASGI1R: u16 = 0xc65e;
const SGI0R: u16 = 0xc65f;
const IAR1: u16 = 0xc660;
const EOIR1: u16 = 0xc661;
const HPPIR1: u16 = 0xc662;
const BPR1: u16 = 0xc663;
const CTLR: u16 = 0xc664;
const SRE: u16 = 0xc665;
const IGRPEN0: u16 = 0xc666;
const IGRPEN1: u16 = 0xc667;

/// `ICC_CTLR_EL1`: CBPR, `EOImode`, and that there are five priority bits.
const CTLR_BITS: u64 = 3;
const CTLR_EOI_MODE: u64 = 1 << 1;
const CTLR_PRIORITY_BITS: u64 = 4 << 8;
/// `ICC_SRE_EL1`: system registers, no bypass of FIQ or IRQ.
const SRE_FIXED: u64 = 7;
/// Smallest binary points that five bits allow: all of them preempt.
const MIN_BPR: [u8; 2] = [2, 3];
const IDLE: u8 = 0xff;

/// Registers that host and guest read and write alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interface {
    mask: u8,
    points: [u8; 2],
    control: u64,
    enabled: [bool; 2],
    /// Active priorities by group, a bit a level.
    active: [u32; 2],
}

impl Default for Interface {
    fn default() -> Self {
        Self { mask: 0, points: MIN_BPR, control: 0, enabled: [false; 2], active: [0; 2] }
    }
}

impl Interface {
    pub(super) fn is_enabled(&self, group: usize) -> bool {
        self.enabled[group]
    }

    /// An interrupt of this priority and group goes to the vCPU now.
    pub(super) fn signals(&self, priority: u8, group: u8) -> bool {
        priority < self.mask && self.preempting(priority, group) < self.running()
    }

    /// The part of a priority that preempts.
    fn preempting(&self, priority: u8, group: u8) -> u8 {
        // ICC_CTLR_EL1.CBPR: group 1 has the binary point of group 0.
        let zero = group == 0 || self.control & 1 != 0;
        let bits = if zero { self.points[0] + 1 } else { self.points[1] };
        u8::try_from(0xff_u32 << bits & 0xff).unwrap_or(0) & priority
    }

    fn running(&self) -> u8 {
        let level = (self.active[0] | self.active[1]).trailing_zeros();
        u8::try_from(level << 3).unwrap_or(IDLE)
    }

    fn activate(&mut self, priority: u8, group: u8) {
        let level = self.preempting(priority, group) >> 3;
        self.active[usize::from(group & 1)] |= 1 << level;
    }

    fn drop_priority(&mut self, group: usize) {
        self.active[group] &= self.active[group].wrapping_sub(1);
    }

    fn read(&self, register: u16) -> Option<u64> {
        Some(match register {
            PMR => self.mask.into(),
            BPR0 => self.points[0].into(),
            BPR1 => self.points[1].into(),
            AP0R => self.active[0].into(),
            AP1R => self.active[1].into(),
            RPR => self.running().into(),
            CTLR => self.control | CTLR_PRIORITY_BITS,
            SRE => SRE_FIXED,
            IGRPEN0 => self.enabled[0].into(),
            IGRPEN1 => self.enabled[1].into(),
            _ => return None,
        })
    }

    fn write(&mut self, register: u16, value: u64) -> bool {
        let low = (value & 0xff) as u8;
        match register {
            PMR => self.mask = low & PRIORITY_MASK,
            BPR0 => self.points[0] = (low & 7).max(MIN_BPR[0]),
            BPR1 => self.points[1] = (low & 7).max(MIN_BPR[1]),
            AP0R => self.active[0] = (value & 0xffff_ffff) as u32,
            AP1R => self.active[1] = (value & 0xffff_ffff) as u32,
            CTLR => self.control = value & CTLR_BITS,
            SRE => {}
            IGRPEN0 => self.enabled[0] = value & 1 != 0,
            IGRPEN1 => self.enabled[1] = value & 1 != 0,
            _ => return false,
        }
        true
    }
}

impl Gic {
    /// `hv_gic_get_icc_reg`.
    pub(crate) fn interface_register(&self, index: usize, register: u16) -> Option<u64> {
        self.vcpus.get(index)?.interface.read(register)
    }

    /// `hv_gic_set_icc_reg`. RPR cannot be written.
    pub(crate) fn set_interface_register(&mut self, index: usize, register: u16, value: u64) -> bool {
        self.vcpus.get_mut(index).is_some_and(|cpu| cpu.interface.write(register, value))
    }

    /// The guest reads a register of the CPU interface.
    pub(crate) fn read_interface(&mut self, index: usize, register: u16) -> Option<u64> {
        match register {
            IAR0 => Some(self.acknowledge(index, 0).into()),
            IAR1 => Some(self.acknowledge(index, 1).into()),
            HPPIR0 => Some(self.highest_of(index, 0).into()),
            HPPIR1 => Some(self.highest_of(index, 1).into()),
            // There are as many active-priority registers as five bits need: the rest reads as zero.
            AP0R..=AP0R_LAST | AP1R..=AP1R_LAST => {
                Some(self.interface_register(index, register).unwrap_or(0))
            }
            _ => self.interface_register(index, register),
        }
    }

    /// The guest writes a register of the CPU interface.
    pub(crate) fn write_interface(&mut self, index: usize, register: u16, value: u64) -> bool {
        match register {
            EOIR0 => self.end(index, 0, value),
            EOIR1 => self.end(index, 1, value),
            DIR => self.deactivate(index, value),
            SGI1R => self.send_sgi(index, value, 1),
            SGI0R | ASGI1R => self.send_sgi(index, value, 0),
            AP0R..=AP0R_LAST | AP1R..=AP1R_LAST => {
                self.set_interface_register(index, register, value);
            }
            RPR | IAR0 | IAR1 | HPPIR0 | HPPIR1 => return false,
            _ => return self.set_interface_register(index, register, value),
        }
        true
    }

    fn acknowledge(&mut self, index: usize, group: u8) -> u32 {
        let Some((intid, priority, _)) = self.signaled(index).filter(|(_, _, of)| *of == group) else {
            return SPURIOUS;
        };
        if let Some((bank, number)) = self.bank_mut(index, intid) {
            bank.acknowledge(number);
        }
        self.vcpus[index].interface.activate(priority, group);
        intid
    }

    fn highest_of(&self, index: usize, group: u8) -> u32 {
        self.highest(index).filter(|(_, _, of)| *of == group).map_or(SPURIOUS, |(intid, ..)| intid)
    }

    fn end(&mut self, index: usize, group: usize, value: u64) {
        if value & 0xff_ffff >= 1020 {
            return;
        }
        self.vcpus[index].interface.drop_priority(group);
        if self.vcpus[index].interface.control & CTLR_EOI_MODE == 0 {
            self.deactivate(index, value);
        }
    }

    fn deactivate(&mut self, index: usize, value: u64) {
        let Some(intid) = u32::try_from(value & 0xff_ffff).ok().filter(|intid| *intid < 1020) else { return };
        if let Some((bank, number)) = self.bank_mut(index, intid) {
            bank.deactivate(number);
        }
    }
}
