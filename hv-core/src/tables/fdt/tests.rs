//! The tree as an independent reader finds it.

use std::{collections::BTreeSet, process::Command};

use fdt::{Fdt, node::FdtNode};
use proptest::prelude::*;

use super::{testing::description, *};
use crate::{
    arch::aarch64::affinity,
    tables::aarch64::{Pci, Window},
};

const SEED: Seed =
    *b"\x01\x02\x03\x04\x05\x06\x07\x08 and 56 bytes for the generator of random numbers, so on";

fn chosen(command_line: &str) -> Chosen<'_> {
    Chosen { command_line, initrd: 0xb000_0000..0xb123_4567, seed: &SEED }
}

/// Shows the tree of `machine` to `look`.
fn with_tree(machine: &Description, look: impl FnOnce(&Fdt<'_>)) {
    let bytes = build(machine, &chosen("console=ttyAMA0 quiet")).unwrap();
    look(&Fdt::new(&bytes).unwrap());
}

fn node<'a>(tree: &'a Fdt<'a>, path: &str) -> FdtNode<'a, 'a> {
    tree.find_node(path).unwrap_or_else(|| panic!("{path}"))
}

fn bytes<'a>(node: &FdtNode<'_, 'a>, name: &str) -> &'a [u8] {
    node.property(name).unwrap_or_else(|| panic!("{}: {name}", node.name)).value
}

fn strings(node: &FdtNode<'_, '_>, name: &str) -> Vec<String> {
    let text = std::str::from_utf8(bytes(node, name)).unwrap();
    text.strip_suffix('\0').unwrap().split('\0').map(str::to_owned).collect()
}

fn cells(node: &FdtNode<'_, '_>, name: &str) -> Vec<u32> {
    bytes(node, name).chunks_exact(4).map(|cell| u32::from_be_bytes(cell.try_into().unwrap())).collect()
}

fn region(node: &FdtNode<'_, '_>) -> Vec<u64> {
    bytes(node, "reg").chunks_exact(8).map(|cell| u64::from_be_bytes(cell.try_into().unwrap())).collect()
}

#[test]
fn the_kernel_is_told_its_line_disk_console_and_seeds() {
    with_tree(&description(), |tree| {
        let chosen = node(tree, "/chosen");
        assert_eq!(strings(&chosen, "bootargs"), ["console=ttyAMA0 quiet"]);
        assert_eq!(cells(&chosen, "linux,initrd-start"), [0, 0xb000_0000]);
        assert_eq!(cells(&chosen, "linux,initrd-end"), [0, 0xb123_4567]);
        assert_eq!(bytes(&chosen, "kaslr-seed"), &SEED[..8]);
        assert_eq!(bytes(&chosen, "rng-seed"), &SEED[8..]);
        assert_eq!(tree.chosen().stdout().unwrap().name, "serial@9000000");
    });
}

#[test]
fn a_guest_without_initrd_or_with_an_odd_line_is_told_so() {
    let chosen = Chosen { command_line: "a\0b", initrd: 0..0, seed: &SEED };
    let tree = build(&description(), &chosen).unwrap();
    let tree = Fdt::new(&tree).unwrap();
    let chosen = node(&tree, "/chosen");
    assert_eq!(bytes(&chosen, "bootargs"), b"a\0");
    assert!(chosen.property("linux,initrd-start").is_none());
}

#[test]
fn memory_and_cores_are_told() {
    let affinities = (0..18).map(affinity).collect();
    with_tree(&Description { affinities, ..description() }, |tree| {
        let memory = node(tree, "/memory@80000000");
        assert_eq!(
            (strings(&memory, "device_type"), region(&memory)),
            (vec!["memory".to_owned()], vec![0x8000_0000, 0x4000_0000])
        );
        let cores: Vec<_> = tree.cpus().collect();
        let ids: Vec<_> = cores.iter().map(|core| core.ids().first()).collect();
        assert_eq!(ids, (0..16).chain([0x100, 0x101]).collect::<Vec<_>>());
        let last = node(tree, "/cpus/cpu@101");
        assert_eq!(strings(&last, "enable-method"), ["psci"]);
        assert_eq!(strings(&last, "compatible"), ["arm,armv8"]);
        let psci = node(tree, "/psci");
        assert_eq!(
            (strings(&psci, "compatible"), strings(&psci, "method")),
            (vec!["arm,psci-1.0".to_owned(), "arm,psci-0.2".to_owned()], vec!["hvc".to_owned()])
        );
    });
}

