//! MSI-X and INTx: what reaches the interrupt controller, and when.

use std::{mem, sync::Condvar, thread, time::Duration};

use super::*;

const ENABLE: u16 = 1 << 15;
const FUNCTION_MASK: u16 = 1 << 14;
const MESSAGE: Msi = Msi { address: 0xfee0_1000, data: 0x41 };
const LINE: u32 = 19;

impl Guest {
    /// With device 3 decoding, as bus master, with MSI-X enabled and all vectors masked.
    fn with_msix() -> Self {
        let guest = Self::new();
        guest.set_command(3, MEMORY_SPACE | BUS_MASTER);
        guest.set_message_control(ENABLE);
        guest
    }

    fn set_message_control(&self, value: u16) {
        let capability = u64::from(self.config(3, 0x34) & 0xff);
        assert_eq!(self.config(3, capability) & 0xff, 0x11);
        self.bus.write(ecam(3, capability + 2), &value.to_le_bytes());
    }

    fn set_vector(&self, vector: u64, message: Msi, masked: bool) {
        let entry = self.bar2(3) + TABLE + 16 * vector;
        self.bus.write(entry, &message.address.to_le_bytes());
        self.bus.write(entry + 8, &message.data.to_le_bytes());
        self.mask(vector, masked);
    }

    fn mask(&self, vector: u64, masked: bool) {
        self.bus.write(self.bar2(3) + TABLE + 16 * vector + 12, &u32::from(masked).to_le_bytes());
    }

    fn pending(&self) -> [u64; 2] {
        [0, 8].map(|at| u64::from_le_bytes(self.load(self.bar2(3) + PENDING + at)))
    }

    fn messages(&self) -> Vec<Msi> {
        mem::take(&mut self.chip.messages.lock().unwrap())
    }

    fn levels(&self) -> Vec<(u32, bool)> {
        mem::take(&mut self.chip.levels.lock().unwrap())
    }

    fn interrupt_status(&self) -> bool {
        self.config(3, COMMAND) >> 16 & 1 << 3 != 0
    }
}

#[test]
fn the_capability_tells_where_table_and_pending_bits_are() {
    let guest = Guest::new();
    assert_eq!(guest.config(3, 0x40), 65 << 16 | 0x11, "vectors less one");
    assert_eq!([guest.config(3, 0x44), guest.config(3, 0x48)], [0x8002, 0xc002]);
    guest.set_config(3, 0x40, u32::MAX);
    assert_eq!(guest.config(3, 0x40), 0xc041_0011, "Enable and Function Mask alone");
}

#[test]
fn an_unmasked_vector_sends_its_message() {
    let guest = Guest::with_msix();
    guest.set_vector(1, MESSAGE, false);
    guest.three.function.fire(1);
    assert_eq!(guest.messages(), [MESSAGE]);
    assert_eq!(guest.pending(), [0, 0]);
    for absent in [VECTORS, u16::MAX] {
        guest.three.function.fire(absent);
    }
    assert_eq!(guest.messages(), []);
}

#[test]
fn a_masked_vector_is_pending_until_it_is_unmasked() {
    let guest = Guest::with_msix();
    for vector in [0, 65] {
        guest.set_vector(vector, MESSAGE, true);
    }
    guest.three.function.fire(65);
    guest.three.function.fire(65);
    guest.three.function.fire(0);
    assert_eq!(guest.messages(), []);
    assert_eq!(guest.pending(), [1, 2]);
    assert_eq!(guest.load(guest.bar2(3) + PENDING + 8), [2], "a byte");
    guest.bus.write(guest.bar2(3) + PENDING, &[0; 8]);
    assert_eq!(guest.pending(), [1, 2], "read-only");
    guest.mask(65, false);
    assert_eq!(guest.messages(), [MESSAGE], "once");
    assert_eq!(guest.pending(), [1, 0]);
    guest.mask(65, true);
    guest.mask(65, false);
    assert_eq!(guest.messages(), []);
}

