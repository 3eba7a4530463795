//! What brings a vCPU back, and where PC is then.

use applevisor_sys::{hv_feature_reg_t as Feature, hv_simd_fp_reg_t as Vector};

use crate::{
    calls::{self, Exit, Interrupt, Pages, Reg, Sys},
    guest::{Core, DATA, Guest, IRQ_HANDLER, RAM, cancel_later},
    programs,
};

const DEVICE: u64 = 0x0900_0000;

#[test]
fn exceptions_come_with_their_syndrome_and_only_a_hypercall_moves_pc() {
    let _guest = Guest::new(programs::EXITS);
    let core = Core::new(0, 0);
    core.set(Reg::X1, DEVICE);
    let next = || {
        let before = core.get(Reg::PC);
        let Exit::Exception { class, iss, address } = core.run() else { panic!("no exception") };
        let moved = core.get(Reg::PC) - before;
        core.set(Reg::PC, before + 4);
        (class, iss, address, moved)
    };
    // str w2, [x1]: ISV, SAS 2, SRT 2, WnR.
    let (class, iss, address, moved) = next();
    assert_eq!((class, iss >> 24, iss >> 22 & 3, iss >> 16 & 31, iss >> 6 & 1), (0x24, 1, 2, 2, 1));
    assert_eq!((address, moved), (DEVICE, 0));
    // ldrsh x3, [x1, #2]: ISV, SAS 1, SSE, SRT 3, SF.
    let (class, iss, address, moved) = next();
    assert_eq!((class, iss >> 21, iss >> 16 & 31, iss >> 15 & 1), (0x24, 0b1011, 3, 1));
    assert_eq!((iss >> 6 & 1, address, moved), (0, DEVICE + 2, 0));
    // ldp x4, x5, [x1]: the syndrome does not describe it.
    let (class, iss, address, moved) = next();
    assert_eq!((class, iss >> 24, address, moved), (0x24, 0, DEVICE, 0));
    // str x2, [x1], #8: nor one with writeback.
    let (class, iss, address, moved) = next();
    assert_eq!((class, iss >> 14, iss >> 6 & 1, address, moved), (0x24, 0, 1, DEVICE, 0));
    assert_eq!(next(), (0x16, 7, 0, 4), "hvc #7");
    assert_eq!(next(), (0x17, 0, 0, 0), "smc #0");
    let (class, iss, _, moved) = next();
    assert_eq!((class, iss & 1, moved), (0x01, 0, 0), "wfi");
    // Op0 20, Op2 17, Op1 14, CRn 10, Rt 5, CRm 1, read 0.
    let trap = |op0: u64, op1: u64, crn: u64, crm: u64, op2: u64, rt: u64, read: u64| {
        (0x18, op0 << 20 | op2 << 17 | op1 << 14 | crn << 10 | rt << 5 | crm << 1 | read, 0, 0)
    };
    assert_eq!(next(), trap(2, 0, 1, 0, 4, 0, 0), "OSLAR_EL1");
    assert_eq!(next(), trap(3, 0, 15, 2, 0, 6, 1), "IMPLEMENTATION DEFINED");
    assert_eq!(next(), trap(3, 0, 1, 0, 1, 7, 1), "ACTLR_EL1");
    assert_eq!(next(), trap(2, 0, 0, 2, 0, 8, 1), "MDCCINT_EL1");
    assert_eq!(next(), trap(3, 3, 14, 0, 1, 9, 1), "CNTPCT_EL0");
    assert_eq!(next(), trap(3, 3, 9, 12, 0, 10, 1), "PMCR_EL0");
    assert_eq!(core.hypercall(), 8);
}

#[test]
fn a_cancel_before_a_run_ends_it_at_once_and_once() {
    let _guest = Guest::new(programs::HYPERCALL);
    let core = Core::new(0, 0);
    calls::exit_vcpus(&[core.id()]).unwrap();
    assert_eq!((core.run(), core.offset()), (Exit::Canceled, 0));
    assert_eq!(core.hypercall(), 1);
}

