//! The system registers that trap.

use backend_hvf::system_registers::{Read, TrappedRegisters, Write};
use hv_core::arch::aarch64::SystemRegister;

use crate::Input;

/// Any reads and writes. What a register is does not change: UNDEFINED once is UNDEFINED for ever; a reset undoes all.
///
/// # Panics
/// The registers break one of these.
pub fn trapped_registers(data: &[u8]) {
    let mut input = Input::new(data);
    let mut registers = TrappedRegisters::new();
    while !input.is_empty() {
        // Debug registers more often than others.
        let number = if input.flag() { 0x8000 | input.u16() & 0x7ff } else { input.u16() };
        let (register, value) = (SystemRegister(number), input.u64());
        let before = registers.read(register);
        let written = registers.write(register, value);
        let after = registers.read(register);
        assert_eq!(before == Read::Undefined, after == Read::Undefined);
        if written == Write::Undefined {
            assert_eq!(before, after);
        }
        let mut fresh = TrappedRegisters::new();
        assert_eq!(written, fresh.write(register, value));
        if input.u8() == 0 {
            registers.reset();
            assert_eq!(registers.read(register), TrappedRegisters::new().read(register));
        }
    }
}
