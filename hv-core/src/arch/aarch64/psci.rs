//! `Psci`: the Power State Coordination Interface, version 1.1 (Arm DEN0022), as a state machine: calls in, effects out.

use super::{
    affinity,
    smccc::{self, Call, NOT_SUPPORTED},
};

/// Function identifiers (DEN0022, 5.1). A name that ends in `_64` is the 64-bit form of the call.
#[expect(missing_docs, reason = "each constant is the function of its name")]
pub mod function {
    pub const VERSION: u32 = 0x8400_0000;
    pub const CPU_SUSPEND: u32 = 0x8400_0001;
    pub const CPU_SUSPEND_64: u32 = 0xc400_0001;
    pub const CPU_OFF: u32 = 0x8400_0002;
    pub const CPU_ON: u32 = 0x8400_0003;
    pub const CPU_ON_64: u32 = 0xc400_0003;
    pub const AFFINITY_INFO: u32 = 0x8400_0004;
    pub const AFFINITY_INFO_64: u32 = 0xc400_0004;
    pub const MIGRATE_INFO_TYPE: u32 = 0x8400_0006;
    pub const SYSTEM_OFF: u32 = 0x8400_0008;
    pub const SYSTEM_RESET: u32 = 0x8400_0009;
    pub const FEATURES: u32 = 0x8400_000a;
    pub const SYSTEM_RESET2: u32 = 0x8400_0012;
    pub const SYSTEM_RESET2_64: u32 = 0xc400_0012;
}

use function::*;

/// Return codes as X0 holds them (DEN0022, 5.2.2).
#[expect(missing_docs, reason = "each constant is the code of its name")]
pub mod code {
    pub const SUCCESS: u64 = 0;
    pub const NOT_SUPPORTED: u64 = super::NOT_SUPPORTED;
    pub const INVALID_PARAMETERS: u64 = (-2_i64).cast_unsigned();
    pub const DENIED: u64 = (-3_i64).cast_unsigned();
    pub const ALREADY_ON: u64 = (-4_i64).cast_unsigned();
    pub const ON_PENDING: u64 = (-5_i64).cast_unsigned();
    pub const INVALID_ADDRESS: u64 = (-9_i64).cast_unsigned();
}

/// What [`function::VERSION`] answers: 1.1.
const VERSION_1_1: u64 = 0x1_0001;
/// [`function::MIGRATE_INFO_TYPE`]: no Trusted OS that would have to migrate (DEN0022, 5.1.6).
const NO_TRUSTED_OS: u64 = 2;
/// Reserved bits of `power_state` in its original format (DEN0022, 5.4.2).
const POWER_STATE_RESERVED: u64 = 0xfcfe_0000;
/// The fields of an affinity in `MPIDR_EL1`.
const AFFINITY_MASK: u64 = 0xff_00ff_ffff;

/// Where a core begins (DEN0022, 6.4): EL1, MMU off, X0 = `context`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Guest-physical address of the first instruction.
    pub entry: u64,
    /// X0.
    pub context: u64,
}

/// A core's power state, as [`function::AFFINITY_INFO`] tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// It runs, or waits for an interrupt.
    On,
    /// It waits for a [`Start`].
    Off,
    /// It has a [`Start`] and has not begun.
    OnPending,
}

/// What a call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The caller goes on with this in X0.
    Return(u64),
    /// Core `core` starts; the caller goes on with [`code::SUCCESS`] in X0.
    Start {
        /// Index of the core, which is off.
        core: u32,
        /// Where it begins.
        start: Start,
    },
    /// The caller is off.
    Off,
    /// The caller waits for an interrupt and goes on with [`code::SUCCESS`] in X0.
    Suspend,
    /// The machine is switched off; the call does not return.
    SystemOff,
    /// The machine is reset; the call does not return.
    SystemReset,
}

/// The power states of a machine's cores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Psci {
    cores: Vec<Power>,
    /// Entry points lie below this.
    address_end: u64,
}

impl Psci {
    /// A machine of `vcpus` cores at power-on, numbered as [`affinity`] does, with guest-physical addresses of
    /// `address_bits`.
    pub fn new(vcpus: u32, address_bits: u8) -> Self {
        let cores = (0..vcpus).map(at_power_on).collect();
        Self { cores, address_end: 1_u64.checked_shl(address_bits.into()).unwrap_or(u64::MAX) }
    }

    /// Back to power-on: core 0 is on, all others off.
    pub fn reset(&mut self) {
        for (core, index) in self.cores.iter_mut().zip(0..) {
            *core = at_power_on(index);
        }
    }

    /// The power state of core `index`; a core that is not there is off.
    pub fn power(&self, index: u32) -> Power {
        self.core(index).map_or(Power::Off, |at| self.cores[at])
    }

    /// Core `index` begins, if it has a [`Start`].
    pub fn begun(&mut self, index: u32) {
        if let Some(at) = self.core(index)
            && self.cores[at] == Power::OnPending
        {
            self.cores[at] = Power::On;
        }
    }

