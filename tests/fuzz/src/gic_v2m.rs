//! The window of a `GICv2m` frame.

use std::sync::Arc;

use hv_core::{
    arch::aarch64::{IrqPlan, MSI_FRAME_SIZE, MSI_SETSPI},
    devices::gic_v2m::GicV2m,
    irq::Msi,
    testing::RecordingChip,
};

use crate::{Input, twins::Access};

const FRAME: u64 = 0x0801_0000;

/// Any accesses. A store to the frame's register, of an SPI that is the frame's, is its message; nothing else is.
///
/// # Panics
/// The frame breaks this.
pub fn gic_v2m(data: &[u8]) {
    let mut input = Input::new(data);
    let first = 32 + u32::from(input.u16()) % 512;
    let end = first + u32::from(input.u16()) % 512;
    let plan =
        IrqPlan { distributor: 0, redistributors: 0, msi_frame: FRAME, msis: first..end, intids: 1024 };
    let (chip, other) = (Arc::new(RecordingChip::default()), Arc::new(RecordingChip::default()));
    let (one, two) = (GicV2m::new(chip.clone(), &plan), GicV2m::new(other, &plan));
    while !input.is_empty() {
        let access = Access::read(&mut input, MSI_FRAME_SIZE).near(&mut input, &[MSI_SETSPI, 0x008, 0xfcc]);
        let before = chip.interrupts();
        access.play(&one, &two);
        let mut value = [0; 4];
        if let (MSI_SETSPI, Some(store)) = (access.offset, &access.store) {
            value.iter_mut().zip(store).for_each(|(byte, stored)| *byte = *stored);
        }
        let intid = u32::from_le_bytes(value);
        let is_message = plan.msis.contains(&intid);
        assert_eq!(chip.interrupts() - before, u64::from(is_message), "{intid} in {first}..{end}");
        assert_eq!(chip.take_msi(Msi { address: FRAME + MSI_SETSPI, data: intid }), is_message);
    }
}
