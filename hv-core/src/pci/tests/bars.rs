//! BARs: sizing, placing, moving, and who answers.

use super::*;

const ONES: u32 = u32::MAX;

#[test]
fn all_ones_tell_the_size_and_kind() {
    let guest = Guest::new();
    let firmware = [guest.config(3, BAR0), guest.config(3, BAR2), guest.config(3, BAR2 + 4)];
    for register in [BAR0, BAR0 + 4, BAR2, BAR2 + 4, BAR2 + 8] {
        guest.set_config(3, register, ONES);
    }
    assert_eq!(guest.config(3, BAR0), 0xffff_f000, "32-bit, 4 KiB");
    assert_eq!(guest.config(3, BAR0 + 4), 0, "no BAR 1");
    assert_eq!(guest.config(3, BAR2), 0xffff_000c, "64-bit, prefetchable, 64 KiB");
    assert_eq!(guest.config(3, BAR2 + 4), ONES);
    assert_eq!(guest.config(3, BAR2 + 8), 0, "no BAR 4");
    guest.set_config(3, BAR0, firmware[0]);
    assert_eq!(guest.config(3, BAR0), firmware[0]);
    assert_eq!(firmware[1] & 0xf, 0xc);
}

#[test]
fn firmware_places_bars_apart_aligned_and_disabled() {
    let guest = Guest::new();
    assert_eq!([3, 4].map(|device| guest.config(device, BAR0)), [0xc000_0000, 0xc000_1000]);
    assert_eq!([3, 4].map(|device| guest.bar2(device)), [0x70_0000_0000, 0x70_0001_0000]);
    for device in [3, 4] {
        assert_eq!(guest.config(device, COMMAND) & 0xffff, 0);
    }
    assert_eq!(guest.load32(0xc000_0000), ONES);
    assert_eq!(guest.load32(0x70_0000_0000), ONES);
}

#[test]
fn a_device_sees_bar_and_offset() {
    let guest = Guest::new();
    guest.set_command(4, MEMORY_SPACE);
    assert_eq!(guest.load(0xc000_1001), [0x41, 0x42]);
    assert_eq!(guest.load(0x70_0001_fffc), [0x48, 0x49, 0x4a, 0x4b]);
    guest.bus.write(0x70_0001_0010, &[1, 2]);
    assert_eq!(*guest.four.stores.lock().unwrap(), [(2, 0x10, vec![1, 2])]);
    assert_eq!(guest.load32(0xc000_0000), ONES, "device 3 does not decode");
    assert_eq!(guest.load(0xc000_1ffe), [0xff; 4], "beyond the BAR's end");
}

#[test]
fn a_bar_moves_while_it_decodes() {
    let guest = Guest::new();
    guest.set_command(3, MEMORY_SPACE);
    guest.set_config(3, BAR0, 0xc008_0abc);
    assert_eq!(guest.config(3, BAR0), 0xc008_0000, "aligned to its size");
    assert_eq!(guest.load32(0xc000_0000), ONES);
    assert_eq!(guest.load(0xc008_0000), [0x30]);
    guest.set_command(3, 0);
    assert_eq!(guest.load32(0xc008_0000), ONES);
    let (first, second, high) = (Some(0xc000_0000), Some(0xc008_0000), Some(0x70_0000_0000));
    assert_eq!(*guest.three.moves.lock().unwrap(), [[first, high], [second, high], [None, None]]);
}

#[test]
fn a_bar_moves_while_it_does_not_decode() {
    let guest = Guest::new();
    guest.set_config(3, BAR0, ONES);
    guest.set_config(3, BAR0, 0xc000_8000);
    assert!(guest.three.moves.lock().unwrap().is_empty());
    guest.set_command(3, MEMORY_SPACE);
    assert_eq!(guest.load(0xc000_8000), [0x30]);
    assert_eq!(guest.three.function.bar_address(0), Some(0xc000_8000));
}

#[test]
fn a_wide_bar_moves_by_halves() {
    let guest = Guest::new();
    guest.set_command(3, MEMORY_SPACE);
    guest.set_config(3, BAR2 + 4, 0x7f);
    assert_eq!(guest.load(0x7f_0000_0000), [0x38]);
    guest.set_config(3, BAR2, 0xfff0_0000);
    assert_eq!(guest.load(0x7f_fff0_0000), [0x38]);
    assert_eq!(guest.load32(0x7f_0000_0000), ONES);
    guest.set_config(3, BAR2 + 4, 0);
    guest.set_config(3, BAR2, 0xc00f_0000);
    assert_eq!(guest.load(0xc00f_0000), [0x38], "in the low window");
}

