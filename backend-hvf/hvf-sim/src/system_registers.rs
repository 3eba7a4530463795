//! Which system registers `hv_vcpu_get_sys_reg` knows (header: `hv_sys_reg_t`, macOS 15.0), and where their values are.

use crate::{
    error::{Error, Result},
    identity,
    vcpu::Vcpu,
};

const MDCCINT: u16 = 0x8010;
const MIDR: u16 = 0xc000;
const MPIDR: u16 = 0xc005;
const ACTLR: u16 = 0xc081;
const SP_EL0: u16 = 0xc208;
const SP_EL1: u16 = 0xe208;
const CNTV_CTL: u16 = 0xdf19;
const CNTV_CVAL: u16 = 0xdf1a;
/// What can be set in `ACTLR_EL1` (header: only `EnTSO`).
const ACTLR_BITS: u64 = 1 << 1;
/// Bits of `MPIDR_EL1` that are the affinity, with what its rules fix beside it: RES1 at 31, U and MT clear.
const AFFINITY: u64 = 0xff_00ff_ffff;

/// Registers with a name of their own, but for debug and ID registers.
const NAMED: &[u16] = &[
    0x8012, 0xc080, 0xc082, 0xc100, 0xc101, 0xc102, 0xc108, 0xc109, 0xc10a, 0xc10b, 0xc110, 0xc111, 0xc112,
    0xc113, 0xc118, 0xc119, 0xc200, 0xc201, 0xc288, 0xc289, 0xc290, 0xc300, 0xc3a0, 0xc510, 0xc518, 0xc600,
    0xc681, 0xc684, 0xc708, 0xd000, 0xde82, 0xde83,
];
/// ID registers that have a name before macOS 15.2.
const NAMED_ID: &[u16] = &[0xc020, 0xc021, 0xc028, 0xc029, 0xc030, 0xc031, 0xc038, 0xc039, 0xc03a];

/// `DBGBVRn`, `DBGBCRn`, `DBGWVRn`, `DBGWCRn` of 16 each.
fn is_breakpoint(register: u16) -> bool {
    register & !0x7f == 0x8000 && register & 7 >= 4
}

/// Reads a register. EL2's and the physical timer's are there only with EL2 (header), which this host has not.
pub(crate) fn read(vcpu: &Vcpu, register: u16) -> Result<u64> {
    let context = &vcpu.context;
    match register {
        MIDR => Ok(vcpu.main_id),
        MPIDR => Ok(vcpu.affinity.unwrap_or(identity::NO_AFFINITY)),
        SP_EL0 => Ok(context.stack(0)),
        SP_EL1 => Ok(context.stack(1)),
        CNTV_CTL => Ok(context.timer().control),
        CNTV_CVAL => Ok(context.timer().compare),
        ACTLR | MDCCINT => Ok(vcpu.other(register)),
        _ if NAMED_ID.contains(&register) => {
            Ok(identity::index(register).map_or(0, |index| context.id(index)))
        }
        _ if NAMED.contains(&register) || is_breakpoint(register) => {
            Ok(context.system(register).unwrap_or_else(|| vcpu.other(register)))
        }
        _ => Err(Error::BadArgument),
    }
}

/// Writes a register.
pub(crate) fn write(vcpu: &mut Vcpu, register: u16, value: u64) -> Result<()> {
    let mut timer = vcpu.context.timer();
    match register {
        MIDR => {
            vcpu.main_id = value;
            vcpu.context.set_main_id(value);
        }
        // Model: nothing but an affinity is taken.
        MPIDR if value & !AFFINITY == identity::NO_AFFINITY || value & !AFFINITY == 0 => {
            vcpu.set_affinity(value | identity::NO_AFFINITY)?;
        }
        SP_EL0 => vcpu.context.set_stack(0, value),
        SP_EL1 => vcpu.context.set_stack(1, value),
        CNTV_CTL => {
            timer.control = value;
            vcpu.context.set_timer(&timer);
        }
        CNTV_CVAL => {
            timer.compare = value;
            vcpu.context.set_timer(&timer);
        }
        ACTLR => vcpu.set_other(register, value & ACTLR_BITS),
        MDCCINT => vcpu.set_other(register, value),
        _ if NAMED_ID.contains(&register) => {
            let index = identity::index(register).ok_or(Error::BadArgument)?;
            // Model: what the guest may have read does not change.
            if vcpu.has_run && vcpu.context.id(index) != value {
                return Err(Error::Busy);
            }
            vcpu.context.set_id(index, value);
        }
        _ if NAMED.contains(&register) || is_breakpoint(register) => {
            if !vcpu.context.set_system(register, value) {
                vcpu.set_other(register, value);
            }
        }
        _ => return Err(Error::BadArgument),
    }
    Ok(())
}