#[test]
fn a_masked_function_is_pending_until_it_is_unmasked() {
    let guest = Guest::with_msix();
    guest.set_vector(2, MESSAGE, false);
    guest.set_message_control(ENABLE | FUNCTION_MASK);
    guest.three.function.fire(2);
    guest.three.function.fire(3);
    assert_eq!((guest.messages(), guest.pending()), (vec![], [0b1100, 0]));
    guest.set_message_control(ENABLE);
    assert_eq!((guest.messages(), guest.pending()), (vec![MESSAGE], [0b1000, 0]), "vector 3 is masked");
}

#[test]
fn only_a_bus_master_sends_messages() {
    let guest = Guest::with_msix();
    guest.set_vector(2, MESSAGE, false);
    guest.set_command(3, MEMORY_SPACE);
    assert!(!guest.three.function.is_bus_master());
    guest.three.function.fire(2);
    assert_eq!((guest.messages(), guest.pending()), (vec![], [0b100, 0]));
    guest.set_command(3, MEMORY_SPACE | BUS_MASTER);
    assert_eq!(guest.messages(), [MESSAGE]);
}

#[test]
fn without_msix_nothing_is_sent_or_pending() {
    let guest = Guest::with_msix();
    guest.set_vector(2, MESSAGE, true);
    guest.three.function.fire(2);
    guest.set_message_control(0);
    guest.three.function.fire(3);
    assert!(!guest.three.function.is_msix_enabled());
    assert_eq!(guest.pending(), [0, 0]);
    guest.set_message_control(ENABLE);
    guest.mask(2, false);
    assert_eq!(guest.messages(), []);
}

