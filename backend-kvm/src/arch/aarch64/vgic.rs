//! `Vgic`: the `GICv3` (IHI 0069) in the host's kernel, by attributes of its device (KVM API, devices/arm-vgic-v3).
#![expect(unsafe_code, reason = "KVM_GET_DEVICE_ATTR writes where an attribute says")]

use std::{
    io,
    ptr::{from_mut, from_ref},
    sync::OnceLock,
};

use hv_core::{
    arch::aarch64::{FIRST_SPI, IrqPlan, SystemRegister, affinity},
    hypervisor::{Error, Result},
};
use kvm_bindings::{
    KVM_DEV_ARM_VGIC_CTRL_INIT, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS,
    KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_GRP_DIST_REGS, KVM_DEV_ARM_VGIC_GRP_LEVEL_INFO,
    KVM_DEV_ARM_VGIC_GRP_NR_IRQS, KVM_DEV_ARM_VGIC_GRP_REDIST_REGS, KVM_DEV_ARM_VGIC_V3_MPIDR_SHIFT,
    KVM_VGIC_V3_ADDR_TYPE_DIST, KVM_VGIC_V3_ADDR_TYPE_REDIST_REGION, kvm_create_device, kvm_device_attr,
    kvm_device_type_KVM_DEV_TYPE_ARM_VGIC_V3 as VGIC_V3,
};
use kvm_ioctls::{DeviceFd, VmFd};

/// Registers of the distributor, and of a redistributor's frame for SGIs and PPIs, by their offset (IHI 0069, 12.8 and
/// 12.11). Each holds some interrupts, in their order.
mod register {
    pub(super) const CTLR: u64 = 0;
    pub(super) const IGROUPR: u64 = 0x80;
    pub(super) const ISENABLER: u64 = 0x100;
    pub(super) const ICENABLER: u64 = 0x180;
    pub(super) const ISPENDR: u64 = 0x200;
    pub(super) const ICPENDR: u64 = 0x280;
    pub(super) const ICACTIVER: u64 = 0x380;
    pub(super) const IPRIORITYR: u64 = 0x400;
    pub(super) const ICFGR: u64 = 0xc00;
    pub(super) const IROUTER: u64 = 0x6000;
    /// The frame for SGIs and PPIs within a redistributor.
    pub(super) const SGI_FRAME: u64 = 0x1_0000;
}

/// `ICC_CTLR_EL1`, which says what the host's CPU interface can do besides how it is set.
const CONTROL: SystemRegister = SystemRegister::new(3, 0, 12, 12, 4);
/// The rest of a CPU interface, all 0 at power-on: `ICC_PMR_EL1`, `BPR0`, `BPR1`, `IGRPEN0`, `IGRPEN1`, `AP0R0`, `AP1R0`.
const CPU_INTERFACE: [SystemRegister; 7] = [
    SystemRegister::new(3, 0, 4, 6, 0),
    SystemRegister::new(3, 0, 12, 8, 3),
    SystemRegister::new(3, 0, 12, 12, 3),
    SystemRegister::new(3, 0, 12, 12, 6),
    SystemRegister::new(3, 0, 12, 12, 7),
    SystemRegister::new(3, 0, 12, 8, 4),
    SystemRegister::new(3, 0, 12, 9, 0),
];
/// `ICC_AP0R1..3_EL1` and `ICC_AP1R1..3_EL1`, which only hosts with many priorities have.
const MORE_ACTIVE_PRIORITIES: [SystemRegister; 6] = [
    SystemRegister::new(3, 0, 12, 8, 5),
    SystemRegister::new(3, 0, 12, 8, 6),
    SystemRegister::new(3, 0, 12, 8, 7),
    SystemRegister::new(3, 0, 12, 9, 1),
    SystemRegister::new(3, 0, 12, 9, 2),
    SystemRegister::new(3, 0, 12, 9, 3),
];

/// A `GICv3` of one distributor and a redistributor for each core.
pub(super) struct Vgic {
    device: DeviceFd,
    vcpus: u32,
    intids: u32,
    /// Known once all cores exist: before that nothing can have changed.
    power_on: OnceLock<PowerOn>,
}

