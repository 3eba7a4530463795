//! A machine to describe, for tests.

use crate::{
    arch::aarch64::{IrqPlan, affinity},
    tables::aarch64::{Description, Pci, Window},
};

pub(crate) fn description() -> Description {
    Description {
        ram: 0x8000_0000..0xc000_0000,
        affinities: (0..2).map(affinity).collect(),
        irq: IrqPlan {
            distributor: 0x0800_0000,
            redistributors: 0x0a00_0000,
            msi_frame: 0x0801_0000,
            msis: 128..640,
            intids: 640,
        },
        uart: Window { base: 0x0900_0000, size: 0x1000, spi: 1 },
        uart_clock: 24_000_000,
        clock: Window { base: 0x0901_0000, size: 0x1000, spi: 2 },
        gpio: Window { base: 0x0902_0000, size: 0x1000, spi: 3 },
        power_button: 3,
        pci: Pci {
            ecam: 0x3f00_0000..0x3f10_0000,
            window: 0x1000_0000..0x3000_0000,
            slot_spis: std::array::from_fn(|slot| [16, 17, 18, 19, 20, 21, 22, 23][slot % 8]),
        },
        virtio_mmio: Vec::new(),
    }
}
