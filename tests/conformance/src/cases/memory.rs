//! RAM: read-only, mapped and unmapped.

use std::{io, sync::Arc, thread};

use hv_core::hypervisor::{Access, ArchOf, Exit, Hypervisor, Vcpu, Vm};

use crate::{
    Case, Needs, Program, Programs,
    rig::{PAGE, REPORT, Rig, region, region_with, report, reported},
};

/// Where a case maps more RAM.
const BASE: u64 = 0x4000_0000;

pub(super) fn cases<H: Hypervisor + 'static>() -> Vec<Case>
where
    ArchOf<H>: Programs,
{
    vec![
        Case::new("a_store_to_read_only_ram_exits", Needs::Little, read_only::<H>),
        Case::new("ram_comes_and_goes_while_the_guest_runs", Needs::Little, comes_and_goes::<H>),
        Case::new("regions_do_not_overlap", Needs::Little, overlap::<H>),
        Case::new("unmap_gives_the_region_back", Needs::Little, given_back::<H>),
    ]
}

fn read_only<H: Hypervisor>()
where
    ArchOf<H>: Programs,
{
    let (rig, mut vcpu) = Rig::<H>::with(Program::Store, BASE);
    rig.vm.map(region_with(BASE, 0x77), Access::ReadOnly).unwrap();
    assert_eq!(vcpu.run().unwrap(), Exit::MmioWrite { address: BASE, data: &[1, 0, 0, 0] });
    assert_eq!(report(&mut vcpu), 1);
    rig.enter(&mut vcpu, ArchOf::<H>::image(Program::Load), BASE);
    assert_eq!(report(&mut vcpu), 0x77, "it reads without an exit, and the store changed nothing");
}

fn comes_and_goes<H: Hypervisor>()
where
    ArchOf<H>: Programs,
{
    let (rig, mut vcpu) = Rig::<H>::with(Program::Load, BASE);
    // Runs until the guest reports `value`; where there is no RAM it loads `nothing`.
    let mut until = |value: u64, nothing: u64| loop {
        match vcpu.run().unwrap() {
            Exit::MmioRead { address: BASE, data } => data.copy_from_slice(&nothing.to_le_bytes()),
            exit @ Exit::MmioWrite { address: REPORT, .. } => match reported(&exit) {
                found if found == value => break,
                found => assert!([1, 2, 3].contains(&found), "{found}"),
            },
            other => panic!("{other:x?}"),
        }
    };
    until(1, 1);
    thread::scope(|scope| {
        scope.spawn(|| rig.vm.map(region_with(BASE, 2), Access::ReadWrite).unwrap());
        until(2, 1);
        scope.spawn(|| rig.vm.unmap(BASE).unwrap());
        until(3, 3);
    });
}

fn overlap<H: Hypervisor>()
where
    ArchOf<H>: Programs,
{
    let rig = Rig::<H>::new(1);
    rig.vm.map(region(BASE, 2 * PAGE), Access::ReadWrite).unwrap();
    assert!(rig.vm.map(region(BASE + PAGE, 2 * PAGE), Access::ReadWrite).is_err());
    rig.vm.map(region(BASE + 2 * PAGE, PAGE), Access::ReadWrite).unwrap();
}

fn given_back<H: Hypervisor>()
where
    ArchOf<H>: Programs,
{
    let rig = Rig::<H>::new(1);
    let mine = region(BASE, PAGE);
    rig.vm.map(Arc::clone(&mine), Access::ReadWrite).unwrap();
    assert!(Arc::ptr_eq(&rig.vm.unmap(BASE).unwrap(), &mine));
    assert_eq!(rig.vm.unmap(BASE).unwrap_err().source.kind(), io::ErrorKind::NotFound);
    assert_eq!(Arc::strong_count(&mine), 1, "the machine holds it no more");
    rig.vm.map(mine, Access::ReadWrite).unwrap();
}
