//! Payloads and how they are loaded: kernels, initial RAM disks, command lines.

pub mod x86_64;
