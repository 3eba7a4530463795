//! How this host gives space of a disk's file back, and makes zeroes without writing them.

cfg_if::cfg_if! {
    if #[cfg(target_os = "linux")] {
        mod linux;
        pub(crate) use linux::LinuxFiles as HostFiles;
    } else {
        mod macos;
        pub(crate) use macos::MacFiles as HostFiles;
    }
}
