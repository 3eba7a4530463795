//! Small kernels, loaded as a guest finds them.

mod refused;

use vm_memory::Bytes;

use super::*;
use crate::{
    boot::testing::{self, ENTRY, PREFERRED, PVH_ENTRY},
    memory::allocate,
};

const PACKED: usize = testing::PACKED as usize;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const RSDP: u64 = 0xe_0000;
const ECAM: Range<u64> = 0xe000_0000..0xe010_0000;

struct Machine {
    layout: RamLayout,
    ram: GuestRam,
}

impl Machine {
    fn new(size: u64) -> Self {
        let layout = RamLayout::new(size, 3 * GIB..4 * GIB, 448 * GIB).unwrap();
        Self { ram: allocate(&layout).unwrap(), layout }
    }

    fn load(&self, payload: &Payload, protocol: Option<Protocol>) -> Result<CpuState, BootError> {
        let target = Target { ram: &self.ram, layout: &self.layout, reserved: &[ECAM], rsdp: RSDP };
        load(payload, &target, protocol)
    }

    fn read(&self, address: u64, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        self.ram.read_slice(&mut bytes, GuestAddress(address)).unwrap();
        bytes
    }

    fn u32(&self, address: u64) -> u32 {
        self.ram.read_obj(GuestAddress(address)).unwrap()
    }

    fn u64(&self, address: u64) -> u64 {
        self.ram.read_obj(GuestAddress(address)).unwrap()
    }
}

fn payload(kernel: &[u8]) -> Payload {
    Payload { kernel: testing::kernel(kernel), initrd: None, command_line: "console=hvc0".to_owned() }
}

fn with_initrd(kernel: &[u8], size: usize) -> Payload {
    let mut initrd = testing::pattern(size);
    initrd[..6].copy_from_slice(b"070701");
    Payload { initrd: Some(testing::initrd(&initrd)), ..payload(kernel) }
}

#[test]
fn a_bzimage_starts_at_its_64_bit_entry() {
    let machine = Machine::new(16 * MIB);
    let state = machine.load(&with_initrd(&testing::bzimage(), 5000), None).unwrap();
    assert_eq!((state.rip, state.general.rsi), (PREFERRED + 0x200, 0x7000));
    assert_eq!(machine.read(PREFERRED, PACKED), testing::pattern(PACKED));
    assert_eq!(machine.read(COMMAND_LINE, 13), b"console=hvc0\0");
    assert_eq!(machine.u32(0x7228), 0x2_0000);
    // The initial RAM disk: the last pages below the end of RAM.
    assert_eq!((machine.u32(0x7218), machine.u32(0x721c)), (0xff_e000, 5000));
    assert_eq!(machine.read(0xff_e006, 4994), testing::pattern(5000)[6..]);
    assert_eq!(machine.u64(0x7070), RSDP);
    assert_eq!(
        (machine.read(0x71fe, 10), machine.read(0x7210, 2)),
        (testing::bzimage()[0x1fe..0x208].to_vec(), vec![0xff, 1])
    );
    // The setup header ends at 0x202 + 0x6a; what follows stays zero. So do the screen and the sentinel.
    assert_eq!(machine.read(0x726c, 0x64), [0; 0x64]);
    assert_eq!((machine.read(0x7000, 0x70), machine.read(0x71ef, 1)), (vec![0; 0x70], vec![0]));
}

#[test]
fn a_kernel_that_cannot_move_is_loaded_at_1_mib() {
    let mut image = testing::bzimage();
    image[0x234] = 0;
    let machine = Machine::new(16 * MIB);
    assert_eq!(machine.load(&payload(&image), None).unwrap().rip, MIB + 0x200);
    assert_eq!(machine.read(MIB, PACKED), testing::pattern(PACKED));
}

#[test]
fn the_memory_map_tells_ram_and_reservations() {
    let machine = Machine::new(5 * GIB);
    machine.load(&payload(&testing::bzimage()), None).unwrap();
    let entries: Vec<_> = (0..u64::from(machine.read(0x71e8, 1)[0]))
        .map(|index| 0x72d0 + 20 * index)
        .map(|at| (machine.u64(at), machine.u64(at + 8), machine.u32(at + 16)))
        .collect();
    let expected = [
        (0, 0xa_0000, 1),
        (0xe_0000, 0x2_0000, 2),
        (MIB, 3 * GIB - MIB, 1),
        (ECAM.start, MIB, 2),
        (4 * GIB, 2 * GIB, 1),
    ];
    assert_eq!(entries, expected);
}

#[test]
fn the_largest_layout_has_a_sorted_map_without_overlap() {
    let layout = RamLayout::new(511 * GIB, 3 * GIB..4 * GIB, 512 * GIB).unwrap();
    let map = memory_map(&layout, &[ECAM]);
    assert!(map.windows(2).all(|pair| pair[0].range.end <= pair[1].range.start));
    let ram: u64 = map.iter().filter(|e| e.kind == MapKind::Ram).map(|e| e.range.end - e.range.start).sum();
    assert_eq!(ram, 511 * GIB - (MIB - LOW_RAM_END));
}

