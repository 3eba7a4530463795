//! Device status and features: the state machine that both transports share (VIRTIO 1.2, 3.1).
