//! Which console driver kernels and configurations show.

use super::*;
use crate::boot::testing::{arm64_image, bzimage, elf, file, gzip, kernel, load};

const BOTH: &[u8] = b"virtio-ports\0...virtio-pci\0";

fn driver(rodata: Vec<u8>, transport: Transport) -> ConsoleDriver {
    let size = rodata.len() as u64;
    console_driver(&kernel(&elf(0x10_0000, &[load(0x10_0000, rodata, size)])), transport)
}

#[test]
fn an_elf_kernel_shows_its_drivers() {
    assert_eq!(driver(BOTH.to_vec(), Transport::Pci), ConsoleDriver::Virtio);
    assert_eq!(driver(BOTH.to_vec(), Transport::Mmio), ConsoleDriver::Uart);
    assert_eq!(driver(b"virtio-ports\0virtio-mmio\0".to_vec(), Transport::Mmio), ConsoleDriver::Virtio);
    assert_eq!(driver(b"virtio-pci\0".to_vec(), Transport::Pci), ConsoleDriver::Uart);
    assert_eq!(driver(b"virtio-portsdev\0virtio-pci\0".to_vec(), Transport::Pci), ConsoleDriver::Uart);
}

#[test]
fn names_are_found_wherever_they_lie() {
    for lead in CHUNK - 40..CHUNK + 5 {
        let rodata = [vec![b'x'; lead], BOTH.to_vec(), vec![b'y'; 3 * CHUNK]].concat();
        assert_eq!(driver(rodata, Transport::Pci), ConsoleDriver::Virtio, "{lead}");
    }
    for end in 0..BOTH.len() {
        let rodata = [vec![b'x'; CHUNK - end], BOTH[..end].to_vec()].concat();
        assert_eq!(driver(rodata, Transport::Pci), ConsoleDriver::Uart, "{end}");
    }
}

/// Makes `vmlinuz-1.2` with `text` in `name` beside it, and asks for the kernel called `kernel`.
fn beside(name: &str, text: &str, kernel: &str) -> ConsoleDriver {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("vmlinuz-1.2"), bzimage()).unwrap();
    std::os::unix::fs::symlink("vmlinuz-1.2", directory.path().join("vmlinuz")).unwrap();
    std::fs::write(directory.path().join(name), text).unwrap();
    let kernel = PayloadFile::kernel(file(&bzimage()), directory.path().join(kernel));
    console_driver(&kernel, Transport::Pci)
}

#[test]
fn a_packed_kernel_is_known_by_the_configuration_beside_it() {
    let built_in = "#\nCONFIG_VIRTIO_PCI=y\nCONFIG_VIRTIO_CONSOLE=y\n";
    for (name, kernel) in
        [("config-1.2", "vmlinuz-1.2"), ("config-1.2", "vmlinuz"), ("config", "vmlinuz-1.2")]
    {
        assert_eq!(beside(name, built_in, kernel), ConsoleDriver::Virtio, "{name} {kernel}");
        let module = built_in.replace("CONSOLE=y", "CONSOLE=m");
        assert_eq!(beside(name, &module, kernel), ConsoleDriver::Uart, "{name} {kernel}");
    }
    assert_eq!(beside("config-1.3", built_in, "vmlinuz"), ConsoleDriver::Unknown);
    assert_eq!(beside("config", "[core]\n  bare = false\n", "vmlinuz"), ConsoleDriver::Unknown);
    assert_eq!(console_driver(&kernel(&bzimage()), Transport::Pci), ConsoleDriver::Unknown);
}

#[test]
fn an_arm64_image_shows_its_drivers() {
    let driver = |names: &[u8], transport| {
        console_driver(&kernel(&[arm64_image(), names.to_vec()].concat()), transport)
    };
    let all = b"virtio-ports\0...virtio-pci\0pci-host-generic\0";
    assert_eq!(driver(all, Transport::Pci), ConsoleDriver::Virtio);
    assert_eq!(driver(all, Transport::Mmio), ConsoleDriver::Uart);
    assert_eq!(driver(BOTH, Transport::Pci), ConsoleDriver::Uart, "without a driver of the host bridge");
    assert_eq!(driver(b"virtio-ports\0virtio-mmio\0", Transport::Mmio), ConsoleDriver::Virtio);
    let packed = gzip(&[arm64_image(), all.to_vec()].concat());
    assert_eq!(console_driver(&kernel(&packed), Transport::Pci), ConsoleDriver::Unknown);
}

#[test]
fn an_arm64_kernel_is_known_by_the_configuration_beside_it() {
    let text = "#\nCONFIG_ARM64=y\nCONFIG_VIRTIO_PCI=y\nCONFIG_VIRTIO_CONSOLE=y\n";
    assert_eq!(beside("config-1.2", text, "vmlinuz"), ConsoleDriver::Uart);
    let text = format!("{text}CONFIG_PCI_HOST_GENERIC=y\n");
    assert_eq!(beside("config-1.2", &text, "vmlinuz"), ConsoleDriver::Virtio);
}