#[test]
fn a_cancel_during_a_run_ends_it() {
    let _guest = Guest::new(programs::SPIN);
    let core = Core::new(0, 0);
    for _ in 0..3 {
        let other = cancel_later(core.id());
        assert_eq!((core.run(), core.offset()), (Exit::Canceled, 0));
        other.join().unwrap();
    }
    assert!(calls::exec_time(core.id()).unwrap() > 0);
}

#[test]
fn a_cancel_ends_a_wait_inside_the_framework() {
    let _guest = Guest::new(programs::WAIT);
    hvf_sim::wfi_waits(true);
    let core = Core::new(0, 0);
    let other = cancel_later(core.id());
    assert_eq!((core.run(), core.offset()), (Exit::Canceled, 0));
    other.join().unwrap();
}

#[test]
fn the_virtual_timer_is_an_exit_and_masks_itself() {
    let _guest = Guest::new(programs::SPIN);
    let core = Core::new(0, 0);
    core.set_sys(Sys::CNTV_CVAL_EL0, calls::counter() + 24_000);
    core.set_sys(Sys::CNTV_CTL_EL0, 1);
    assert_eq!(calls::timer_mask(core.id()), Ok(false));
    assert_eq!(core.run(), Exit::VirtualTimer);
    assert_eq!(calls::timer_mask(core.id()), Ok(true));
    assert_eq!(calls::sys_reg(core.id(), Sys::CNTV_CTL_EL0), Ok(0b101), "ENABLE and ISTATUS");
    let other = cancel_later(core.id());
    assert_eq!(core.run(), Exit::Canceled, "it is masked");
    other.join().unwrap();
    calls::set_timer_mask(core.id(), false).unwrap();
    assert_eq!(core.run(), Exit::VirtualTimer);
    // With an offset the counter is behind again.
    calls::set_timer_mask(core.id(), false).unwrap();
    let offset = calls::counter();
    calls::set_timer_offset(core.id(), offset).unwrap();
    assert_eq!(calls::timer_offset(core.id()), Ok(offset));
    let other = cancel_later(core.id());
    assert_eq!(core.run(), Exit::Canceled);
    other.join().unwrap();
}

#[test]
fn the_guest_arms_the_timer_itself() {
    let guest = Guest::new(programs::TIMER);
    guest.ram.write(IRQ_HANDLER, programs::HYPERCALL);
    hvf_sim::wfi_waits(true);
    let core = Core::new(0, 0);
    core.set(Reg::X1, calls::counter() + 240_000);
    assert_eq!(core.run(), Exit::VirtualTimer);
    assert!(calls::counter() >= core.get(Reg::X1));
    calls::set_pending(core.id(), Interrupt::IRQ, true).unwrap();
    assert_eq!(core.hypercall(), 1);
}

#[test]
fn a_pending_interrupt_is_taken_when_unmasked_and_forgotten_after_the_run() {
    let guest = Guest::new(programs::OPEN);
    guest.ram.write(IRQ_HANDLER, programs::HYPERCALL);
    let core = Core::new(0, 0);
    calls::set_pending(core.id(), Interrupt::IRQ, true).unwrap();
    assert_eq!(calls::pending(core.id(), Interrupt::IRQ), Ok(true));
    assert_eq!((core.hypercall(), core.offset()), (1, IRQ_HANDLER as u64 + 4));
    assert_eq!(calls::pending(core.id(), Interrupt::IRQ), Ok(false));
    core.set(Reg::CPSR, 0x305);
    core.set(Reg::PC, RAM + 4);
    let other = cancel_later(core.id());
    assert_eq!((core.run(), core.offset()), (Exit::Canceled, 4), "no interrupt is left");
    other.join().unwrap();
}

#[test]
fn a_wait_with_an_interrupt_pending_goes_on() {
    let _guest = Guest::new(programs::WAIT);
    let core = Core::new(0, 0);
    calls::set_pending(core.id(), Interrupt::IRQ, true).unwrap();
    assert_eq!(core.hypercall(), 9, "masked by PSTATE, and yet");
}

