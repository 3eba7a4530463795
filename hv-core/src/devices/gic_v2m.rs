//! The window of a `GICv2m` frame, by which stores to memory become SPIs (Arm SBSA, appendix E).

use std::{fmt, ops::Range, sync::Arc};

use super::primecell;
use crate::{
    arch::aarch64::{IrqPlan, MSI_SETSPI},
    bus::BusDevice,
    device::Device,
    irq::{IrqChip, Msi},
};

/// First INTID of the SPIs in bits 16 to 25, their number in bits 0 to 9.
const MSI_TYPER: u64 = 0x008;

/// The frame. A function's own messages do not pass through it: they go to the [`IrqChip`] as they are.
pub struct GicV2m {
    chip: Arc<dyn IrqChip>,
    /// Guest-physical address of `MSI_SETSPI_NS`.
    address: u64,
    intids: Range<u32>,
}

impl GicV2m {
    /// The frame that lies where `plan` says.
    pub fn new(chip: Arc<dyn IrqChip>, plan: &IrqPlan) -> Self {
        Self { chip, address: plan.msi_frame.saturating_add(MSI_SETSPI), intids: plan.msis.clone() }
    }
}

impl BusDevice for GicV2m {
    /// All but `MSI_TYPER` is zero, `MSI_IIDR` among it: a product of no implementer, for which no driver has a quirk.
    fn read(&self, offset: u64, data: &mut [u8]) {
        let count = self.intids.end.saturating_sub(self.intids.start);
        primecell::read(offset, data, |offset| match offset {
            MSI_TYPER => (self.intids.start & 0x3ff) << 16 | count & 0x3ff,
            _ => 0,
        });
    }

    fn write(&self, offset: u64, data: &[u8]) {
        if offset == MSI_SETSPI
            && let Some(intid) = primecell::stored(offset, data)
            && self.intids.contains(&intid)
        {
            self.chip.send_msi(Msi { address: self.address, data: intid });
        }
    }
}

impl Device for GicV2m {
    fn name(&self) -> &str {
        "gic-v2m"
    }

    /// It holds nothing.
    fn reset(&self) {}
}

impl fmt::Debug for GicV2m {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GicV2m")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        arch::aarch64::MSI_FRAME_SIZE,
        bus::Bus,
        devices::testing::{accesses, play},
    };

    const FRAME: u64 = 0x0801_0000;

    #[derive(Default)]
    struct Messages(Mutex<Vec<Msi>>);

    impl IrqChip for Messages {
        fn set_line(&self, _: u32, _: bool) {
            panic!("a frame has no line");
        }
        fn send_msi(&self, message: Msi) {
            self.0.lock().unwrap().push(message);
        }
    }

    fn frame() -> (GicV2m, Arc<Messages>) {
        let chip = Arc::new(Messages::default());
        let plan = IrqPlan {
            distributor: 0x0800_0000,
            redistributors: 0x0a00_0000,
            msi_frame: FRAME,
            msis: 128..640,
            intids: 640,
        };
        (GicV2m::new(chip.clone(), &plan), chip)
    }

    #[test]
    fn the_type_register_tells_the_spis() {
        let (frame, _) = frame();
        let word = |offset| {
            let mut data = [0xff; 4];
            frame.read(offset, &mut data);
            u32::from_le_bytes(data)
        };
        assert_eq!(word(0x008), 128 << 16 | 512);
        assert_eq!((word(0x000), word(0x040), word(0xfcc), word(0xfffc)), (0, 0, 0, 0));
    }

    #[test]
    fn a_store_of_an_spi_of_the_frame_is_a_message() {
        let (frame, chip) = frame();
        let mut bus = Bus::default();
        bus.insert(FRAME, MSI_FRAME_SIZE, Arc::new(frame)).unwrap();
        for intid in [127u32, 128, 639, 640, 0x1_0080, u32::MAX] {
            bus.write(FRAME + 0x40, &intid.to_le_bytes());
        }
        bus.write(FRAME + 0x40, &200u16.to_le_bytes());
        bus.write(FRAME + 0x44, &300u32.to_le_bytes());
        let sent = [128, 639, 200].map(|data| Msi { address: FRAME + 0x40, data });
        assert_eq!(*chip.0.lock().unwrap(), sent);
    }

    proptest! {
        #[test]
        fn any_access_is_answered(accesses in accesses(MSI_FRAME_SIZE)) {
            play([&frame().0, &frame().0], &accesses);
        }
    }
}
