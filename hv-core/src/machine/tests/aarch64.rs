//! The aarch64 machine by a test's hand: things are where docs/machine-hv-1.md says.

use std::{collections::BTreeSet, ops::Range};

use fdt::Fdt;
use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::{
    arch::aarch64::{Aarch64, Facts, IrqPlan},
    boot::testing::arm64_image,
    devices::PowerEvents,
    hypervisor::NoReclaimer,
    memory::allocate,
    testing::RecordingChip,
    virtio::Surroundings,
};

const GIB: u64 = 1 << 30;
const RAM: u64 = 0x8000_0000;
const ECAM: u64 = 0x3f00_0000;
const PCI_WINDOW: Range<u64> = 0x1000_0000..0x3000_0000;
const VIRTIO_MMIO: u64 = 0x0d00_0000;

const FACTS: Facts = Facts { max_vcpus: 64, physical_address_bits: 40 };

/// Nobody asks for power events on this machine: PSCI is the backend's.
struct Nobody;

impl PowerEvents for Nobody {
    fn power_off(&self) {
        panic!("no device switches off");
    }
    fn reset(&self) {
        panic!("no device resets");
    }
}

/// The devices and the RAM of a machine without a core.
struct Devices {
    shape: Shape,
    furnished: Furnished,
    memory: Arc<Bus>,
    chip: Arc<RecordingChip>,
    ram: GuestRam,
    serial: Arc<Mutex<Vec<u8>>>,
}

impl Devices {
    fn new(config: &MachineConfig, virtio: VirtioDevices) -> Self {
        let plan = Aarch64::plan(&FACTS, config).unwrap();
        let ram = allocate(&plan.ram).unwrap();
        let slots = board::slots(&virtio).unwrap();
        let shape = Shape { config: config.clone(), ram: plan.ram, slots };
        let chip = Arc::<RecordingChip>::default();
        let doorbells = Arc::new(SoftDoorbells::default());
        let threads = Threads::of_any_kind();
        let surroundings =
            Surroundings { ram: ram.clone(), doorbells, reclaimer: Arc::new(NoReclaimer), threads };
        let kit = Kit::new(&shape, chip.clone(), surroundings, Arc::new(Nobody));
        let serial = Arc::<Mutex<Vec<u8>>>::default();
        let sink = Box::new(WaitingSink::new(serial.clone()));
        let clock = Box::new(|| SystemTime::UNIX_EPOCH + Duration::from_secs(0x1234_5678));
        let mut furnished = Aarch64::furnish(kit, sink, clock, virtio).unwrap();
        let memory = Arc::new(std::mem::take(&mut furnished.memory));
        Self { shape, furnished, memory, chip, ram, serial }
    }

    fn load<const N: usize>(&self, address: u64) -> [u8; N] {
        let mut data = [0; N];
        self.memory.read(address, &mut data);
        data
    }

    fn u32(&self, address: u64) -> u32 {
        u32::from_le_bytes(self.load(address))
    }

    fn store(&self, address: u64, value: u32) {
        self.memory.write(address, &value.to_le_bytes());
    }

    /// The device tree, by a boot of a small kernel.
    fn tree(&self) -> Vec<u8> {
        let state = Aarch64::boot(&payload(), &self.ram, &self.shape).unwrap();
        assert_eq!((state.pc, state.pstate), (RAM, 0x3c5));
        let mut tree = vec![0; 0x1_0000];
        self.ram.read_slice(&mut tree, GuestAddress(state.x[0])).unwrap();
        tree
    }
}

fn payload() -> Payload {
    Payload { kernel: kernel(&arm64_image()), initrd: None, command_line: "console=ttyAMA0".to_owned() }
}

fn devices(transport: Transport) -> Devices {
    Devices::new(&config(transport, 2), vec![console(1), entropy(2), entropy(31)])
}

fn plan(bits: u8, cpus: u32, memory: u64) -> Result<(u8, Vec<Range<u64>>), String> {
    let facts = Facts { max_vcpus: 8, physical_address_bits: bits };
    let config = MachineConfig { memory, ..config(Transport::Pci, cpus) };
    let plan = Aarch64::plan(&facts, &config).map_err(|error| line(&error))?;
    Ok((plan.address_bits, plan.ram.ranges().to_vec()))
}

#[test]
fn ram_is_one_block_from_2_gib_in_as_narrow_addresses_as_hold_it() {
    let block = |memory: u64| vec![Range { start: RAM, end: RAM + memory }];
    assert_eq!(plan(36, 1, 64 * MIB), Ok((36, block(64 * MIB))));
    assert_eq!(plan(48, 1, 62 * GIB), Ok((36, block(62 * GIB))));
    assert_eq!(plan(40, 1, 62 * GIB + MIB), Ok((40, block(62 * GIB + MIB))));
    assert_eq!(plan(48, 1, 1022 * GIB), Ok((40, block(1022 * GIB))));
}

