//! Interrupts through the framework's GIC.

use std::{sync::Barrier, thread};

use applevisor_sys::{hv_gic_distributor_reg_t as Distributor, hv_gic_msi_reg_t as MsiReg};

use crate::{
    calls::{self, BAD_ARGUMENT, BUSY, Exit, Icc, Redistributor, Reg},
    guest::{
        Core, DISTRIBUTOR, FIQ_HANDLER, FRAME, Guest, IRQ_HANDLER, REDISTRIBUTORS, VECTORS, cancel_later,
    },
    programs,
};

/// INTID of an SPI that tests use, in the second word of SPIs.
const SPI: u32 = 66;

/// A VM whose IRQ handler tells the INTID by `hvc #1`, with all of group 1 enabled.
fn guest(program: &[u32]) -> Guest {
    let guest = Guest::with_gic(program);
    guest.ram.write(IRQ_HANDLER, programs::IRQ);
    guest.ram.write(FIQ_HANDLER, programs::FIQ);
    calls::set_distributor(Distributor::CTLR, 2).unwrap();
    calls::set_distributor(Distributor::IGROUPR2, u64::from(u32::MAX)).unwrap();
    calls::set_distributor(Distributor::ISENABLER2, 1 << (SPI - 64)).unwrap();
    guest
}

/// A vCPU whose interface lets all of group 1 through.
fn core(number: u64) -> Core {
    let core = Core::new(number, 0);
    let id = core.id();
    calls::set_icc(id, Icc::PMR_EL1, 0xf0).unwrap();
    calls::set_icc(id, Icc::IGRPEN1_EL1, 1).unwrap();
    calls::set_redistributor(id, Redistributor::IGROUPR0, u64::from(u32::MAX)).unwrap();
    calls::set_redistributor(id, Redistributor::ISENABLER0, 1 << 27 | 0xffff).unwrap();
    core
}

/// Runs until the handler tells of an interrupt.
fn interrupt(core: &Core) -> u64 {
    assert_eq!(core.hypercall(), 1);
    core.get(Reg::X0)
}

/// Nothing comes.
fn quiet(core: &Core) {
    let other = cancel_later(core.id());
    assert_eq!(core.run(), Exit::Canceled);
    other.join().unwrap();
}

#[test]
fn the_virtual_timer_is_interrupt_27_and_no_exit() {
    let _guest = guest(programs::TIMER);
    hvf_sim::wfi_waits(true);
    let core = core(0);
    core.set(Reg::X1, calls::counter() + 240_000);
    assert_eq!(interrupt(&core), 27);
    assert!(calls::counter() >= core.get(Reg::X1));
    // It is a level: it comes again as long as the timer is due.
    assert_eq!(interrupt(&core), 27);
}

#[test]
fn a_wait_is_an_exit_unless_an_interrupt_is_pending() {
    let _guest = guest(programs::WAIT);
    let core = core(0);
    assert!(matches!(core.run(), Exit::Exception { class: 0x01, .. }));
    assert_eq!(core.offset(), 0);
    calls::set_spi(SPI, true).unwrap();
    assert_eq!(core.hypercall(), 9);
}

#[test]
fn a_level_comes_until_it_is_low_and_an_edge_once() {
    let _guest = guest(programs::OPEN);
    let core = core(0);
    calls::set_spi(SPI, true).unwrap();
    assert_eq!(interrupt(&core), u64::from(SPI));
    assert_eq!(interrupt(&core), u64::from(SPI), "it is high still");
    calls::set_spi(SPI, false).unwrap();
    quiet(&core);
    // ICFGR4 has INTIDs 64 to 79, two bits each.
    calls::set_distributor(Distributor::ICFGR4, 2 << (2 * (SPI - 64))).unwrap();
    for _ in 0..2 {
        calls::set_spi(SPI, true).unwrap();
        assert_eq!(interrupt(&core), u64::from(SPI));
        quiet(&core);
    }
    assert_eq!(calls::set_spi(200, true), Err(BAD_ARGUMENT), "a message's");
    assert_eq!(calls::set_spi(31, true), Err(BAD_ARGUMENT), "no SPI");
}

#[test]
fn a_line_reaches_a_guest_that_runs() {
    let _guest = guest(programs::OPEN);
    let core = core(0);
    let other = thread::spawn(|| {
        thread::sleep(std::time::Duration::from_millis(20));
        calls::set_spi(SPI, true).unwrap();
    });
    assert_eq!(interrupt(&core), u64::from(SPI));
    other.join().unwrap();
}

#[test]
fn priorities_and_masks_decide() {
    let _guest = guest(programs::OPEN);
    let core = core(0);
    calls::set_distributor(Distributor::ISENABLER2, 3 << (SPI - 64)).unwrap();
    calls::set_distributor(Distributor::IPRIORITYR16, 0xa0_0000).unwrap();
    calls::set_spi(SPI, true).unwrap();
    calls::set_spi(SPI + 1, true).unwrap();
    assert_eq!(interrupt(&core), u64::from(SPI) + 1, "priority 0 before 0xa0");
    calls::set_spi(SPI + 1, false).unwrap();
    calls::set_icc(core.id(), Icc::PMR_EL1, 0xa0).unwrap();
    quiet(&core);
    calls::set_icc(core.id(), Icc::PMR_EL1, 0xa8).unwrap();
    assert_eq!(interrupt(&core), u64::from(SPI));
    assert_eq!(calls::icc(core.id(), Icc::RPR_EL1), Ok(0xa0), "it is being handled");
}

