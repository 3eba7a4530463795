//! The virtio block device (VIRTIO 1.2, 5.2).