#[test]
fn taking_a_right_away_makes_a_permission_fault_that_can_be_cured() {
    let guest = Guest::new(programs::STORE);
    let core = Core::new(0, 0);
    core.set(Reg::X1, RAM + DATA as u64);
    core.set(Reg::X2, 0x1234_5678);
    calls::protect(RAM + DATA as u64, 0x4000, 1 | 4).unwrap();
    let Exit::Exception { class: 0x24, iss, address } = core.run() else { panic!("no abort") };
    assert_eq!((iss >> 2 & 0xf, iss >> 6 & 1, address), (0b0011, 1, RAM + DATA as u64), "DFSC: permission");
    assert_eq!(guest.ram.read(DATA), 0);
    calls::protect(RAM + DATA as u64, 0x4000, 7).unwrap();
    assert_eq!((core.hypercall(), guest.ram.read(DATA)), (3, 0x1234_5678));
    // What is unmapped is a translation fault.
    core.set(Reg::PC, RAM);
    calls::unmap(RAM + DATA as u64, 0x4000).unwrap();
    let Exit::Exception { class: 0x24, iss, .. } = core.run() else { panic!("no abort") };
    assert_eq!(iss >> 2 & 0xf, 0b0001, "DFSC: translation");
    guest.ram.map(DATA, RAM + DATA as u64, 0x4000, 7).unwrap();
    assert_eq!(core.hypercall(), 3);
    // Other memory in its place is what the guest then sees.
    let other = Pages::allocate(0x4000).unwrap();
    calls::unmap(RAM + DATA as u64, 0x4000).unwrap();
    other.map(0, RAM + DATA as u64, 0x4000, 7).unwrap();
    core.set(Reg::PC, RAM);
    core.set(Reg::X2, 0x9abc);
    assert_eq!((core.hypercall(), other.read(0), guest.ram.read(DATA)), (3, 0x9abc, 0x1234_5678));
    calls::unmap(RAM + DATA as u64, 0x4000).unwrap();
    guest.ram.map(DATA, RAM + DATA as u64, 0x4000, 7).unwrap();
}

#[test]
fn registers_keep_what_is_written() {
    let guest = Guest::new(programs::READ);
    let core = Core::new(3, 0);
    core.set(Reg::X1, RAM + DATA as u64);
    guest.ram.write(DATA, &[1, 2]);
    calls::set_vector(core.id(), Vector::Q31, 1 << 127 | 5).unwrap();
    core.set_sys(Sys::SP_EL1, 0x1000);
    core.set_sys(Sys::SP_EL0, 0x2000);
    core.set_sys(Sys::AMAIR_EL1, 0x77);
    core.set_sys(Sys::APIAKEYHI_EL1, 0x88);
    let identity = calls::sys_reg(core.id(), Sys::ID_AA64PFR0_EL1).unwrap();
    assert_eq!(identity >> 24 & 15, 0, "GIC is to be set");
    core.set_sys(Sys::ID_AA64PFR0_EL1, identity | 1 << 24);
    assert_eq!(core.hypercall(), 6);
    assert_eq!((core.get(Reg::X3), core.get(Reg::X4)), (1 | 2 << 32, 24_000_000));
    assert_eq!((core.get(Reg::X5), core.get(Reg::X6)), (identity | 1 << 24, 1 << 31 | 3));
    assert_eq!(calls::vector(core.id(), Vector::Q31), Ok(1 << 127 | 5));
    for (register, value) in
        [(Sys::SP_EL1, 0x1000), (Sys::SP_EL0, 0x2000), (Sys::AMAIR_EL1, 0x77), (Sys::APIAKEYHI_EL1, 0x88)]
    {
        assert_eq!(calls::sys_reg(core.id(), register), Ok(value), "{register:?}");
    }
    assert_eq!(calls::feature(Feature::ID_AA64PFR0_EL1), Ok(identity));
}

#[test]
fn vcpus_share_the_processor() {
    let guest = Guest::new(programs::FLAG);
    // Each raises its flag and waits for the other's.
    std::thread::scope(|scope| {
        for number in 0..3_usize {
            let ram = &guest.ram;
            scope.spawn(move || {
                let core = Core::new(number as u64, 0);
                core.set(Reg::X1, RAM + (DATA + 8 * number) as u64);
                core.set(Reg::X2, 1 + number as u64);
                core.set(Reg::X4, RAM + (DATA + 8 * ((number + 1) % 3)) as u64);
                assert_eq!(core.hypercall(), 4);
                assert_eq!(ram.read(DATA + 8 * number) as usize, 1 + number);
            });
        }
    });
}
