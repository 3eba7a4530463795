//! The virtio transport over PCI (VIRTIO 1.2, 4.1).