#[test]
fn what_a_host_or_the_machine_cannot_give_is_named() {
    for bits in [36, 39] {
        assert_eq!(
            plan(bits, 1, 63 * GIB),
            Err(format!(
                "memory of 64512 MiB needs 40-bit physical addresses and this host's guests have {bits}: \
                 give at most --memory 63488M"
            ))
        );
    }
    let narrow = "this host's guests have 35-bit physical addresses; machine type hv-1 needs 36";
    assert_eq!(plan(35, 1, MIB), Err(narrow.to_owned()));
    assert_eq!(plan(48, 9, MIB), Err("9 vCPUs are not possible here: give 1 to 8 by --cpus".to_owned()));
    let most = "memory of 1047552 MiB is more than this machine can address: give at most --memory 1046528M";
    assert_eq!(plan(48, 1, 1023 * GIB), Err(most.to_owned()));
    assert!(plan(48, 1, u64::MAX / GIB * GIB).unwrap_err().contains("more than this machine can address"));
    assert!(plan(48, 1, 0).unwrap_err().contains("0 bytes of memory"));
}

#[test]
fn interrupt_controllers_are_where_the_document_says() {
    let plan = Aarch64::plan(&FACTS, &config(Transport::Pci, 1)).unwrap();
    let expected = IrqPlan {
        distributor: 0x0800_0000,
        redistributors: 0x0a00_0000,
        msi_frame: 0x0801_0000,
        msis: 128..640,
        intids: 640,
    };
    assert_eq!(plan.irq, expected);
    let devices = devices(Transport::Pci);
    assert_eq!(devices.u32(0x0801_0008), 128 << 16 | 512);
    devices.store(0x0801_0040, 200);
    assert!(devices.chip.take_msi(crate::irq::Msi { address: 0x0801_0040, data: 200 }));
}

#[test]
fn platform_devices_are_where_the_document_says() {
    let devices = devices(Transport::Pci);
    // The part number in the identification registers.
    for (base, part) in [(0x0900_0000, 0x11), (0x0901_0000, 0x31), (0x0902_0000, 0x61)] {
        assert_eq!(devices.u32(base + 0xfe0), part, "{base:#x}");
    }
    // UARTCR: enabled, transmit and receive; UARTDR.
    devices.store(0x0900_0030, 0x301);
    devices.store(0x0900_0000, b'h'.into());
    assert_eq!(*devices.serial.lock().unwrap(), b"h");
    assert_eq!(devices.u32(0x0901_0000), 0x1234_5678);
}

#[test]
fn platform_devices_have_their_lines() {
    let devices = devices(Transport::Pci);
    // UARTCR: enabled, transmit and receive, DTR and RTS; UARTIMSC: receive and receive timeout.
    devices.store(0x0900_0030, 0xf01);
    devices.store(0x0900_0038, 0x50);
    assert!(!devices.chip.line(1));
    assert_eq!(devices.furnished.serial_input.send(b"x"), 1);
    assert!(devices.chip.line(1), "PL011");
    // RTCMR, RTCIMSC: an alarm at this second.
    devices.store(0x0901_0010, 1);
    devices.store(0x0901_0004, 0x1234_5678);
    assert!(devices.chip.line(2), "PL031");
    // GPIOIEV, GPIOIE: the power button's line, rising edge.
    assert!(!devices.furnished.power_button.press());
    devices.furnished.devices.iter().for_each(|device| device.reset());
    devices.store(0x0902_040c, 1 << 3);
    devices.store(0x0902_0410, 1 << 3);
    assert!(!devices.chip.line(3));
    assert!(devices.furnished.power_button.press());
    assert!(devices.chip.line(3), "PL061");
}

#[test]
fn pci_functions_are_in_their_slots_and_their_bars_in_the_window() {
    let devices = devices(Transport::Pci);
    for slot in 0..32_u64 {
        let function = ECAM + (slot << 15);
        let id = devices.u32(function);
        match slot {
            0 => assert_eq!(devices.load(function + 0xb), [0x06], "a host bridge"),
            1 | 2 | 31 => {
                assert_eq!(id & 0xffff, 0x1af4, "slot {slot}");
                let bars: Vec<_> = (0x10..0x28).step_by(4).map(|at| devices.u32(function + at)).collect();
                let placed: Vec<_> = bars.iter().filter(|bar| *bar & !0xf != 0).collect();
                assert!(!placed.is_empty());
                assert!(placed.iter().all(|bar| PCI_WINDOW.contains(&u64::from(*bar & !0xf))), "{bars:x?}");
            }
            _ => assert_eq!(id, u32::MAX, "slot {slot}"),
        }
    }
}

