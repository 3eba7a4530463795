//! What a machine cannot be, each with its one line.

use super::*;
use crate::boot::Payload;

fn refused(host: Scripted, config: &MachineConfig, virtio: VirtioDevices) -> String {
    line(&Bench::assemble(host, config, virtio).err().expect("an impossible machine"))
}

fn refused_size(cpus: u32, memory: u64) -> String {
    refused(Scripted::default(), &MachineConfig { cpus, memory, ..config(Transport::Pci, 1) }, Vec::new())
}

#[test]
fn numbers_of_vcpus() {
    for cpus in [0, 65, u32::MAX] {
        let expected = format!("{cpus} vCPUs are not possible here: give 1 to 64 by --cpus");
        assert_eq!(refused_size(cpus, 64 * MIB), expected);
    }
    let mut host: Scripted = Scripted::default();
    host.facts.max_vcpus = 8;
    let many = refused(host, &config(Transport::Pci, 9), Vec::new());
    assert_eq!(many, "9 vCPUs are not possible here: give 1 to 8 by --cpus");
    let mut bench = Bench::new(64, vec![]);
    bench.machine.start().unwrap();
    bench.machine.stop();
}

#[test]
fn sizes_of_memory() {
    let granule = |size| format!("memory of {size} bytes is no multiple of 64 KiB: round it to whole MiB");
    assert_eq!(refused_size(1, 0), "a guest cannot run with 0 bytes of memory: give it --memory 512M or so");
    assert_eq!(refused_size(1, 1), granule(1_u64));
    assert_eq!(refused_size(1, 64 * MIB + 512), granule(64 * MIB + 512));
    assert_eq!(refused_size(1, u64::MAX), granule(u64::MAX));
    let most = 447 << 10;
    assert_eq!(
        refused_size(1, (most + 1) * MIB),
        format!(
            "memory of {} MiB is more than this machine can address: give at most --memory {most}M",
            most + 1
        )
    );
}

#[test]
fn widths_of_addresses() {
    let host = |bits| {
        let mut host: Scripted = Scripted::default();
        host.facts.physical_address_bits = bits;
        host
    };
    for bits in [0, 32, 38] {
        let expected =
            format!("this host's guests have {bits}-bit physical addresses; machine type hv-1 needs 39");
        assert_eq!(refused(host(bits), &config(Transport::Pci, 1), Vec::new()), expected);
    }
    for bits in [39, 52, 63, 64, 255] {
        Bench::with(Transport::Pci, 1, host(bits));
    }
}

#[test]
fn slots_of_virtio_devices() {
    for transport in [Transport::Pci, Transport::Mmio] {
        let refused = |slots: &[u8]| {
            let devices = slots.iter().map(|slot| entropy(*slot)).collect();
            refused(Scripted::default(), &config(transport, 1), devices)
        };
        assert_eq!(refused(&[1, 2, 1]), "two devices are for slot 1", "{transport:?}");
        for slot in [0, 32, 255] {
            assert_eq!(refused(&[slot]), format!("slot {slot} is not between 1 and 31"), "{transport:?}");
        }
    }
}

#[test]
fn payloads_that_do_not_fit_are_refused_at_the_start() {
    let mut bench = Bench::new(1, vec![]);
    let payload = |command_line| Payload { kernel: kernel(&vmlinux()), initrd: None, command_line };
    bench.machine.payload = payload("x".repeat(70_000));
    let refused = line(&bench.machine.start().unwrap_err());
    assert!(refused.starts_with("the command line has 70000 bytes, this kernel takes at most "), "{refused}");
    assert!(refused.ends_with(": shorten --append"), "{refused}");
    assert_eq!(bench.machine.state(), State::Off);
    bench.machine.payload = payload("x".to_owned());
    bench.machine.start().unwrap();

    let small = MachineConfig { memory: 64 << 10, ..config(Transport::Pci, 1) };
    let mut bench = Bench::assemble(Scripted::default(), &small, Vec::new()).unwrap();
    line(&bench.machine.start().unwrap_err());
    assert_eq!(bench.machine.state(), State::Off);
}
