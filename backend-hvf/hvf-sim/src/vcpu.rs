//! `Vcpu`: a vCPU, which lives on the thread that made it.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use crate::{
    engine::Context,
    error::{Error, Result},
    identity,
    parking::Parking,
    turns::Rest,
    vm::{self, MAX_VCPUS, Vm},
};

/// A vCPU's owner's part.
#[derive(Debug)]
pub(crate) struct Vcpu {
    pub(crate) index: usize,
    pub(crate) context: Context,
    pub(crate) parking: Arc<Parking>,
    pub(crate) vm: Arc<Vm>,
    pub(crate) main_id: u64,
    pub(crate) affinity: Option<u64>,
    /// IRQ and FIQ of `hv_vcpu_set_pending_interrupt`.
    pub(crate) pending: [bool; 2],
    pub(crate) timer_masked: bool,
    pub(crate) trap_debug_exceptions: bool,
    pub(crate) trap_debug_registers: bool,
    pub(crate) has_run: bool,
    pub(crate) time: Duration,
    pub(crate) rest: Rest,
    /// Registers that have no field in the processor.
    others: BTreeMap<u16, u64>,
}

thread_local! {
    static OWN: RefCell<Option<Vcpu>> = const { RefCell::new(None) };
}

/// `hv_vcpu_create`. A thread has one vCPU at most (header: "a vCPU instance for the current thread"; model: `HV_BUSY`).
pub(crate) fn create() -> Result<u64> {
    let vm = vm::current()?;
    OWN.with_borrow_mut(|own| {
        if own.is_some() {
            return Err(Error::Busy);
        }
        let turn = vm.turns.take_at_once();
        let mut gic = vm.gic();
        let mut vcpus = vm.vcpus();
        // Header (`hv_gic_create`): the topology is final once a vCPU runs.
        if vcpus.len() >= MAX_VCPUS || (gic.is_some() && vm.has_run.load(SeqCst)) {
            return Err(Error::NoResources);
        }
        let mut context = turn.context(vm.address_bits)?;
        for (index, value) in identity::registers(&turn) {
            context.set_id(index, value);
        }
        context.set_main_id(identity::MAIN_ID);
        context.set_affinity(identity::NO_AFFINITY);
        let index = vcpus.len();
        let parking = Arc::new(Parking::default());
        vcpus.push(Some(Arc::clone(&parking)));
        if let Some(gic) = &mut gic {
            gic.add_vcpu();
        }
        drop(vcpus);
        drop(gic);
        drop(turn);
        *own = Some(Vcpu {
            index,
            context,
            parking,
            vm,
            main_id: identity::MAIN_ID,
            affinity: None,
            pending: [false; 2],
            timer_masked: false,
            trap_debug_exceptions: false,
            trap_debug_registers: false,
            has_run: false,
            time: Duration::ZERO,
            rest: Rest::default(),
            others: BTreeMap::new(),
        });
        Ok(index as u64)
    })
}

/// `hv_vcpu_destroy`.
pub(crate) fn destroy(id: u64) -> Result<()> {
    with(id, |_| Ok(()))?;
    OWN.take();
    Ok(())
}

/// Lets the owner of vCPU `id` work with it. Another thread than the one that made it is refused (header: "must be called by
/// the owning thread"; peer: hyperlight#1681, `HV_BAD_ARGUMENT`).
pub(crate) fn with<T>(id: u64, work: impl FnOnce(&mut Vcpu) -> Result<T>) -> Result<T> {
    OWN.with_borrow_mut(|own| match own {
        Some(vcpu) if vcpu.index as u64 == id => work(vcpu),
        _ => Err(Error::BadArgument),
    })
}

/// `hv_vcpus_exit`, from any thread. With none (NULL, 0) it does nothing on arm64 (peer: arcbox ABX-367). What happens with a
/// name that is stale is not documented (peer: openvmm#4050; model: `HV_BAD_ARGUMENT`, after all others are told).
pub(crate) fn exit(ids: &[u64]) -> Result<()> {
    let vm = vm::current()?;
    let mut result = Ok(());
    for id in ids {
        let index = usize::try_from(*id).map_err(|_| Error::BadArgument)?;
        let parking = vm.vcpus().get(index).cloned().flatten();
        match parking {
            Some(parking) => {
                parking.cancel();
                vm.fetch(index);
            }
            None => result = Err(Error::BadArgument),
        }
    }
    result
}

impl Vcpu {
    pub(crate) fn other(&self, register: u16) -> u64 {
        self.others.get(&register).copied().unwrap_or(0)
    }

    pub(crate) fn set_other(&mut self, register: u16, value: u64) {
        self.others.insert(register, value);
    }

    /// Gives the vCPU its place among the others (header, `hv_gic_create`: affinity routes interrupts, and each vCPU has to
    /// set it). Model: two with the same are refused, and so is a change once one has run.
    pub(crate) fn set_affinity(&mut self, mpidr: u64) -> Result<()> {
        if self.affinity == Some(mpidr) {
            return Ok(());
        }
        if let Some(mut gic) = self.vm.gic() {
            if self.vm.has_run.load(SeqCst) {
                return Err(Error::Busy);
            }
            gic.set_affinity(self.index, mpidr)?;
        }
        self.affinity = Some(mpidr);
        self.context.set_affinity(mpidr);
        Ok(())
    }

    pub(crate) fn set_debug_traps(&mut self) {
        self.context.trap_debug(self.trap_debug_registers, self.trap_debug_exceptions);
    }
}

impl Drop for Vcpu {
    fn drop(&mut self) {
        let turn = self.vm.turns.take_at_once();
        turn.free(&mut self.context);
        // What the processor holds is of nobody now.
        self.vm.last.store(0, SeqCst);
        drop(turn);
        if let Some(slot) = self.vm.vcpus().get_mut(self.index) {
            *slot = None;
        }
    }
}
