//! A backend without hardware and a virtio driver, for tests.
