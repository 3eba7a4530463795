//! The 16550A's registers, with input from the other end.

use std::sync::{Arc, Mutex};

use hv_core::{
    devices::{
        uart::INPUT_LIMIT,
        uart16550::{Uart16550, WINDOW},
    },
    irq::IrqLine,
    testing::RecordingChip,
};

use crate::{Input, sink::Written, twins::Access};

const GSI: u32 = 4;
const IDENTIFY_INTERRUPT: u64 = 2;

/// Any accesses, with bytes arriving in between.
///
/// Transmitted is only what was stored to the data register; an interrupt that is raised is identified; what waits
/// for the guest stays within its limit.
///
/// # Panics
/// The UART breaks one of these.
pub fn uart(data: &[u8]) {
    let make = || {
        let (chip, written) = (Arc::new(RecordingChip::default()), Arc::new(Mutex::new(Vec::new())));
        let line = IrqLine::new(chip.clone(), GSI);
        (Uart16550::new(line, Box::new(Written(written.clone()))), chip, written)
    };
    let ((one, chip, written), (two, _, _)) = (make(), make());
    let mut input = Input::new(data);
    let mut stored = Vec::new();
    while !input.is_empty() {
        if input.u8() & 7 == 0 {
            let arriving = vec![0x5a; usize::from(input.u16()) % (INPUT_LIMIT * 2)];
            let sent = one.input().send(&arriving);
            assert_eq!(sent, two.input().send(&arriving));
            assert!(sent <= INPUT_LIMIT);
            continue;
        }
        let access = Access::read(&mut input, WINDOW);
        let raised = chip.line(GSI);
        let answer = access.play(&one, &two);
        if let (IDENTIFY_INTERRUPT, Some(answer)) = (access.offset, &answer) {
            assert_eq!(raised, raised && answer[0] & 1 == 0, "raised, and none is pending");
        }
        stored.extend(access.stored_at(0));
    }
    let written = written.lock().unwrap();
    let mut stored = stored.iter();
    assert!(
        written.iter().all(|byte| stored.any(|stored| stored == byte)),
        "transmitted what was not stored"
    );
}
