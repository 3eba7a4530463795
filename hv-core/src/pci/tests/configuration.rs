//! Configuration space: both ways to it, odd widths, what is absent.

use super::*;

fn latch(guest: &Guest, device: u8, register: u64) {
    let address = 1 << 31 | u64::from(device) << 11 | register;
    guest.ports.write(0, &address.to_le_bytes()[..4]);
}

fn port<const N: usize>(guest: &Guest, offset: u64) -> [u8; N] {
    let mut data = [0x5a; N];
    guest.ports.read(offset, &mut data);
    data
}

#[test]
fn ports_and_ecam_show_the_same_bytes() {
    let guest = Guest::new();
    guest.set_command(3, BUS_MASTER | MEMORY_SPACE);
    for device in [0, 2, 3, 4] {
        for register in (0..256).step_by(4) {
            latch(&guest, device, register);
            let expected: [u8; 4] = guest.load(ecam(device, register));
            assert_eq!(port(&guest, 4), expected, "{device} {register:#x}");
            assert_eq!([port::<2>(&guest, 4), port(&guest, 6)].concat(), expected);
            assert_eq!([4, 5, 6, 7].map(|offset| port::<1>(&guest, offset)[0]), expected);
        }
    }
}

#[test]
fn stores_by_ports_reach_the_function() {
    let guest = Guest::new();
    latch(&guest, 3, BAR0);
    guest.ports.write(7, &[0xc1]);
    assert_eq!(guest.config(3, BAR0), 0xc100_0000);
    guest.ports.write(5, &[0x30, 0x02]);
    assert_eq!(guest.config(3, BAR0), 0xc102_3000);
    guest.ports.write(4, &0xc008_0000_u32.to_le_bytes());
    assert_eq!(guest.config(3, BAR0), 0xc008_0000);
}

#[test]
fn only_a_doubleword_sets_the_address() {
    let guest = Guest::new();
    guest.ports.write(0, &[0xff; 4]);
    assert_eq!(port(&guest, 0), 0x80ff_fffc_u32.to_le_bytes());
    latch(&guest, 3, 0);
    for (offset, data) in [(0, &[8][..]), (0, &[8, 8]), (3, &[0]), (2, &[0, 0]), (0, &[0; 8]), (1, &[0; 4])] {
        guest.ports.write(offset, data);
    }
    assert_eq!(port(&guest, 0), 0x8000_1800_u32.to_le_bytes());
    assert_eq!(port(&guest, 0), [0xff; 2]);
    assert_eq!(port(&guest, 3), [0xff]);
    assert_eq!(port(&guest, 2), [0xff; 4], "half address, half data");
    assert_eq!(port(&guest, 6), [0xff; 4], "beyond the ports");
    guest.ports.write(0, &[0; 4]);
    assert_eq!(port(&guest, 4), [0xff; 4], "not enabled");
    latch(&guest, 3, 0);
    guest.segment.reset();
    assert_eq!(port(&guest, 0), [0; 4]);
}

#[test]
fn what_is_absent_reads_as_ones_and_takes_no_store() {
    let guest = Guest::new();
    for address in [ecam(1, 0), ecam(31, 0), ecam(3, 0x1000), ecam(3, 0x7000), ecam(3, 0x100), ecam(3, 0xffc)]
    {
        guest.bus.write(address, &[0; 4]);
        assert_eq!(guest.load32(address), u32::MAX, "{address:#x}");
    }
    assert_eq!(guest.load(ecam(3, 0xfe)), [0, 0, 0xff, 0xff], "across the end");
    guest.ports.write(0, &(1_u32 << 31 | 1 << 16 | 3 << 11).to_le_bytes());
    assert_eq!(port(&guest, 4), [0xff; 4], "bus 1");
}

#[test]
fn the_header_says_what_the_function_is() {
    let guest = Guest::new();
    assert_eq!(guest.config(3, 0), 0x1042_1af4);
    assert_eq!(guest.config(3, 8), 0x0180_0001);
    assert_eq!(guest.config(3, 0x0c), 0, "type 0, one function");
    assert_eq!(guest.config(3, 0x2c), 0x0003_0002);
    assert_eq!(guest.config(3, 0x3c), 0x0113, "GSI 19, pin A");
    assert_eq!(guest.config(0, 8), 0x0600_0000, "host bridge");
    assert_eq!(guest.config(0, 0x34), 0);
}