/// What the host chooses itself, as it is at power-on.
struct PowerOn {
    /// `ICC_CTLR_EL1`
    control: u64,
    /// SGIs and PPIs.
    private: Interrupts,
    spis: Interrupts,
}

/// 32 interrupts.
#[derive(Debug, Clone, Copy)]
struct Interrupts {
    /// `ISENABLER`: KVM has SGIs enabled.
    enabled: u32,
    /// `ICFGR` of the second half, or of both: KVM has SPIs triggered by edge.
    triggers: u32,
}

impl Vgic {
    pub(super) fn new(vm: &VmFd, plan: &IrqPlan, vcpus: u32) -> Result<Self> {
        let mut description = kvm_create_device { type_: VGIC_V3, ..Default::default() };
        let device = vm
            .create_device(&mut description)
            .map_err(|error| Error::new("KVM_CREATE_DEVICE", without_gicv3(error.into())))?;
        let gic = Self { device, vcpus, intids: plan.intids, power_on: OnceLock::new() };
        gic.set("KVM_DEV_ARM_VGIC_GRP_NR_IRQS", KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, &plan.intids)?;
        let address = |kind: u32, value: u64| {
            gic.set("KVM_DEV_ARM_VGIC_GRP_ADDR", KVM_DEV_ARM_VGIC_GRP_ADDR, kind.into(), &value)
        };
        address(KVM_VGIC_V3_ADDR_TYPE_DIST, plan.distributor)?;
        // Number of redistributors in bits 63..52, no flags, region 0.
        address(KVM_VGIC_V3_ADDR_TYPE_REDIST_REGION, u64::from(vcpus) << 52 | plan.redistributors)?;
        Ok(gic)
    }

    /// All cores exist.
    pub(super) fn seal(&self) -> Result<()> {
        let init = KVM_DEV_ARM_VGIC_CTRL_INIT.into();
        self.set("KVM_DEV_ARM_VGIC_CTRL_INIT", KVM_DEV_ARM_VGIC_GRP_CTRL, init, &0u64)?;
        let spis = Interrupts::read(FIRST_SPI, |offset| {
            self.get("KVM_DEV_ARM_VGIC_GRP_DIST_REGS", KVM_DEV_ARM_VGIC_GRP_DIST_REGS, offset)
        })?;
        let private = Interrupts::read(0, |offset| {
            let place = of_core(0) | (register::SGI_FRAME + offset);
            self.get("KVM_DEV_ARM_VGIC_GRP_REDIST_REGS", KVM_DEV_ARM_VGIC_GRP_REDIST_REGS, place)
        })?;
        let control = self.cpu_register(0, CONTROL)?;
        self.power_on.get_or_init(|| PowerOn { control, private, spis });
        Ok(())
    }

    /// Back to power-on, with each core's part, and all lines low. Only while no core runs: an attribute takes the locks of
    /// all cores, so that they cannot do it themselves, each on its own thread.
    pub(super) fn reset(&self) -> Result<()> {
        let Some(power_on) = self.power_on.get() else { return Ok(()) };
        self.reset_distributor(power_on)?;
        (0..self.vcpus).try_for_each(|core| self.reset_core(core, power_on))
    }

    fn reset_distributor(&self, power_on: &PowerOn) -> Result<()> {
        let write = |offset, value| {
            self.set("KVM_DEV_ARM_VGIC_GRP_DIST_REGS", KVM_DEV_ARM_VGIC_GRP_DIST_REGS, offset, &value)
        };
        write(register::CTLR, 0)?;
        for first in (FIRST_SPI..self.intids).step_by(32) {
            self.lower_lines(0, first)?;
            power_on.spis.write(first, write)?;
        }
        for intid in FIRST_SPI..self.intids {
            // KVM has no fourth level of affinity, which the upper half holds.
            write(register::IROUTER + 8 * u64::from(intid), 0)?;
        }
        Ok(())
    }

    /// The redistributor and the CPU interface.
    fn reset_core(&self, index: u32, power_on: &PowerOn) -> Result<()> {
        power_on.private.write(0, |offset, value| {
            let place = of_core(index) | (register::SGI_FRAME + offset);
            self.set("KVM_DEV_ARM_VGIC_GRP_REDIST_REGS", KVM_DEV_ARM_VGIC_GRP_REDIST_REGS, place, &value)
        })?;
        self.set_cpu_register(index, CONTROL, power_on.control)?;
        for register in CPU_INTERFACE {
            self.set_cpu_register(index, register, 0)?;
        }
        for register in MORE_ACTIVE_PRIORITIES {
            if let Err(error) = self.set_cpu_register(index, register, 0) {
                tracing::trace!("{register}: {error}");
            }
        }
        Ok(())
    }