#[test]
fn devices_work_on_each_transport_by_the_lines_of_their_slots() {
    for (transport, slot) in
        [(Transport::Pci, 2), (Transport::Pci, 31), (Transport::Mmio, 2), (Transport::Mmio, 31)]
    {
        let devices = devices(transport);
        let (memory, chip) = (Arc::clone(&devices.memory), devices.chip.clone());
        let doorbells = SoftDoorbells::default();
        let spi = 16 + u32::from(slot) % 8;
        let registers: Box<dyn Registers> = match transport {
            Transport::Pci => {
                Box::new(PciRegisters::new(memory, ECAM, slot, doorbells, chip, Interrupts::Line(spi)))
            }
            Transport::Mmio => {
                let base = VIRTIO_MMIO + u64::from(slot) * 0x1000;
                Box::new(MmioRegisters::new(memory, base, doorbells, chip, spi))
            }
        };
        let mut driver = Driver::new(registers, devices.ram.clone(), RAM + HEAP);
        driver.start_with(0);
        use_entropy(&mut driver);
    }
}

#[test]
fn nothing_answers_elsewhere() {
    let devices = devices(Transport::Pci);
    for address in [
        0,
        0x07ff_fff0,
        0x0800_0000,
        0x0802_0000,
        0x0903_0000,
        0x0a00_0000,
        VIRTIO_MMIO,
        0x3f10_0000,
        1 << 35,
    ] {
        assert_eq!(devices.load(address), [0xff; 4], "{address:#x}");
    }
}

#[test]
fn the_device_tree_tells_of_what_is_there() {
    for transport in [Transport::Pci, Transport::Mmio] {
        let devices = devices(transport);
        let tree = devices.tree();
        let tree = Fdt::new(&tree).unwrap();
        let mut windows = BTreeSet::new();
        for node in tree.all_nodes().filter(|node| node.name.contains('@') && !node.name.starts_with("cpu@"))
        {
            let start: u64 = u64::from_str_radix(node.name.split_once('@').unwrap().1, 16).unwrap();
            assert!(windows.insert(start), "{}", node.name);
        }
        let mut expected =
            BTreeSet::from([0x0800_0000, 0x0801_0000, 0x0900_0000, 0x0901_0000, 0x0902_0000, ECAM, RAM]);
        if transport == Transport::Mmio {
            expected.extend([1, 2, 31].map(|slot| VIRTIO_MMIO + slot * 0x1000));
        }
        assert_eq!(windows, expected, "{transport:?}");
        assert_eq!(tree.memory().regions().map(|r| r.size).collect::<Vec<_>>(), [Some(64 << 20)]);
        assert_eq!(tree.cpus().count(), 2);
        assert_eq!(tree.chosen().bootargs(), Some("console=ttyAMA0"));
    }
}

#[test]
fn each_boot_has_seeds_of_its_own() {
    let devices = devices(Transport::Pci);
    let seed = |tree: &[u8]| {
        let chosen = Fdt::new(tree)
            .unwrap()
            .find_node("/chosen")
            .unwrap()
            .property("rng-seed")
            .unwrap()
            .value
            .to_vec();
        assert_eq!(chosen.len(), 56);
        chosen
    };
    assert_ne!(seed(&devices.tree()), seed(&devices.tree()));
}

#[test]
fn a_machine_starts_runs_is_switched_off_and_reset() {
    let said = |letter: u8| Step::Write(0x0900_0000, vec![letter]);
    let scripts = vec![vec![
        vec![
            Step::Write(0x0900_0030, vec![0x01, 0x03]),
            said(b'a'),
            Step::Write(RAM + SCRATCH, vec![7]),
            Step::Reset,
        ],
        vec![
            Step::Read(RAM + SCRATCH, vec![7]),
            Step::Write(0x0900_0030, vec![0x01, 0x03]),
            said(b'b'),
            Step::PowerOff,
        ],
    ]];
    let host = Scripted::<Aarch64>::new(scripts);
    let mut events = EventLoop::new().unwrap();
    let serial = Arc::<Mutex<Vec<u8>>>::default();
    let parts = Parts { payload: payload(), ..parts(WaitingSink::new(serial.clone()), vec![console(1)]) };
    let mut machine = Machine::assemble(&host, &config(Transport::Pci, 2), parts, events.bell(0)).unwrap();
    machine.start().unwrap();
    let mut event = |machine: &Machine<_>| loop {
        if let Some(event) = machine.take_event() {
            return event;
        }
        wait_for_bell(&mut events);
    };
    assert_eq!(event(&machine), Event::Reset);
    machine.reset().unwrap();
    assert_eq!(event(&machine), Event::PowerOff);
    machine.stop();
    assert_eq!(*serial.lock().unwrap(), b"ab");
    let starts = host.starts(0);
    assert_eq!(starts.len(), 2);
    assert!(
        starts.iter().all(|state| state.pc == RAM && state.x[0] > RAM),
        "the boot core starts at the kernel"
    );
}

#[test]
fn cores_are_made_in_the_order_of_their_redistributors() {
    let host = Scripted::<Aarch64>::default();
    let parts = Parts { payload: payload(), ..parts(io::sink(), vec![]) };
    let events = EventLoop::new().unwrap();
    let machine = Machine::assemble(&host, &config(Transport::Pci, 64), parts, events.bell(0)).unwrap();
    drop(machine);
    assert_eq!(host.made(), (0..64).collect::<Vec<_>>());
}
