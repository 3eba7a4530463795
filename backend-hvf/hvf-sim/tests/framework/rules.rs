//! What the framework refuses.

use std::thread;

use crate::{
    calls::{self, BAD_ARGUMENT, BUSY, ILLEGAL_GUEST_STATE, NO_DEVICE, Pages, Reg, Sys, UNSUPPORTED, Vcpu},
    guest::{Core, DISTRIBUTOR, FRAME, Guest, RAM, REDISTRIBUTORS, alone},
    programs,
};

#[test]
fn a_process_has_one_vm() {
    let guest = Guest::new(programs::SPIN);
    assert_eq!(calls::create_vm(None), Err(BUSY));
    drop(guest);
    let _alone = alone();
    assert_eq!(calls::destroy_vm(), Err(NO_DEVICE));
    assert_eq!(calls::unmap(RAM, 0x4000), Err(NO_DEVICE));
    assert_eq!(Vcpu::create().map(|vcpu| vcpu.id), Err(NO_DEVICE));
    for _ in 0..2 {
        calls::create_vm(Some(40)).unwrap();
        calls::destroy_vm().unwrap();
    }
}

#[test]
fn what_is_mapped_is_whole_pages_of_16_kib_within_the_address_bits() {
    let _guest = Guest::new(programs::SPIN);
    let pages = Pages::allocate(0x1_0000).unwrap();
    let place = RAM + 0x10_0000;
    for (skip, address, size) in [(0x800, place, 0x4000), (0, place + 0x1000, 0x4000), (0, place, 0x1000)] {
        assert_eq!(pages.map(skip, address, size, 7), Err(BAD_ARGUMENT), "{skip:#x} {address:#x} {size:#x}");
    }
    assert_eq!(pages.map(0, (1 << 36) - 0x4000, 0x8000, 7), Err(BAD_ARGUMENT));
    assert_eq!(pages.map(0, place, 0x4000, 8), Err(BAD_ARGUMENT), "a flag that is none");
    assert_eq!(pages.map(0, RAM + 0x4000, 0x4000, 7), Err(BAD_ARGUMENT), "mapped already");
    assert_eq!(calls::unmap(place, 0x4000), Err(BAD_ARGUMENT), "not mapped");
    assert_eq!(calls::protect(RAM + 0x1000, 0x1000, 1), Err(BAD_ARGUMENT));
    assert_eq!(calls::protect(place, 0x4000, 1), Err(BAD_ARGUMENT));
    assert_eq!(calls::unmap(RAM, 0x1000), Err(BAD_ARGUMENT));
    pages.map(0x4000, (1 << 36) - 0x4000, 0x4000, 7).unwrap();
    calls::unmap((1 << 36) - 0x4000, 0x4000).unwrap();
    assert_eq!(Pages::allocate(0x1000).map(drop), Err(BAD_ARGUMENT));
    assert_eq!(calls::max_address_bits(), Ok(40));
}

#[test]
fn address_bits_beyond_the_host_and_el2_are_refused() {
    let _alone = alone();
    assert_eq!(calls::create_vm(Some(41)), Err(BAD_ARGUMENT));
    assert_eq!((calls::el2_supported(), calls::enable_el2()), (Ok(false), Err(UNSUPPORTED)));
}

#[test]
fn a_vcpu_belongs_to_its_thread_and_a_thread_has_one() {
    let _guest = Guest::new(programs::SPIN);
    let core = Core::new(0, 0);
    let id = core.id();
    assert_eq!(Vcpu::create().map(|vcpu| vcpu.id), Err(BUSY));
    thread::spawn(move || {
        assert_eq!(calls::reg(id, Reg::PC), Err(BAD_ARGUMENT));
        assert_eq!(calls::set_reg(id, Reg::PC, 0), Err(BAD_ARGUMENT));
        assert_eq!(calls::set_timer_mask(id, true), Err(BAD_ARGUMENT));
        assert_eq!(calls::destroy_vcpu(id), Err(BAD_ARGUMENT));
        calls::exit_vcpus(&[id]).unwrap();
    })
    .join()
    .unwrap();
    assert_eq!(calls::destroy_vm(), Err(BUSY), "a vCPU is there");
    assert_eq!(calls::reg(id + 1, Reg::PC), Err(BAD_ARGUMENT));
}

#[test]
fn to_cancel_none_is_nothing_and_a_stale_name_is_refused() {
    let _guest = Guest::new(programs::HYPERCALL);
    let core = Core::new(0, 0);
    calls::exit_vcpus(&[]).unwrap();
    assert_eq!(core.hypercall(), 1);
    assert_eq!(calls::exit_vcpus(&[7, core.id()]), Err(BAD_ARGUMENT));
    assert_eq!(core.run(), calls::Exit::Canceled, "the one that there is was told");
}

