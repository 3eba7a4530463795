//! `Gic`: the framework's GICv3: distributor, redistributors, CPU interfaces and a `GICv2m` frame (Arm IHI 0069, one security state).

mod bank;
mod configuration;
mod interface;
mod registers;
mod state;

use std::ops::Range;

pub(crate) use self::configuration::{
    Configuration, DISTRIBUTOR_SIZE, MSI_ALIGNMENT, MSI_SIZE, REDISTRIBUTOR_REGION_SIZE, REDISTRIBUTOR_SIZE,
    SPIS, WINDOW_ALIGNMENT,
};
use self::{bank::Bank, interface::Interface};
use crate::error::{Error, Result};

/// PPI of the virtual timer (header: `HV_GIC_INT_EL1_VIRTUAL_TIMER`).
pub(crate) const VIRTUAL_TIMER: u32 = 27;
/// A line of [`Gic::lines`].
pub(crate) const LINE_IRQ: u8 = 1;
/// A line of [`Gic::lines`].
pub(crate) const LINE_FIQ: u8 = 2;

/// Interrupts of a vCPU's own.
const PRIVATE: u32 = 32;
/// What acknowledges as no interrupt.
const SPURIOUS: u32 = 1023;
/// The affinity's bits of MPIDR.
const AFFINITY: u64 = 0xff_00ff_ffff;
/// `GICD_IROUTER.Interrupt_Routing_Mode`: any vCPU. Model: it is vCPU 0.
const ANY_VCPU: u64 = 1 << 31;

/// The interrupt controller.
#[derive(Debug)]
pub(crate) struct Gic {
    configuration: Configuration,
    /// `GICD_CTLR.EnableGrp0` and `EnableGrp1`.
    groups_enabled: u32,
    shared: Bank,
    /// `GICD_IROUTER`, by INTID less 32.
    routes: Vec<u64>,
    vcpus: Vec<Cpu>,
}

/// A vCPU's part: redistributor and CPU interface.
#[derive(Debug)]
struct Cpu {
    affinity: u64,
    private: Bank,
    interface: Interface,
}

impl Gic {
    /// A GIC without vCPUs.
    pub(crate) fn new(configuration: Configuration) -> Result<Self> {
        configuration.check()?;
        Ok(Self {
            configuration,
            groups_enabled: 0,
            shared: Bank::shared(),
            routes: vec![0; SPIS.len()],
            vcpus: Vec::new(),
        })
    }

    /// Adds the next vCPU. Its affinity comes later.
    pub(crate) fn add_vcpu(&mut self) {
        self.vcpus.push(Cpu::new(u64::MAX));
    }

    /// Routes by the affinity of `mpidr`.
    pub(crate) fn set_affinity(&mut self, index: usize, mpidr: u64) -> Result<()> {
        let affinity = mpidr & AFFINITY;
        if self.vcpus.iter().enumerate().any(|(other, cpu)| other != index && cpu.affinity == affinity) {
            return Err(Error::BadArgument);
        }
        self.vcpus.get_mut(index).ok_or(Error::BadArgument)?.affinity = affinity;
        Ok(())
    }

    /// Guest-physical address of the vCPU's redistributor. Model: in the order of creation.
    pub(crate) fn redistributor_base(&self, index: usize) -> Result<u64> {
        let cpu = self.vcpus.get(index).ok_or(Error::BadArgument)?;
        // Header: only after the affinity is set.
        if cpu.affinity == u64::MAX {
            return Err(Error::BadArgument);
        }
        Ok(self.configuration.redistributors()? + index as u64 * REDISTRIBUTOR_SIZE)
    }

    /// `hv_gic_reset` (header: distributor, redistributors, internal state). Model: not the CPU interfaces' registers, which the
    /// owners of the vCPUs set.
    pub(crate) fn reset(&mut self) {
        self.groups_enabled = 0;
        self.shared = Bank::shared();
        self.routes.fill(0);
        for cpu in &mut self.vcpus {
            cpu.private = Bank::private();
        }
    }

    /// `hv_gic_set_spi` (header: level is what the line is, and if it is one, an edge; a number that is no SPI or that of a message
    /// is refused).
    pub(crate) fn set_spi(&mut self, intid: u32, level: bool) -> Result<()> {
        if !SPIS.contains(&intid) || self.configuration.messages().contains(&intid) {
            return Err(Error::BadArgument);
        }
        self.shared.set_line(intid - PRIVATE, level);
        Ok(())
    }

    /// `hv_gic_send_msi` (header: to the address of the frame's `SET_SPI_NSR`).
    pub(crate) fn send_msi(&mut self, address: u64, intid: u32) -> Result<()> {
        if Some(address) != self.configuration.message_address()
            || !self.configuration.messages().contains(&intid)
        {
            return Err(Error::BadArgument);
        }
        self.shared.latch(intid - PRIVATE);
        Ok(())
    }

