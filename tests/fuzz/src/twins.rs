//! Two equal machines that get the same accesses: what a load leaves unset, or what depends on luck, differs.

use hv_core::bus::BusDevice;

/// Loads from both, into buffers of opposite bits, and says what they answer.
///
/// # Panics
/// They differ: the load does not set every byte, or the device is not deterministic.
pub(crate) fn load(
    one: impl FnOnce(&mut [u8]),
    two: impl FnOnce(&mut [u8]),
    width: usize,
    what: impl FnOnce() -> String,
) -> Vec<u8> {
    let (mut zeros, mut ones) = (vec![0; width], vec![0xff; width]);
    one(&mut zeros);
    two(&mut ones);
    assert_eq!(zeros, ones, "{}", what());
    zeros
}

/// One access to a window of registers.
pub(crate) struct Access {
    pub(crate) offset: u64,
    pub(crate) width: usize,
    /// What is stored; else it is a load.
    pub(crate) store: Option<Vec<u8>>,
}

impl Access {
    /// Mostly within `window` bytes, sometimes anywhere.
    pub(crate) fn read(input: &mut crate::Input<'_>, window: u64) -> Self {
        let kind = input.u8();
        let offset = match kind >> 2 {
            0 => input.u64(),
            1 => u64::MAX - input.below(9),
            _ => input.below(window + 2),
        };
        if kind & 1 == 0 {
            let store = input.store();
            Self { offset, width: store.len(), store: Some(store) }
        } else {
            Self { offset, width: input.width(), store: None }
        }
    }

    /// Mostly of one of `registers` instead, where the window holds many more places than registers.
    pub(crate) fn near(mut self, input: &mut crate::Input<'_>, registers: &[u64]) -> Self {
        if input.u8() & 3 != 0 {
            self.offset = input.choose(registers);
        }
        self
    }

    /// Plays it on both devices; the answer if it is a load.
    pub(crate) fn play(&self, one: &dyn BusDevice, two: &dyn BusDevice) -> Option<Vec<u8>> {
        let Self { offset, width, store } = self;
        if let Some(bytes) = store {
            one.write(*offset, bytes);
            two.write(*offset, bytes);
            return None;
        }
        let what = || format!("load of {width} bytes at {offset:#x}");
        Some(load(|data| one.read(*offset, data), |data| two.read(*offset, data), *width, what))
    }

    /// The bytes that a store brings to the register at `register`, in order.
    pub(crate) fn stored_at(&self, register: u64) -> Option<u8> {
        let at = usize::try_from(register.wrapping_sub(self.offset)).ok()?;
        self.store.as_ref()?.get(at).copied()
    }
}
