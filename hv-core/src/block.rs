//! Disks behind a block device.