    /// Core `caller` makes `call`. An unknown function returns [`code::NOT_SUPPORTED`].
    pub fn call(&mut self, caller: u32, call: Call) -> Effect {
        let [first, second, third] = call.arguments;
        match call.function {
            smccc::VERSION => Effect::Return(smccc::VERSION_1_1),
            smccc::ARCH_FEATURES => Effect::Return(smccc::arch_features(first)),
            VERSION => Effect::Return(VERSION_1_1),
            FEATURES => Effect::Return(features(first)),
            MIGRATE_INFO_TYPE => Effect::Return(NO_TRUSTED_OS),
            CPU_SUSPEND | CPU_SUSPEND_64 => suspend(first),
            CPU_OFF => self.off(caller),
            CPU_ON | CPU_ON_64 => self.on(first, Start { entry: second, context: third }),
            AFFINITY_INFO | AFFINITY_INFO_64 => Effect::Return(self.affinity_info(first, second)),
            SYSTEM_OFF => Effect::SystemOff,
            SYSTEM_RESET => Effect::SystemReset,
            SYSTEM_RESET2 | SYSTEM_RESET2_64 => reset2(first),
            _ => Effect::Return(NOT_SUPPORTED),
        }
    }

    fn core(&self, index: u32) -> Option<usize> {
        usize::try_from(index).ok().filter(|at| *at < self.cores.len())
    }

    /// `CPU_OFF` (DEN0022, 5.1.3).
    fn off(&mut self, caller: u32) -> Effect {
        let Some(at) = self.core(caller) else { return Effect::Return(code::DENIED) };
        self.cores[at] = Power::Off;
        Effect::Off
    }

    /// `CPU_ON` (DEN0022, 5.1.4).
    fn on(&mut self, target: u64, start: Start) -> Effect {
        let Some((power, core)) =
            self.cores.iter_mut().zip(0..).find(|(_, index)| affinity(*index) == target)
        else {
            return Effect::Return(code::INVALID_PARAMETERS);
        };
        match power {
            Power::On => Effect::Return(code::ALREADY_ON),
            Power::OnPending => Effect::Return(code::ON_PENDING),
            Power::Off if !start.entry.is_multiple_of(4) || start.entry >= self.address_end => {
                Effect::Return(code::INVALID_ADDRESS)
            }
            Power::Off => {
                *power = Power::OnPending;
                Effect::Start { core, start }
            }
        }
    }

    /// `AFFINITY_INFO` (DEN0022, 5.1.5): whether any core below the affinity instance is on.
    fn affinity_info(&self, target: u64, lowest_level: u64) -> u64 {
        let ignored = match lowest_level {
            0 => 0,
            1 => 0xff,
            2 => 0xffff,
            3 => 0xff_ffff,
            _ => return code::INVALID_PARAMETERS,
        };
        if target & !AFFINITY_MASK != 0 {
            return code::INVALID_PARAMETERS;
        }
        let below = self.cores.iter().zip(0..);
        let states = || below.clone().filter(|(_, index)| affinity(*index) & !ignored == target & !ignored);
        let any = |wanted| states().any(|(power, _)| *power == wanted);
        if any(Power::On) {
            0
        } else if any(Power::OnPending) {
            2
        } else if any(Power::Off) {
            1
        } else {
            code::INVALID_PARAMETERS
        }
    }
}

fn at_power_on(index: u32) -> Power {
    if index == 0 { Power::On } else { Power::Off }
}

/// `PSCI_FEATURES` (DEN0022, 5.1.15). For `CPU_SUSPEND` 0 says: the original format of `power_state`, platform-coordinated.
fn features(function: u64) -> u64 {
    match u32::try_from(function & 0xffff_ffff).unwrap_or_default() {
        smccc::VERSION
        | VERSION
        | CPU_SUSPEND
        | CPU_SUSPEND_64
        | CPU_OFF
        | CPU_ON
        | CPU_ON_64
        | AFFINITY_INFO
        | AFFINITY_INFO_64
        | MIGRATE_INFO_TYPE
        | SYSTEM_OFF
        | SYSTEM_RESET
        | FEATURES
        | SYSTEM_RESET2
        | SYSTEM_RESET2_64 => code::SUCCESS,
        _ => NOT_SUPPORTED,
    }
}

/// `CPU_SUSPEND` (DEN0022, 5.1.2). Power-down is executed as standby, which 5.4.2 allows: the caller keeps its state
/// and goes on after the call.
fn suspend(power_state: u64) -> Effect {
    if power_state & POWER_STATE_RESERVED == 0 {
        Effect::Suspend
    } else {
        Effect::Return(code::INVALID_PARAMETERS)
    }
}

/// `SYSTEM_RESET2` (DEN0022, 5.1.11): `SYSTEM_WARM_RESET` alone; vendors' own types (bit 31) and reserved ones are not known.
fn reset2(reset_type: u64) -> Effect {
    // The type is 32 bits wide in both forms of the call.
    if reset_type & 0xffff_ffff == 0 { Effect::SystemReset } else { Effect::Return(code::INVALID_PARAMETERS) }
}

#[cfg(test)]
mod tests;