#[test]
fn registers_without_a_place_are_refused() {
    let _guest = Guest::new(programs::HYPERCALL);
    let core = Core::new(0, 0);
    for register in [Sys::CNTP_CTL_EL0, Sys::HCR_EL2] {
        assert_eq!(calls::sys_reg(core.id(), register), Err(BAD_ARGUMENT), "{register:?}: only with EL2");
        assert_eq!(calls::set_sys_reg(core.id(), register, 0), Err(BAD_ARGUMENT), "{register:?}");
    }
    core.set_sys(Sys::ACTLR_EL1, u64::MAX);
    assert_eq!(calls::sys_reg(core.id(), Sys::ACTLR_EL1), Ok(2), "EnTSO alone");
    assert_eq!(calls::set_reg(core.id(), Reg::CPSR, 0x3c9), Err(BAD_ARGUMENT), "EL2h");
    core.set_sys(Sys::ID_AA64ISAR1_EL1, 0);
    assert_eq!(core.hypercall(), 1);
    assert_eq!(calls::set_sys_reg(core.id(), Sys::ID_AA64ISAR1_EL1, 0), Ok(()), "as it was");
    assert_eq!(calls::set_sys_reg(core.id(), Sys::ID_AA64ISAR1_EL1, 1), Err(BUSY));
}

#[test]
fn debug_registers_trap_on_demand() {
    let _guest = Guest::new(&[
        0xd530_0250, // mrs x16, mdscr_el1
        0xd400_0022, // hvc #1
    ]);
    let core = Core::new(0, 0);
    assert_eq!(core.hypercall(), 1);
    calls::set_trap_debug_registers(core.id(), true).unwrap();
    core.set(Reg::PC, RAM);
    assert!(matches!(core.run(), calls::Exit::Exception { class: 0x18, .. }));
}

#[test]
fn a_gic_comes_after_the_vm_and_before_vcpus() {
    {
        let _alone = alone();
        assert_eq!(calls::create_gic(DISTRIBUTOR, REDISTRIBUTORS, FRAME), Err(NO_DEVICE));
    }
    let _guest = Guest::new(programs::SPIN);
    assert_eq!(calls::set_spi(32, true), Err(NO_DEVICE));
    assert_eq!(
        calls::create_gic(DISTRIBUTOR + 0x1000, REDISTRIBUTORS, FRAME),
        Err(BAD_ARGUMENT),
        "alignment"
    );
    assert_eq!(calls::create_gic(DISTRIBUTOR, REDISTRIBUTORS, DISTRIBUTOR), Err(BAD_ARGUMENT), "overlap");
    let core = Core::new(0, 0);
    assert_eq!(calls::create_gic(DISTRIBUTOR, REDISTRIBUTORS, FRAME), Err(BUSY));
    assert_eq!(calls::gic_state(), None);
    assert_eq!(calls::redistributor_base(core.id()), Err(NO_DEVICE));
}

#[test]
fn with_a_gic_every_vcpu_needs_an_affinity_of_its_own() {
    let _guest = Guest::with_gic(programs::HYPERCALL);
    assert_eq!(calls::create_gic(DISTRIBUTOR, REDISTRIBUTORS, FRAME), Err(BUSY), "there is one");
    let vcpu = Vcpu::create().unwrap();
    assert_eq!(calls::redistributor_base(vcpu.id), Err(BAD_ARGUMENT));
    assert_eq!(vcpu.run(), Err(ILLEGAL_GUEST_STATE));
    calls::set_sys_reg(vcpu.id, Sys::MPIDR_EL1, 1 << 31 | 5).unwrap();
    assert_eq!(calls::redistributor_base(vcpu.id), Ok(REDISTRIBUTORS));
    thread::spawn(|| {
        let other = Vcpu::create().unwrap();
        assert_eq!(calls::set_sys_reg(other.id, Sys::MPIDR_EL1, 1 << 31 | 5), Err(BAD_ARGUMENT));
        calls::set_sys_reg(other.id, Sys::MPIDR_EL1, 1 << 31 | 6).unwrap();
        assert_eq!(calls::redistributor_base(other.id), Ok(REDISTRIBUTORS + 0x2_0000));
        calls::destroy_vcpu(other.id).unwrap();
    })
    .join()
    .unwrap();
    calls::set_reg(vcpu.id, Reg::PC, RAM).unwrap();
    vcpu.run().unwrap();
    calls::destroy_vcpu(vcpu.id).unwrap();
}
