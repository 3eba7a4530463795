//! Stores and loads of each width at `DEVICE`; reports what was loaded, zero- and sign-extended.
#![no_std]
#![no_main]
#[path = "../guest.rs"]
mod guest;
use guest::{DEVICE, load, report, store};

#[unsafe(no_mangle)]
extern "C" fn main() -> ! {
    store(DEVICE + 1, 0x11_u8);
    store(DEVICE + 2, 0x2221_u16);
    store(DEVICE + 4, 0x4443_4241_u32);
    store(DEVICE + 8, 0x8887_8685_8483_8281_u64);
    report(load::<u8>(DEVICE + 1).into());
    report(load::<u16>(DEVICE + 2).into());
    report(load::<u32>(DEVICE + 4).into());
    report(load::<u64>(DEVICE + 8));
    report(i64::from(load::<i8>(DEVICE + 1)).cast_unsigned());
    report(i64::from(load::<i32>(DEVICE + 4)).cast_unsigned());
    guest::halt()
}