#[test]
fn the_table_reads_back_in_any_width() {
    let guest = Guest::with_msix();
    guest.set_vector(1, MESSAGE, false);
    let entry = guest.bar2(3) + TABLE + 16;
    assert_eq!(guest.load32(entry + 8), 0x41);
    assert_eq!(guest.load(entry + 12), [0; 4]);
    assert_eq!(guest.load(entry + 8), [0x41, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(guest.load(entry + 14), [0, 0, 0, 0], "into the next entry");
    guest.bus.write(entry + 12, &[0xff; 8]);
    assert_eq!(
        guest.load(entry + 12),
        [1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
        "the mask bit alone; next address"
    );
    let end = guest.bar2(3) + TABLE + 16 * u64::from(VECTORS);
    guest.bus.write(end - 1, &[0xff; 4]);
    assert_eq!(guest.load(end - 1), [0, 0xff, 0xff, 0xff], "beyond the table");
    assert_eq!(guest.load(end), [0x38], "the device's own again");
    assert!(guest.three.stores.lock().unwrap().is_empty());
}

#[test]
fn a_reset_masks_all_and_forgets() {
    let guest = Guest::with_msix();
    guest.set_vector(1, MESSAGE, true);
    guest.three.function.fire(1);
    guest.segment.reset();
    guest.set_command(3, MEMORY_SPACE | BUS_MASTER);
    guest.set_message_control(ENABLE);
    assert_eq!(guest.pending(), [0, 0]);
    assert_eq!(guest.load(guest.bar2(3) + TABLE + 16), [0; 8]);
    guest.three.function.fire(1);
    assert_eq!((guest.messages(), guest.pending()), (vec![], [2, 0]), "masked");
}

/// Takes its time over each message: until the guest has gone on, if the guest is let go on meanwhile.
#[derive(Default)]
struct SlowChip {
    entered: Event,
    masked: Event,
    order: Mutex<Vec<&'static str>>,
}

#[derive(Default)]
struct Event(Mutex<bool>, Condvar);

impl Event {
    fn set(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    fn wait_at_most(&self, time: Duration) {
        let (set, _) = self.1.wait_timeout_while(self.0.lock().unwrap(), time, |set| !*set).unwrap();
        drop(set);
    }
}

impl IrqChip for SlowChip {
    fn set_line(&self, _: u32, _: bool) {}
    fn send_msi(&self, _: Msi) {
        self.entered.set();
        self.masked.wait_at_most(Duration::from_millis(100));
        self.order.lock().unwrap().push("sent");
    }
}

/// A guest may give a vector to another core: mask, new message, unmask. No old message may follow the mask,
/// be it the vector's or the function's.
#[test]
fn a_mask_waits_for_a_message_under_way() {
    let masks: [fn(&Function); 2] = [
        |function| assert!(function.msix().unwrap().write_bar(0, 12, &[1, 0, 0, 0])),
        |function| function.write_config(0x42, &(ENABLE | FUNCTION_MASK).to_le_bytes()),
    ];
    for mask in masks {
        let chip = Arc::new(SlowChip::default());
        let mut builder = Function::builder(identity());
        builder.bar(0, Bar::memory32(0x1000)).unwrap();
        builder.msix(MsixLayout { vectors: 1, bar: 0, table: 0, pending: 0x800 }, chip.clone()).unwrap();
        let function = builder.build();
        function.write_config(4, &BUS_MASTER.to_le_bytes());
        function.write_config(0x42, &ENABLE.to_le_bytes());
        function.msix().unwrap().write_bar(0, 12, &[0; 4]);
        thread::scope(|scope| {
            scope.spawn(|| function.fire(0));
            chip.entered.wait_at_most(Duration::from_secs(60));
            mask(&function);
            chip.order.lock().unwrap().push("masked");
            chip.masked.set();
        });
        assert_eq!(*chip.order.lock().unwrap(), ["sent", "masked"]);
    }
}

#[test]
fn the_line_follows_the_level_and_interrupt_disable() {
    let guest = Guest::new();
    let function = &guest.three.function;
    function.set_intx(true);
    function.set_intx(true);
    assert_eq!(guest.levels(), [(LINE, true)]);
    assert!(guest.interrupt_status());
    guest.set_command(3, INTERRUPT_DISABLE);
    assert_eq!(guest.levels(), [(LINE, false)]);
    assert!(guest.interrupt_status(), "whether disabled or not");
    guest.set_command(3, 0);
    assert_eq!(guest.levels(), [(LINE, true)]);
    function.set_intx(false);
    assert_eq!(guest.levels(), [(LINE, false)]);
    assert!(!guest.interrupt_status());
}

#[test]
fn the_line_is_low_with_msix_and_after_a_reset() {
    let guest = Guest::new();
    guest.three.function.set_intx(true);
    guest.set_message_control(ENABLE | FUNCTION_MASK);
    assert_eq!(guest.levels(), [(LINE, true), (LINE, false)]);
    guest.set_message_control(0);
    assert_eq!(guest.levels(), [(LINE, true)]);
    guest.segment.reset();
    assert_eq!(guest.levels(), [(LINE, false)]);
    assert!(!guest.interrupt_status());
}

#[test]
fn a_function_without_interrupts_is_silent() {
    let function = Function::builder(identity()).build();
    function.set_intx(true);
    function.fire(0);
    let mut status = [0; 2];
    function.read_config(6, &mut status);
    assert_eq!(status, [0, 0]);
    assert_eq!(function.msix_vectors(), 0);
    assert!(!function.is_msix_enabled());
}

#[test]
fn impossible_msix_structures_are_refused() {
    let chip = Arc::new(Chip::default());
    let good = MsixLayout { vectors: 4, bar: 0, table: 0, pending: 0x40 };
    let refused = [
        MsixLayout { vectors: 0, ..good },
        MsixLayout { vectors: 5, ..good },
        MsixLayout { vectors: 2049, pending: 0xf000, ..good },
        MsixLayout { bar: 1, ..good },
        MsixLayout { bar: 6, ..good },
        MsixLayout { table: 4, pending: 0x80, ..good },
        MsixLayout { pending: 0x44, ..good },
        MsixLayout { pending: 0x1_0000, ..good },
        MsixLayout { table: 0xffc8, ..good },
        MsixLayout { table: u32::MAX - 7, ..good },
        MsixLayout { table: 0x40, ..good },
    ];
    let mut builder = Function::builder(identity());
    builder.bar(0, Bar::memory32(0x1_0000)).unwrap();
    for layout in refused {
        assert_eq!(builder.msix(layout, chip.clone()), Err(PciError::Msix(layout)));
    }
    builder.msix(good, chip.clone()).unwrap();
    assert_eq!(builder.msix(good, chip), Err(PciError::Msix(good)), "twice");
}