    /// Takes down what devices hold up, of 32 interrupts from `first` on; they say so again if they still do.
    fn lower_lines(&self, core: u32, first: u32) -> Result<()> {
        let place = of_core(core) | u64::from(first);
        self.set("KVM_DEV_ARM_VGIC_GRP_LEVEL_INFO", KVM_DEV_ARM_VGIC_GRP_LEVEL_INFO, place, &0u32)
    }

    fn set_cpu_register(&self, core: u32, register: SystemRegister, value: u64) -> Result<()> {
        let place = of_core(core) | u64::from(register.0);
        self.set("KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS", KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS, place, &value)
    }

    fn cpu_register(&self, core: u32, register: SystemRegister) -> Result<u64> {
        let place = of_core(core) | u64::from(register.0);
        self.get("KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS", KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS, place)
    }

    /// Reads an attribute of at most 64 bits.
    fn get(&self, operation: &'static str, group: u32, attr: u64) -> Result<u64> {
        let mut value = 0u64;
        let addr = from_mut(&mut value).expose_provenance() as u64;
        let mut attribute = kvm_device_attr { group, attr, addr, flags: 0 };
        // SAFETY: `addr` is that of `value`, and no attribute of a GIC is wider.
        unsafe { self.device.get_device_attr(&mut attribute) }
            .map_err(|error| Error::new(operation, error))?;
        Ok(value)
    }

    /// Sets an attribute; `value` is as wide as its group wants it, 32 or 64 bits.
    fn set<T>(&self, operation: &'static str, group: u32, attr: u64, value: &T) -> Result<()> {
        let addr = from_ref(value).expose_provenance() as u64;
        let attribute = kvm_device_attr { group, attr, addr, flags: 0 };
        self.device.set_device_attr(&attribute).map_err(|error| Error::new(operation, error))
    }
}

/// Which core an attribute is about: the fields of its affinity.
fn of_core(index: u32) -> u64 {
    affinity(index) << KVM_DEV_ARM_VGIC_V3_MPIDR_SHIFT
}

impl Interrupts {
    fn read(first: u32, read: impl Fn(u64) -> Result<u64>) -> Result<Self> {
        // A register of 32 bits leaves the upper half alone.
        let read = |offset| read(offset).map(|value| u32::try_from(value).unwrap_or_default());
        Ok(Self {
            enabled: read(register::ISENABLER + u64::from(first / 8))?,
            triggers: read(register::ICFGR + u64::from(first / 4) + 4)?,
        })
    }

    /// Puts those from `first` on back to power-on: in group 1, where KVM has them, neither pending nor active, of the
    /// highest priority. What is fixed for SGIs stays.
    fn write(self, first: u32, write: impl Fn(u64, u32) -> Result<()>) -> Result<()> {
        let bits = u64::from(first / 8);
        write(register::IGROUPR + bits, u32::MAX)?;
        write(register::ICENABLER + bits, u32::MAX)?;
        // Which of the two KVM listens to has changed: what it is told of one, or what it is told to clear.
        write(register::ISPENDR + bits, 0)?;
        write(register::ICPENDR + bits, u32::MAX)?;
        write(register::ICACTIVER + bits, u32::MAX)?;
        for word in 0..8 {
            write(register::IPRIORITYR + u64::from(first) + word * 4, 0)?;
        }
        for word in 0..2 {
            write(register::ICFGR + u64::from(first / 4) + word * 4, self.triggers)?;
        }
        write(register::ISENABLER + bits, self.enabled)
    }
}

/// Adds to KVM's refusal what it means.
fn without_gicv3(error: io::Error) -> io::Error {
    if error.raw_os_error() != Some(libc::ENODEV) {
        return error;
    }
    io::Error::new(
        error.kind(),
        format!("{error}; guests need a GICv3, and this host's processor has none for them"),
    )
}

#[cfg(test)]
mod tests;
