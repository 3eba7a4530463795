//! The virtio console device (VIRTIO 1.2, 5.3).
