//! Virtio's vendor-specific capabilities (VIRTIO 1.2, 4.1.4), which say where its structures are.

use crate::pci::{Function, FunctionBuilder, PciError};

/// Vendor-specific (PCI Local Bus 3.0, appendix H).
const VENDOR_SPECIFIC: u8 = 0x09;

/// `cfg_type`.
const COMMON: u8 = 1;
const NOTIFY: u8 = 2;
const ISR: u8 = 3;
const DEVICE: u8 = 4;
const PCI: u8 = 5;

/// The capability's size with its id and next pointer, and of what some have behind it.
const SIZE: u8 = 16;
const EXTENSION: u8 = 4;

/// Offsets from the capability's start.
const BAR_AT: u16 = 4;
const OFFSET_AT: u16 = 8;
const DATA_AT: u16 = 16;

/// Common configuration.
pub(super) fn add_common(builder: &mut FunctionBuilder, offset: u64, size: u64) -> Result<(), PciError> {
    add(builder, COMMON, offset, size, None).map(drop)
}

/// Doorbells, `stride` bytes apart.
pub(super) fn add_notify(
    builder: &mut FunctionBuilder,
    offset: u64,
    size: u64,
    stride: u32,
) -> Result<(), PciError> {
    add(builder, NOTIFY, offset, size, Some(stride.to_le_bytes())).map(drop)
}

/// Interrupt status.
pub(super) fn add_isr(builder: &mut FunctionBuilder, offset: u64) -> Result<(), PciError> {
    add(builder, ISR, offset, 1, None).map(drop)
}

/// The device's own configuration.
pub(super) fn add_config(builder: &mut FunctionBuilder, offset: u64, size: u64) -> Result<(), PciError> {
    add(builder, DEVICE, offset, size, None).map(drop)
}

fn add(
    builder: &mut FunctionBuilder,
    kind: u8,
    offset: u64,
    size: u64,
    extension: Option<[u8; EXTENSION as usize]>,
) -> Result<u8, PciError> {
    let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
    let capability_size = SIZE + if extension.is_some() { EXTENSION } else { 0 };
    let mut body = vec![capability_size, kind, super::BAR, 0, 0, 0];
    body.extend(narrow(offset));
    body.extend(narrow(size));
    body.extend(extension.unwrap_or_default().get(..usize::from(capability_size - SIZE)).unwrap_or_default());
    // The window's BAR, offset, length and data are the driver's to set.
    let writable: &[u8] = if kind == PCI { &WINDOW_WRITABLE } else { &[] };
    builder.capability(VENDOR_SPECIFIC, &body, writable)
}

const WINDOW_WRITABLE: [u8; 18] =
    [0, 0, 0xff, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];

/// A window into the BAR for drivers that cannot map it (4.1.4.9).
pub(super) struct Window {
    /// Offset of the capability in configuration space.
    at: u16,
}

impl Window {
    pub(super) fn add(builder: &mut FunctionBuilder) -> Result<Self, PciError> {
        let at = add(builder, PCI, 0, 0, Some([0; EXTENSION as usize]))?;
        Ok(Self { at: at.into() })
    }

    /// Whether an access of `len` bytes at `offset` into configuration space touches the window's data.
    pub(super) fn touched(&self, offset: u16, len: usize) -> bool {
        let data = self.at + DATA_AT;
        let end = usize::from(offset).saturating_add(len);
        offset < data + u16::from(EXTENSION) && end > usize::from(data)
    }

    /// BAR, offset and length that the driver chose.
    pub(super) fn target(&self, function: &Function) -> (u8, u32, u32) {
        let mut bar = [0];
        function.read_config(self.at + BAR_AT, &mut bar);
        let mut place = [0; 8];
        function.read_config(self.at + OFFSET_AT, &mut place);
        let [a, b, c, d, len @ ..] = place;
        (bar[0], u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes(len))
    }

    /// The data register.
    pub(super) fn data(&self, function: &Function) -> [u8; 4] {
        let mut data = [0; 4];
        function.read_config(self.at + DATA_AT, &mut data);
        data
    }

    /// Sets the beginning of the data register.
    pub(super) fn set_data(&self, function: &Function, data: &[u8]) {
        function.write_config(self.at + DATA_AT, data);
    }
}