#[test]
fn accesses_of_any_width_straddle_registers() {
    let guest = Guest::new();
    guest.bus.write(ecam(3, COMMAND + 1), &[0xff; 4]);
    assert_eq!(
        guest.config(3, COMMAND),
        0x0010_0400,
        "only Interrupt Disable; Status and Revision are read-only"
    );
    assert_eq!(guest.config(3, 8), 0x0180_0001);
    guest.bus.write(ecam(3, 0x0e), &[0xff; 8]);
    assert_eq!(guest.load(ecam(3, 0x0c)), [0, 0, 0, 0, 0, 0xf0, 0xff, 0xff], "BAR 0 alone");
    guest.bus.write(ecam(3, 0x0b), &[0x11; 3]);
    assert_eq!(guest.load(ecam(3, 0x0b)), [0x01, 0x11, 0], "Cache Line Size alone");
    guest.bus.write(ecam(3, 0), &[0; 8]);
    assert_eq!(guest.config(3, 0), 0x1042_1af4);
    assert_eq!(guest.config(3, COMMAND), 0x0010_0000);
}

#[test]
fn capabilities_form_a_list_with_writable_bits() {
    let mut builder = Function::builder(identity());
    assert_eq!(builder.capability(9, &[0xa0, 0xa1, 0xa2], &[0, 0x0f]), Ok(0x40));
    assert_eq!(builder.capability(5, &[1; 2], &[0xff; 64]), Ok(0x48));
    assert_eq!(builder.capability(1, &[], &[]), Ok(0x4c));
    let function = builder.build();
    let read = |at| {
        let mut data = [0; 4];
        function.read_config(at, &mut data);
        data
    };
    function.write_config(0x40, &[0xff; 16]);
    assert_eq!(read(0x34)[0], 0x40);
    assert_eq!(read(6)[0], 0x10, "Capabilities List");
    assert_eq!([read(0x40), read(0x44)], [[9, 0x48, 0xa0, 0xaf], [0xa2, 0, 0, 0]]);
    assert_eq!([read(0x48), read(0x4c)], [[5, 0x4c, 0xff, 0xff], [1, 0, 0, 0]]);
}

#[test]
fn the_capability_space_is_bounded() {
    let mut builder = Function::builder(identity());
    builder.capability(9, &[0; 180], &[]).unwrap();
    assert_eq!(builder.capability(9, &[0; 7], &[]), Err(PciError::CapabilitySpace(9)));
    assert_eq!(builder.capability(9, &[0; 6], &[]), Ok(0xf8));
    for body in [0, 1, 100, 4096] {
        assert_eq!(builder.capability(5, &vec![0; body], &[]), Err(PciError::CapabilitySpace(5)));
    }
}

/// Its configuration space acts when it is read.
struct Hooked(Function);

impl Device for Hooked {
    fn name(&self) -> &str {
        "hooked"
    }
    fn reset(&self) {}
}

impl PciDevice for Hooked {
    fn function(&self) -> &Function {
        &self.0
    }
    fn read_bar(&self, _: u8, _: u64, data: &mut [u8]) {
        data.fill(0);
    }
    fn write_bar(&self, _: u8, _: u64, _: &[u8]) {}
    fn read_config(&self, offset: u16, data: &mut [u8]) {
        self.0.read_config(offset, data);
        if offset == 0x40 {
            data.fill(0x77);
        }
    }
}

#[test]
fn a_device_may_answer_for_its_capabilities() {
    let mut segment = Segment::new(Windows::default());
    segment.add(1, Arc::new(Hooked(Function::builder(identity()).build()))).unwrap();
    let (segment, mut data) = (Arc::new(segment), [0; 4]);
    Ecam::new(segment.clone()).read(1 << 15 | 0x40, &mut data);
    assert_eq!(data, [0x77; 4]);
    ConfigPorts::new(segment.clone()).write(0, &0x8000_0840_u32.to_le_bytes());
    ConfigPorts::new(segment).read(4, &mut data[..2]);
    assert_eq!(data, [0x77; 4]);
}