#[test]
fn outside_the_windows_nothing_decodes() {
    let guest = Guest::new();
    guest.set_command(3, MEMORY_SPACE);
    for half in [0, 0x80, ONES] {
        guest.set_config(3, BAR2 + 4, half);
        assert_eq!(guest.three.function.bar_address(2), None, "{half:#x}");
    }
    guest.set_config(3, BAR2, ONES);
    assert_eq!(guest.three.function.bar_address(2), None, "ends with the address space");
    guest.set_config(3, BAR0, 0xe000_0000);
    assert_eq!(guest.config(3, 0), 0x1042_1af4, "ECAM is not hidden");
}

#[test]
fn where_bars_overlap_the_lower_device_answers() {
    let guest = Guest::new();
    for device in [4, 3] {
        guest.set_config(device, BAR0, 0xc002_0000);
        guest.set_command(device, MEMORY_SPACE);
    }
    assert_eq!(guest.load(0xc002_0000), [0x30]);
    guest.set_command(3, 0);
    assert_eq!(guest.load(0xc002_0000), [0x40]);
    guest.set_config(4, BAR2 + 4, 0);
    guest.set_config(4, BAR2, 0xc002_0000);
    assert_eq!([guest.load(0xc002_0ffc), guest.load(0xc002_1000)], [[0x40], [0x48]]);
    assert_eq!(guest.load(0xc002_0ffe), [0x4a, 0x4b, 0x48, 0x49], "only BAR 2 holds all of it");
}

#[test]
fn a_reset_puts_bars_back() {
    let guest = Guest::new();
    guest.set_config(3, BAR0, 0xc008_0000);
    guest.set_config(3, BAR2 + 4, 0x71);
    guest.set_command(3, MEMORY_SPACE | BUS_MASTER | INTERRUPT_DISABLE);
    guest.segment.reset();
    assert_eq!(guest.config(3, BAR0), 0xc000_0000);
    assert_eq!(guest.bar2(3), 0x70_0000_0000);
    assert_eq!(guest.config(3, COMMAND) & 0xffff, 0);
    assert_eq!(guest.load32(0xc008_0000), ONES);
    assert_eq!(guest.three.moves.lock().unwrap().last(), Some(&[None, None]));
    assert_eq!(*guest.three.resets.lock().unwrap(), 1);
}

#[test]
fn impossible_bars_are_refused() {
    let refused = [
        (0, Bar::memory32(0)),
        (0, Bar::memory32(8)),
        (0, Bar::memory32(0x1001)),
        (0, Bar::memory32(1 << 32)),
        (5, Bar::memory64(0x1000)),
        (6, Bar::memory32(0x1000)),
        (255, Bar::memory32(0x1000)),
        (2, Bar::memory32(0x1000)),
        (3, Bar::memory32(0x1000)),
        (1, Bar::memory64(0x1000)),
    ];
    let mut builder = Function::builder(identity());
    builder.bar(2, Bar::memory64(0x1000)).unwrap();
    for (index, bar) in refused {
        assert_eq!(builder.bar(index, bar), Err(PciError::Bar { index, size: bar.size }), "{bar:?}");
    }
    builder.bar(1, Bar::memory32(16)).unwrap();
    builder.bar(4, Bar::memory64(1 << 40)).unwrap();
}

#[test]
fn a_segment_refuses_what_it_cannot_hold() {
    let chip = Arc::new(Chip::default());
    let mut segment = Segment::new(Windows { low: 0xc000_0800..0xc002_0000, high: 0..0 });
    segment.add(31, Scratch::new(1, &chip)).unwrap();
    for (number, error) in [
        (0, PciError::NoSuchDevice(0)),
        (32, PciError::NoSuchDevice(32)),
        (31, PciError::Taken(31)),
        (1, PciError::WindowFull { index: 0, size: 0x1000 }),
    ] {
        assert_eq!(segment.add(number, Scratch::new(1, &chip)), Err(error));
    }
}