#[test]
fn interrupt_controllers_and_timers_are_told() {
    with_tree(&description(), |tree| {
        let gic = node(tree, "/interrupt-controller@8000000");
        assert_eq!(strings(&gic, "compatible"), ["arm,gic-v3"]);
        assert_eq!(region(&gic), [0x0800_0000, 0x1_0000, 0x0a00_0000, 2 * 0x2_0000]);
        assert_eq!(cells(&gic, "#interrupt-cells"), [3]);
        assert_eq!(cells(&tree.find_node("/").unwrap(), "interrupt-parent"), cells(&gic, "phandle"));
        let frame = node(tree, "/interrupt-controller@8000000/msi-controller@8010000");
        assert_eq!(strings(&frame, "compatible"), ["arm,gic-v2m-frame"]);
        assert_eq!(region(&frame), [0x0801_0000, 0x1_0000]);
        assert_eq!(
            (cells(&frame, "arm,msi-base-spi"), cells(&frame, "arm,msi-num-spis")),
            (vec![128], vec![512])
        );
        assert!(frame.property("msi-controller").is_some());
        let timer = node(tree, "/timer");
        assert_eq!(cells(&timer, "interrupts"), [1, 13, 4, 1, 14, 4, 1, 11, 4, 1, 10, 4]);
    });
}

#[test]
fn platform_devices_are_told() {
    with_tree(&description(), |tree| {
        let clock = cells(&node(tree, "/apb-pclk"), "phandle");
        for (path, kind, base, interrupts) in [
            ("/serial@9000000", "arm,pl011", 0x0900_0000, Some(1)),
            ("/rtc@9010000", "arm,pl031", 0x0901_0000, None),
            ("/gpio@9020000", "arm,pl061", 0x0902_0000, Some(3)),
        ] {
            let device = node(tree, path);
            assert_eq!(strings(&device, "compatible"), [kind, "arm,primecell"]);
            assert_eq!(region(&device), [base, 0x1000]);
            assert_eq!(cells(&device, "clocks")[0], clock[0]);
            assert!(strings(&device, "clock-names").contains(&"apb_pclk".to_owned()), "AMBA's bus clock");
            let told = device.property("interrupts").map(|_| cells(&device, "interrupts"));
            assert_eq!(told, interrupts.map(|spi| vec![0, spi, 4]), "{path}");
        }
        let button = node(tree, "/gpio-keys/power");
        let gpio = cells(&node(tree, "/gpio@9020000"), "phandle")[0];
        assert_eq!((cells(&button, "gpios"), cells(&button, "linux,code")), (vec![gpio, 3, 0], vec![116]));
    });
}

#[test]
fn the_pci_host_bridge_is_told() {
    with_tree(&description(), |tree| {
        let host = node(tree, "/pcie@3f000000");
        assert_eq!(strings(&host, "compatible"), ["pci-host-ecam-generic"]);
        assert_eq!(strings(&host, "device_type"), ["pci"]);
        assert_eq!(region(&host), [0x3f00_0000, 0x10_0000]);
        assert_eq!(cells(&host, "bus-range"), [0, 0]);
        assert_eq!(cells(&host, "ranges"), [0x0200_0000, 0, 0x1000_0000, 0, 0x1000_0000, 0, 0x2000_0000]);
        let gic = cells(&node(tree, "/interrupt-controller@8000000"), "phandle")[0];
        let frame = cells(&node(tree, "/interrupt-controller@8000000/msi-controller@8010000"), "phandle")[0];
        assert_eq!(cells(&host, "msi-map"), [0, frame, 0, 0x1_0000]);
        assert!(host.property("dma-coherent").is_some());
        assert_eq!(cells(&host, "interrupt-map-mask"), [0xf800, 0, 0, 7]);
        let map = cells(&host, "interrupt-map");
        assert_eq!(map.len(), 32 * 10);
        for (slot, route) in (0_u32..).zip(map.chunks_exact(10)) {
            assert_eq!(route, [slot << 11, 0, 0, 1, gic, 0, 0, 0, 16 + slot % 8, 4], "slot {slot}");
        }
    });
}

