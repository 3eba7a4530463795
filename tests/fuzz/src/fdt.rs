//! The device tree of any machine.

use std::ops::Range;

use hv_core::{
    arch::aarch64::IrqPlan,
    tables::{
        aarch64::{Description, Pci, Window},
        fdt::{Chosen, MOST, build},
    },
};

use crate::Input;

/// A machine with addresses, sizes and numbers from the bytes, and a command line of them.
///
/// The tree is whole and no larger than it may be, or refused in one line.
///
/// # Panics
/// One of these is not so.
pub fn fdt(data: &[u8]) {
    let mut input = Input::new(data);
    let ram = range(&mut input);
    let mut machine = machine(ram);
    machine.affinities = (0..input.below(80)).map(|_| input.number()).collect();
    machine.irq = IrqPlan {
        distributor: input.number(),
        redistributors: input.number(),
        msi_frame: input.number(),
        msis: input.u32()..input.u32(),
        intids: input.u32(),
    };
    machine.uart = window(&mut input);
    machine.clock = window(&mut input);
    machine.gpio = window(&mut input);
    machine.power_button = input.u8();
    machine.pci.ecam = range(&mut input);
    machine.pci.window = range(&mut input);
    machine.pci.slot_spis = [input.u32(); 32];
    machine.virtio_mmio = (0..input.below(40)).map(|_| window(&mut input)).collect();
    let initrd = range(&mut input);
    let command_line = String::from_utf8_lossy(input.bytes(data.len()));
    let chosen = Chosen { command_line: &command_line, initrd, seed: &[3; 64] };
    match build(&machine, &chosen) {
        Ok(tree) => assert!(check(&tree) == tree.len() as u64 && tree.len() <= MOST),
        Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
    }
}

fn range(input: &mut Input<'_>) -> Range<u64> {
    input.number()..input.number()
}

fn window(input: &mut Input<'_>) -> Window {
    Window { base: input.number(), size: input.number(), spi: input.u32() }
}

/// A machine with `ram`.
pub(crate) fn machine(ram: Range<u64>) -> Description {
    let window = |base| Window { base, size: 0x1000, spi: 1 };
    Description {
        ram,
        affinities: vec![0],
        irq: IrqPlan {
            distributor: 0x0800_0000,
            redistributors: 0x0a00_0000,
            msi_frame: 0x0801_0000,
            msis: 128..640,
            intids: 640,
        },
        uart: window(0x0900_0000),
        uart_clock: 24_000_000,
        clock: window(0x0901_0000),
        gpio: window(0x0902_0000),
        power_button: 3,
        pci: Pci { ecam: 0x3f00_0000..0x3f10_0000, window: 0x1000_0000..0x3000_0000, slot_spis: [16; 32] },
        virtio_mmio: Vec::new(),
    }
}

/// Checks the start of a tree, and says how large it is.
pub(crate) fn check(head: &[u8]) -> u64 {
    assert_eq!(head[..4], [0xd0, 0x0d, 0xfe, 0xed]);
    u64::from(u32::from_be_bytes([head[4], head[5], head[6], head[7]]))
}
