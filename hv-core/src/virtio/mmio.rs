//! The virtio transport over MMIO (VIRTIO 1.2, 4.2).