#[test]
fn group_zero_is_an_fiq() {
    let _guest = guest(programs::OPEN);
    let core = core(0);
    calls::set_distributor(Distributor::CTLR, 3).unwrap();
    calls::set_distributor(Distributor::IGROUPR2, 0).unwrap();
    calls::set_icc(core.id(), Icc::IGRPEN0_EL1, 1).unwrap();
    calls::set_spi(SPI, true).unwrap();
    assert_eq!((core.hypercall(), core.get(Reg::X0)), (2, u64::from(SPI)));
}

#[test]
fn messages_come_by_call_and_by_store() {
    let guest = guest(programs::OPEN);
    let core = core(0);
    calls::set_distributor(Distributor::IGROUPR4, u64::from(u32::MAX)).unwrap();
    calls::set_distributor(Distributor::ISENABLER4, 0b11).unwrap();
    calls::send_msi(FRAME + 0x40, 128).unwrap();
    assert_eq!(interrupt(&core), 128);
    assert_eq!(calls::send_msi(FRAME, 128), Err(BAD_ARGUMENT));
    assert_eq!(calls::send_msi(FRAME + 0x40, 700), Err(BAD_ARGUMENT));
    assert_eq!(calls::msi_reg(MsiReg::TYPER), Ok(128 << 16 | 512));
    guest.ram.write(0x100, programs::STORE);
    quiet(&core);
    core.set(Reg::X1, FRAME + 0x40);
    core.set(Reg::X2, 129);
    core.set(Reg::PC, crate::guest::RAM + 0x100);
    assert_eq!(interrupt(&core), 129);
}

#[test]
fn software_interrupts_go_from_one_vcpu_to_another() {
    let guest = guest(programs::SEND);
    guest.ram.write(0x100, programs::OPEN);
    hvf_sim::wfi_waits(true);
    // The topology is final when the first runs.
    let all_made = Barrier::new(2);
    thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            let core = core(0x101);
            core.set(Reg::PC, crate::guest::RAM + 0x100);
            all_made.wait();
            interrupt(&core)
        });
        let sender = core(0);
        all_made.wait();
        // INTID 5 to Aff1 = 1, Aff0 = 1.
        sender.set(Reg::X1, 5 << 24 | 1 << 16 | 1 << 1);
        let other = cancel_later(sender.id());
        assert_eq!(sender.run(), Exit::Canceled);
        other.join().unwrap();
        assert_eq!(receiver.join().unwrap(), 5);
    });
}

#[test]
fn vcpus_are_made_while_the_gic_is_in_use() {
    let _guest = guest(programs::OPEN);
    thread::scope(|scope| {
        let maker = scope.spawn(|| (0..60).for_each(|number| drop(Core::new(number, 0))));
        while !maker.is_finished() {
            calls::set_spi(SPI, true).unwrap();
            calls::set_spi(SPI, false).unwrap();
        }
    });
}

#[test]
fn registers_answer_the_guest_without_an_exit() {
    let _guest = guest(programs::GICMEM);
    let core = core(0);
    core.set(Reg::X1, DISTRIBUTOR);
    core.set(Reg::X2, REDISTRIBUTORS + 0x1_0400 + 27);
    core.set(Reg::X4, 0x30);
    core.set(Reg::X5, 0x108);
    calls::set_redistributor(core.id(), Redistributor::IPRIORITYR6, 0xa0 << 24).unwrap();
    assert_eq!(core.hypercall(), 5);
    assert_eq!(core.get(Reg::X3) & 31, 31, "GICD_TYPER.ITLinesNumber");
    assert_eq!(core.get(Reg::X6), 0x30 | 1 << (SPI - 64), "GICD_ISENABLER2");
    assert_eq!(core.get(Reg::X7), 0xa0, "a byte of GICR_IPRIORITYR6");
    let typer = calls::redistributor(core.id(), Redistributor::TYPER).unwrap();
    assert_eq!(typer, 1 << 4, "affinity 0, the last one");
    assert_eq!(calls::distributor(Distributor::ISENABLER2), Ok(0x30 | 1 << (SPI - 64)));
}

#[test]
fn the_state_is_saved_and_brought_back_before_the_first_run() {
    let state = {
        let _guest = guest(programs::OPEN);
        let core = core(0);
        calls::set_spi(SPI, true).unwrap();
        calls::set_redistributor(core.id(), Redistributor::ISPENDR0, 1 << 3).unwrap();
        calls::gic_state().unwrap()
    };
    let guest = Guest::with_gic(programs::OPEN);
    guest.ram.write(VECTORS + 0x280, programs::IRQ);
    let core = Core::new(0, 0);
    assert_eq!(calls::set_gic_state(&state[1..]), Err(BAD_ARGUMENT));
    calls::set_gic_state(&state).unwrap();
    calls::set_icc(core.id(), Icc::PMR_EL1, 0xf0).unwrap();
    calls::set_icc(core.id(), Icc::IGRPEN1_EL1, 1).unwrap();
    assert_eq!(interrupt(&core), 3);
    assert_eq!(interrupt(&core), u64::from(SPI));
    assert_eq!(calls::set_gic_state(&state), Err(BUSY), "it has run");
    calls::reset_gic().unwrap();
    assert_eq!(calls::distributor(Distributor::CTLR), Ok(0x50));
}
