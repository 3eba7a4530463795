//! Tests of the vGIC, one of them on the host's own.

use std::{cell::RefCell, sync::Arc};

use hv_core::irq::{IrqChip, Msi};

use super::*;
use crate::arch::{
    Template,
    aarch64::{Chips, Lines, tests::plan},
};

/// What a reset of 32 interrupts writes.
fn written(first: u32) -> Vec<(u64, u32)> {
    let writes = RefCell::new(Vec::new());
    Interrupts { enabled: 0xffff, triggers: 0xaaaa_aaaa }
        .write(first, |offset, value| {
            writes.borrow_mut().push((offset, value));
            Ok(())
        })
        .unwrap();
    writes.into_inner()
}

#[test]
fn a_reset_reaches_each_register_of_32_interrupts() {
    let private = written(0);
    assert_eq!(private.len(), 16);
    assert_eq!(private.last(), Some(&(0x100, 0xffff)));
    assert!(private.contains(&(0x180, u32::MAX)) && private.contains(&(0x41c, 0)));
    assert!(private.contains(&(0xc04, 0xaaaa_aaaa)));
    // INTIDs 608 to 639, the last of the machine.
    let last = written(608);
    assert!(last.contains(&(0x1cc, u32::MAX)), "ICENABLER19 of {last:x?}");
    assert!(last.contains(&(0x67c, 0)), "IPRIORITYR159 of {last:x?}");
    assert!(last.contains(&(0xc9c, 0xaaaa_aaaa)), "ICFGR39 of {last:x?}");
}

#[test]
fn a_core_is_named_by_its_affinity() {
    assert_eq!((of_core(0), of_core(1), of_core(17)), (0, 1 << 32, 0x101 << 32));
}

#[test]
fn a_host_with_an_older_controller_is_told_what_is_missing() {
    let message = without_gicv3(io::Error::from_raw_os_error(libc::ENODEV)).to_string();
    assert!(message.contains("GICv3"), "{message}");
    assert!(!without_gicv3(io::Error::from_raw_os_error(libc::EINVAL)).to_string().contains("GICv3"));
}

const DISTRIBUTOR: (&str, u32) = ("KVM_DEV_ARM_VGIC_GRP_DIST_REGS", KVM_DEV_ARM_VGIC_GRP_DIST_REGS);
const REDISTRIBUTOR: (&str, u32) = ("KVM_DEV_ARM_VGIC_GRP_REDIST_REGS", KVM_DEV_ARM_VGIC_GRP_REDIST_REGS);
const LEVELS: (&str, u32) = ("KVM_DEV_ARM_VGIC_GRP_LEVEL_INFO", KVM_DEV_ARM_VGIC_GRP_LEVEL_INFO);

/// Each register that a guest can change, as it reads, by group and attribute.
fn everything(gic: &Vgic) -> Vec<((&'static str, u32), u64, u64)> {
    let mut places = vec![(DISTRIBUTOR, register::CTLR)];
    for first in (32..640_u64).step_by(32) {
        places.push((LEVELS, first));
        places.extend(of_32_interrupts(first).map(|offset| (DISTRIBUTOR, offset)));
        places.extend((first..first + 32).map(|intid| (DISTRIBUTOR, register::IROUTER + 8 * intid)));
    }
    for core in 0..2 {
        let registers = of_32_interrupts(0).map(|offset| register::SGI_FRAME + offset);
        places.extend(registers.map(|offset| (REDISTRIBUTOR, of_core(core) | offset)));
    }
    let read = |((name, group), attr)| ((name, group), attr, gic.get(name, group, attr).unwrap());
    let mut found: Vec<_> = places.into_iter().map(read).collect();
    for core in 0..2 {
        for register in CPU_INTERFACE.into_iter().chain([CONTROL]) {
            let group = ("KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS", KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS);
            found.push((group, register.0.into(), gic.cpu_register(core, register).unwrap()));
        }
    }
    found
}

fn of_32_interrupts(first: u64) -> impl Iterator<Item = u64> {
    let bits = [0x80, 0x100, 0x200, 0x300].map(|register| register + first / 8);
    let bytes = (0..8).map(move |word| register::IPRIORITYR + first + word * 4);
    bits.into_iter().chain(bytes).chain((0..2).map(move |word| register::ICFGR + first / 4 + word * 4))
}

#[test]
#[ignore = "needs KVM of an arm64 host"]
fn a_used_controller_is_as_new_after_a_reset() {
    let kvm = kvm_ioctls::Kvm::new().unwrap();
    let vm = Arc::new(kvm.create_vm().unwrap());
    let chips = Chips::new(&vm, &plan(), 2).unwrap();
    let template = Template::new(&kvm, &vm, 2).unwrap();
    let cores = [0, 1].map(|index| {
        let fd = vm.create_vcpu(index).unwrap();
        let core = template.core(&fd, u32::try_from(index).unwrap()).unwrap();
        (fd, core)
    });
    chips.seal().unwrap();
    let gic = &chips.gic;
    let new = everything(gic);

    // All interrupts enabled, active, of low priority, triggered by edge, sent to the second core; some pending.
    let distributor = |offset, value: u32| gic.set(DISTRIBUTOR.0, DISTRIBUTOR.1, offset, &value).unwrap();
    distributor(register::CTLR, 2);
    for first in (32..640).step_by(32) {
        for offset in of_32_interrupts(first) {
            distributor(offset, 0xa0a0_a0a0);
        }
        for intid in first..first + 32 {
            distributor(register::IROUTER + 8 * intid, 1);
        }
    }
    for core in 0..2 {
        for offset in of_32_interrupts(0) {
            let place = of_core(core) | (register::SGI_FRAME + offset);
            gic.set(REDISTRIBUTOR.0, REDISTRIBUTOR.1, place, &0xa0a0_a0a0_u32).unwrap();
        }
        for register in CPU_INTERFACE {
            gic.set_cpu_register(core, register, 1).unwrap();
        }
        let control = gic.cpu_register(core, CONTROL).unwrap();
        gic.set_cpu_register(core, CONTROL, control | 3).unwrap();
    }
    let lines = Lines::new(Arc::clone(&vm), &plan());
    lines.set_line(1, true);
    lines.send_msi(Msi { address: 0x0801_0040, data: 300 });
    let used = everything(gic);
    let unchanged = new.iter().zip(&used).filter(|(new, used)| new == used).count();
    assert!(unchanged < new.len() / 20, "{unchanged} of {} registers were not touched", new.len());

    chips.reset(&vm).unwrap();
    for (fd, core) in &cores {
        core.reset(fd).unwrap();
    }
    let differ: Vec<_> = new.iter().zip(everything(gic)).filter(|(new, reset)| *new != reset).collect();
    assert!(differ.is_empty(), "{differ:x?}");
}
