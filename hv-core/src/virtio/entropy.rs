//! The virtio entropy device (VIRTIO 1.2, 5.4).