#[test]
fn a_linux_elf_kernel_starts_at_its_64_bit_entry() {
    let machine = Machine::new(16 * MIB);
    machine.ram.write_slice(&[0xee; 0x5000], GuestAddress(0x10_0000)).unwrap();
    let state = machine.load(&payload(&testing::vmlinux()), None).unwrap();
    assert_eq!(state, registers::long_mode(ENTRY));
    assert_eq!(machine.read(0x10_0000, 5000), testing::pattern(5000));
    assert_eq!(machine.read(0x10_2000, 100), testing::pattern(100));
    assert_eq!(machine.read(0x10_2064, 8900), vec![0; 8900], "bss");
    assert_eq!(machine.read(0x10_2000 + 9000, 1), [0xee]);
    assert_eq!(machine.read(0x71fe, 2), b"\x55\xaa");
    assert_eq!((machine.read(0x7202, 6), machine.read(0x7210, 2)), (b"HdrS\x0f\x02".to_vec(), vec![0xff, 1]));
}

#[test]
fn the_first_core_is_in_long_mode_with_the_first_4_gib_mapped() {
    let machine = Machine::new(16 * MIB);
    let state = machine.load(&payload(&testing::vmlinux()), None).unwrap();
    assert_eq!((state.cr0, state.cr4, state.efer, state.rflags), (0x8000_0011, 0x20, 0x500, 2));
    assert_eq!((state.segments.cs.selector, state.segments.ss.selector), (0x10, 0x18));
    assert_eq!((state.gdt.base, state.gdt.limit), (0x500, 47));
    assert_eq!((machine.u64(0x510), machine.u64(0x518)), (0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff));
    assert_eq!(machine.u64(0x520), 0x0000_8b00_0000_0067);
    for address in [0, 0x7000, ENTRY, 0x1234_5678, 4 * GIB - 1] {
        assert_eq!(translate(&machine, state.cr3, address), Some(address));
    }
    assert_eq!(translate(&machine, state.cr3, 4 * GIB), None);
}

/// Walks the page tables as a core does (SDM vol. 3, 4.5).
fn translate(machine: &Machine, cr3: u64, address: u64) -> Option<u64> {
    let entry = |table: u64, shift: u32| {
        let entry = machine.u64((table & !0xfff) + (address >> shift & 0x1ff) * 8);
        (entry & 0b11 == 0b11).then_some(entry)
    };
    let large = entry(entry(entry(cr3, 39)?, 30)?, 21)?;
    (large & 0x80 != 0).then_some((large & !0x1f_ffff) + (address & 0x1f_ffff))
}

#[test]
fn pvh_is_entered_where_its_note_says() {
    let machine = Machine::new(16 * MIB);
    let state = machine.load(&with_initrd(&testing::vmlinux(), 5000), Some(Protocol::Pvh)).unwrap();
    assert_eq!((state.rip, state.general.rbx), (PVH_ENTRY, 0x7000));
    assert_eq!((state.cr0, state.cr4, state.efer, state.segments.cs.attributes), (0x11, 0, 0, 0xc09b));
    assert_eq!([0, 4, 8, 12].map(|offset| machine.u32(0x7000 + offset)), [0x336e_c578, 1, 0, 1]);
    assert_eq!([16, 24, 32].map(|offset| machine.u64(0x7000 + offset)), [0x7040, 0x2_0000, RSDP]);
    assert_eq!((machine.u64(0x7040), machine.u64(0x7048)), (0xff_e000, 5000));
    let (map, entries) = (machine.u64(0x7028), machine.u32(0x7030));
    assert_eq!(entries, 4);
    assert_eq!((machine.u64(map + 48), machine.u64(map + 56), machine.u32(map + 64)), (MIB, 15 * MIB, 1));
}

#[test]
fn an_elf_kernel_that_is_not_linux_starts_by_pvh() {
    let segment = testing::load(0x10_0000, testing::pattern(5000), 5000);
    let note = testing::notes(&[testing::note(b"Xen", 18, &[0x40, 0, 0x10, 0])]);
    let machine = Machine::new(16 * MIB);
    let rip = |entry: u64, segments: &[testing::MakeSegment], protocol| {
        machine.load(&payload(&testing::elf(entry, segments)), protocol).map(|state| state.rip)
    };
    assert_eq!(rip(ENTRY, &[segment.clone(), note.clone()], None).unwrap(), PVH_ENTRY);
    assert_eq!(rip(0xffff_ffff_8010_0000, &[segment.clone(), note], None).unwrap(), PVH_ENTRY);
    assert_eq!(rip(ENTRY, std::slice::from_ref(&segment), None).unwrap(), ENTRY);
    let line = rip(ENTRY, std::slice::from_ref(&segment), Some(Protocol::Pvh)).unwrap_err().to_string();
    assert!(line.contains("has no PVH entry"), "{line}");
    let line = rip(0x20_0000, &[segment], None).unwrap_err().to_string();
    assert!(line.contains("has no entry inside its segments"), "{line}");
}

#[test]
fn a_second_load_is_like_the_first() {
    let machine = Machine::new(16 * MIB);
    let payload = with_initrd(&testing::vmlinux(), 5000);
    let first = (machine.load(&payload, None).unwrap(), machine.read(0, 16 << 20));
    for (address, size) in
        [(0x500, 48), (0x7000, 0x8000), (0x10_0000, 5000), (0x10_2000, 9000), (0xff_e000, 5000)]
    {
        machine.ram.write_slice(&vec![0xdd; size], GuestAddress(address)).unwrap();
    }
    let state = machine.load(&payload, None).unwrap();
    assert_eq!(state, first.0);
    let differ =
        |index: &usize| machine.ram.read_obj::<u8>(GuestAddress(*index as u64)).unwrap() != first.1[*index];
    assert_eq!((0x10_0000..0x10_5000).find(differ), None);
    assert_eq!((0..0x8000).chain(0x9000..0xf000).chain(0xff_e000..0xff_f388).find(differ), None);
}