#[test]
fn virtio_mmio_devices_are_told() {
    let virtio_mmio = vec![
        Window { base: 0x0d00_1000, size: 0x1000, spi: 17 },
        Window { base: 0x0d01_f000, size: 0x1000, spi: 23 },
    ];
    with_tree(&Description { virtio_mmio, ..description() }, |tree| {
        for (base, spi) in [(0x0d00_1000, 17), (0x0d01_f000, 23)] {
            let device = node(tree, &format!("/virtio_mmio@{base:x}"));
            assert_eq!(strings(&device, "compatible"), ["virtio,mmio"]);
            assert_eq!(
                (region(&device), cells(&device, "interrupts")),
                (vec![base, 0x1000], vec![0, spi, 4])
            );
            assert!(device.property("dma-coherent").is_some());
        }
    });
}

#[test]
fn the_largest_machine_fits() {
    let machine = Description {
        affinities: (0..64).map(affinity).collect(),
        virtio_mmio: (1..32)
            .map(|slot| Window { base: 0x0d00_0000 + slot * 0x1000, size: 0x1000, spi: 16 })
            .collect(),
        ..description()
    };
    let size = build(&machine, &chosen(&"x".repeat(2047))).unwrap().len();
    assert!(size < MOST / 2, "{size}");
    let affinities = (0..5000).map(affinity).collect();
    let line = build(&Description { affinities, ..machine }, &chosen("")).unwrap_err().to_string();
    assert_eq!(line, "the device tree has more than 65536 bytes: give fewer vCPUs or devices");
}

#[test]
fn names_and_handles_are_used_once() {
    with_tree(&description(), |tree| {
        let mut handles = BTreeSet::new();
        let mut names = BTreeSet::new();
        for node in tree.all_nodes() {
            assert!(names.insert(node.name.to_owned()), "{}", node.name);
            if node.property("phandle").is_some() {
                assert!(handles.insert(cells(&node, "phandle")));
            }
        }
        assert_eq!(handles.len(), 4);
    });
}

#[test]
fn the_reference_compiler_has_no_complaint() {
    let virtio_mmio = vec![Window { base: 0x0d00_1000, size: 0x1000, spi: 17 }];
    let tree = build(&Description { virtio_mmio, ..description() }, &chosen("quiet")).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), tree).unwrap();
    let output = Command::new("dtc").args(["-I", "dtb", "-O", "dts"]).arg(file.path()).output();
    let Ok(output) = output.inspect_err(|e| eprintln!("SKIP dtc (package device-tree-compiler): {e}")) else {
        return;
    };
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "{complaints}");
    if std::env::var_os("HV_PRINT_TABLES").is_some() {
        println!("{}", String::from_utf8_lossy(&output.stdout));
    }
}

proptest! {
    #[test]
    fn any_machine_is_told_or_refused(
        numbers in proptest::collection::vec(any::<u64>(), 16),
        affinities in proptest::collection::vec(any::<u64>(), 0..70),
        windows in proptest::collection::vec((any::<u64>(), any::<u64>(), any::<u32>()), 0..40),
        line in any::<String>(),
    ) {
        let window = |index: usize| Window { base: numbers[index], size: numbers[index + 1], spi: 1 };
        let machine = Description {
            ram: numbers[0]..numbers[1],
            affinities,
            uart: window(2),
            clock: window(4),
            gpio: window(6),
            pci: Pci { ecam: numbers[8]..numbers[9], window: numbers[10]..numbers[11], slot_spis: [7; 32] },
            virtio_mmio: windows.into_iter().map(|(base, size, spi)| Window { base, size, spi }).collect(),
            ..description()
        };
        let chosen = Chosen { command_line: &line, initrd: numbers[12]..numbers[13], seed: &SEED };
        if let Ok(tree) = build(&machine, &chosen) {
            prop_assert!(Fdt::new(&tree).is_ok());
        }
    }
}
