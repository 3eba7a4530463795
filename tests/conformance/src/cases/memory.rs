//! RAM: read-only, mapped and unmapped.

use std::{
    fs, io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
};

use hv_core::hypervisor::{Access, ArchOf, Exit, Hypervisor, Region, Vcpu, Vm};
use vm_memory::{Bytes, GuestMemoryRegion, MemoryRegionAddress};

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
        Case::new("ram_may_lie_at_the_end_of_the_address_space", Needs::Little, last::<H>),
        Case::new("ram_comes_and_goes_while_the_guest_runs", Needs::Little, comes_and_goes::<H>),
        Case::new("regions_do_not_overlap", Needs::Little, overlap::<H>),
        Case::new("unmap_gives_the_region_back", Needs::Little, given_back::<H>),
        Case::new("reclaimed_ram_goes_to_the_host_and_stays_ram", Needs::Little, reclaimed::<H>),
        Case::new("a_guest_that_uses_what_is_reclaimed_goes_on", Needs::Little, used_meanwhile::<H>),
        Case::new("only_whole_granules_of_ram_are_reclaimed", Needs::Little, only_ram::<H>),
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

fn last<H: Hypervisor>()
where
    ArchOf<H>: Programs,
{
    let base = (1 << ArchOf::<H>::plan(1).address_bits) - PAGE;
    let (rig, mut vcpu) = Rig::<H>::with(Program::Load, base);
    rig.vm.map(region_with(base, 0x77), Access::ReadWrite).unwrap();
    assert_eq!(report(&mut vcpu), 0x77);
    rig.enter(&mut vcpu, ArchOf::<H>::image(Program::Store), base);
    assert_eq!(report(&mut vcpu), 1);
    let region = rig.vm.unmap(base).unwrap();
    assert_eq!(region.read_obj::<u32>(MemoryRegionAddress(0)).unwrap(), 1);
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

/// Fills `region` with `value`.
fn fill(region: &Region, value: u64) {
    let page: Vec<u8> = value.to_le_bytes().into_iter().cycle().take(4096).collect();
    for offset in (0..GuestMemoryRegion::len(region)).step_by(page.len()) {
        region.write_slice(&page, MemoryRegionAddress(offset)).unwrap();
    }
}

/// Pages of this process that are in memory, on a host that tells.
fn resident() -> Option<u64> {
    fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse().ok()
}

fn reclaimed<H: Hypervisor>()
where
    ArchOf<H>: Programs,
{
    /// Much more than the process needs and gives back meanwhile.
    const SIZE: u64 = 32 << 20;
    let (rig, mut vcpu) = Rig::<H>::with(Program::Load, BASE + SIZE / 2);
    let (ram, reclaimer) = (region(BASE, SIZE), rig.vm.reclaimer());
    fill(&ram, 5);
    rig.vm.map(Arc::clone(&ram), Access::ReadWrite).unwrap();
    assert_eq!(report(&mut vcpu), 5);
    let before = resident();
    let granule = reclaimer.granule();
    reclaimer.reclaim(BASE + granule..BASE + SIZE - granule).unwrap();
    if let (Some(before), Some(after)) = (before, resident()) {
        // Pages have 64 KiB at most, and 4 KiB at least.
        let least = SIZE / 2 / granule;
        assert!(after + least <= before, "{before} pages were resident, and still {after} are");
    }
    assert_eq!(report(&mut vcpu), 0);
    let load = |offset: u64| ram.read_obj::<u64>(MemoryRegionAddress(offset)).unwrap();
    assert_eq!(
        (load(granule - 8), load(granule), load(SIZE - granule - 8), load(SIZE - granule)),
        (5, 0, 0, 5)
    );
    // The guest and this process see the same new page.
    ram.write_obj(6_u64, MemoryRegionAddress(SIZE / 2)).unwrap();
    assert_eq!(report(&mut vcpu), 6);
    rig.enter(&mut vcpu, ArchOf::<H>::image(Program::Store), BASE + granule);
    assert_eq!((report(&mut vcpu), load(granule)), (1, 1));
    drop((rig, vcpu));
    assert_eq!(Arc::strong_count(&ram), 1, "the reclaimer keeps no memory");
    reclaimer.reclaim(BASE..BASE + SIZE).unwrap();
    assert_eq!(load(granule), 1, "what is no guest's any more stays");
}

/// The guest has the page under its hands all the time: it may find zeroes, but never that there is no RAM.
fn used_meanwhile<H: Hypervisor>()
where
    ArchOf<H>: Programs,
{
    let (rig, mut vcpu) = Rig::<H>::with(Program::Store, BASE);
    let reclaimer = rig.vm.reclaimer();
    rig.vm.map(region(BASE, 4 * PAGE), Access::ReadWrite).unwrap();
    let (stopped, range) = (AtomicBool::new(false), BASE..BASE + 4 * PAGE);
    thread::scope(|scope| {
        let reclaim = scope.spawn(|| {
            let mut count = 0;
            while !stopped.load(SeqCst) || count < 10 {
                reclaimer.reclaim(range.clone()).unwrap();
                count += 1;
            }
        });
        for value in 1..2000 {
            assert_eq!(report(&mut vcpu), value);
        }
        stopped.store(true, SeqCst);
        reclaim.join().unwrap();
    });
}

fn only_ram<H: Hypervisor>()
where
    ArchOf<H>: Programs,
{
    let rig = Rig::<H>::new(1);
    let reclaimer = rig.vm.reclaimer();
    let size = 4 * reclaimer.granule().max(PAGE);
    rig.vm.map(region(BASE, size), Access::ReadWrite).unwrap();
    rig.vm.map(region(BASE + size, size), Access::ReadOnly).unwrap();
    let half = reclaimer.granule() / 2;
    let whole = reclaimer.granule();
    let wrong = [
        BASE..BASE,
        BASE..BASE + half,
        BASE + half..BASE + whole,
        BASE - whole..BASE + whole,
        BASE + size - whole..BASE + size + whole,
        BASE + size..BASE + 2 * size,
        BASE + 4 * size..BASE + 5 * size,
        BASE..u64::MAX / whole * whole,
    ];
    for range in wrong {
        let error = reclaimer.reclaim(range.clone()).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::InvalidInput, "{range:#x?}: {error}");
    }
    reclaimer.reclaim(BASE..BASE + size).unwrap();
}