    /// Drives a vCPU's private line. Answers whether it was other before.
    pub(crate) fn set_private_line(&mut self, index: usize, intid: u32, level: bool) -> bool {
        let Some(cpu) = self.vcpus.get_mut(index) else { return false };
        let changed = cpu.private.line(intid) != level;
        if changed {
            cpu.private.set_line(intid, level);
        }
        changed
    }

    /// What the vCPU's interface signals: [`LINE_IRQ`], [`LINE_FIQ`].
    pub(crate) fn lines(&self, index: usize) -> u8 {
        match self.signaled(index) {
            None => 0,
            Some((_, _, 0)) => LINE_FIQ,
            Some(_) => LINE_IRQ,
        }
    }

    /// The interrupt that the interface signals: INTID, priority, group.
    fn signaled(&self, index: usize) -> Option<(u32, u8, u8)> {
        let interface = &self.vcpus.get(index)?.interface;
        self.highest(index).filter(|(_, priority, group)| interface.signals(*priority, *group))
    }

    /// The pending interrupt of highest priority among those that are enabled, for this vCPU and of an enabled group.
    fn highest(&self, index: usize) -> Option<(u32, u8, u8)> {
        let cpu = self.vcpus.get(index)?;
        let groups =
            [0, 1].map(|group| self.groups_enabled & 1 << group != 0 && cpu.interface.is_enabled(group));
        let private = cpu.private.candidates(groups);
        let shared = self
            .shared
            .candidates(groups)
            .filter(|number| self.target(*number) == Some(index))
            .map(|number| number + PRIVATE);
        // The lower number wins among equals, so that "less than" is enough.
        let mut best: Option<(u32, u8, u8)> = None;
        for intid in private.chain(shared) {
            let (bank, number) = self.bank(index, intid)?;
            let priority = bank.priority(number);
            if best.is_none_or(|(_, best, _)| priority < best) {
                best = Some((intid, priority, bank.group(number)));
            }
        }
        best
    }

    fn bank(&self, index: usize, intid: u32) -> Option<(&Bank, u32)> {
        match intid.checked_sub(PRIVATE) {
            None => Some((&self.vcpus.get(index)?.private, intid)),
            Some(number) => Some((&self.shared, number)),
        }
    }

    fn bank_mut(&mut self, index: usize, intid: u32) -> Option<(&mut Bank, u32)> {
        match intid.checked_sub(PRIVATE) {
            None => Some((&mut self.vcpus.get_mut(index)?.private, intid)),
            Some(number) => Some((&mut self.shared, number)),
        }
    }

    /// Where an SPI goes, by its number less 32.
    fn target(&self, number: u32) -> Option<usize> {
        let route = *self.routes.get(usize::try_from(number).ok()?)?;
        if route & ANY_VCPU != 0 {
            return Some(0);
        }
        self.vcpus.iter().position(|cpu| cpu.affinity == route & AFFINITY)
    }

    /// Sends a software interrupt, as a write of `ICC_SGIxR_EL1` says.
    fn send_sgi(&mut self, sender: usize, value: u64, group: u8) {
        let field = |low: u32, bits: u32| (value >> low) & ((1 << bits) - 1);
        // TargetList 0, Aff1 16, INTID 24, Aff2 32, IRM 40, RS 44, Aff3 48.
        let Ok(intid) = u32::try_from(field(24, 4)) else { return };
        let cluster = field(48, 8) << 32 | field(32, 8) << 16 | field(16, 8) << 8;
        for (index, cpu) in self.vcpus.iter_mut().enumerate() {
            let aff0 = cpu.affinity & 0xff;
            let is_target = if field(40, 1) == 1 {
                index != sender
            } else {
                cpu.affinity & !0xff == cluster && aff0 >> 4 == field(44, 4) && value >> (aff0 & 15) & 1 == 1
            };
            // With one security state a request for group 1 makes interrupts of either group (as KVM's vGIC has it).
            if is_target && cpu.private.group(intid) <= group {
                cpu.private.latch(intid);
            }
        }
    }

    fn contains(base: Option<u64>, size: u64, address: u64) -> Option<u64> {
        address.checked_sub(base?).filter(|offset| *offset < size)
    }

    /// INTIDs of messages; empty without a frame.
    pub(crate) fn messages(&self) -> Range<u32> {
        self.configuration.messages()
    }
}

impl Cpu {
    fn new(affinity: u64) -> Self {
        Self { affinity, private: Bank::private(), interface: Interface::default() }
    }
}
