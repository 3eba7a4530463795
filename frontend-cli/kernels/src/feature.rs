//! `Feature`: what a guest can ask of its kernel, and which options and modules that is.

use serde::{Deserialize, Serialize};

use crate::Architecture;

/// What a guest can ask of its kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Feature {
    /// virtio devices on PCI.
    VirtioPci,
    /// virtio devices on MMIO.
    VirtioMmio,
    /// virtio block devices.
    Block,
    /// virtio network devices.
    Net,
    /// The virtio console.
    Console,
    /// The virtio entropy device.
    Entropy,
    /// virtio sockets.
    Vsock,
    /// The virtio balloon.
    Balloon,
    /// Shared folders: virtiofs on FUSE.
    Fs,
    /// The ext4 file system.
    Ext4,
    /// The overlay file system.
    Overlay,
    /// The EROFS file system.
    Erofs,
    /// The machine's power button as an input device: ACPI on x86_64, GPIO on arm64.
    PowerButton,
}

/// An option of the kernel, and the module that it is where it is not built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) option: &'static str,
    pub(crate) module: &'static str,
}

const fn part(option: &'static str, module: &'static str) -> Part {
    Part { option, module }
}

impl Feature {
    /// All of them, in the order in which their modules load.
    pub const ALL: [Self; 13] = [
        Self::VirtioPci,
        Self::VirtioMmio,
        Self::Block,
        Self::Net,
        Self::Console,
        Self::Entropy,
        Self::Vsock,
        Self::Balloon,
        Self::Fs,
        Self::Ext4,
        Self::Overlay,
        Self::Erofs,
        Self::PowerButton,
    ];

    /// What it is made of, in the order in which its parts load.
    pub(crate) fn parts(self, architecture: Architecture) -> &'static [Part] {
        const EVDEV: Part = part("CONFIG_INPUT_EVDEV", "evdev");
        const ACPI: &[Part] = &[part("CONFIG_ACPI_BUTTON", "button"), EVDEV];
        const GPIO: &[Part] =
            &[part("CONFIG_GPIO_PL061", "gpio_pl061"), part("CONFIG_KEYBOARD_GPIO", "gpio_keys"), EVDEV];
        match self {
            Self::VirtioPci => &const { [part("CONFIG_VIRTIO_PCI", "virtio_pci")] },
            Self::VirtioMmio => &const { [part("CONFIG_VIRTIO_MMIO", "virtio_mmio")] },
            Self::Block => &const { [part("CONFIG_VIRTIO_BLK", "virtio_blk")] },
            Self::Net => &const { [part("CONFIG_VIRTIO_NET", "virtio_net")] },
            Self::Console => &const { [part("CONFIG_VIRTIO_CONSOLE", "virtio_console")] },
            Self::Entropy => &const { [part("CONFIG_HW_RANDOM_VIRTIO", "virtio_rng")] },
            Self::Vsock => &const { [part("CONFIG_VIRTIO_VSOCKETS", "vmw_vsock_virtio_transport")] },
            Self::Balloon => &const { [part("CONFIG_VIRTIO_BALLOON", "virtio_balloon")] },
            Self::Fs => &const { [part("CONFIG_FUSE_FS", "fuse"), part("CONFIG_VIRTIO_FS", "virtiofs")] },
            Self::Ext4 => &const { [part("CONFIG_EXT4_FS", "ext4")] },
            Self::Overlay => &const { [part("CONFIG_OVERLAY_FS", "overlay")] },
            Self::Erofs => &const { [part("CONFIG_EROFS_FS", "erofs")] },
            Self::PowerButton if architecture == Architecture::X86_64 => ACPI,
            Self::PowerButton => GPIO,
        }
    }

    /// What hv needs it for, as the end of "hv needs it for ...".
    pub(crate) fn purpose(self) -> &'static str {
        match self {
            Self::VirtioPci | Self::VirtioMmio => "every device of a guest",
            Self::Block => "disks",
            Self::Net => "networks",
            Self::Console => "the console",
            Self::Entropy => "random numbers",
            Self::Vsock => "talking to a guest",
            Self::Balloon => "memory that a guest gives back",
            Self::Fs => "shared folders",
            Self::Ext4 => "what a guest writes",
            Self::Overlay => "what a guest changes in its image",
            Self::Erofs => "the root of images",
            Self::PowerButton => "the power button",
        }
    }

    /// Whether no guest can do without it. (Of the two transports one is enough: see `import`.)
    pub(crate) fn is_required(self) -> bool {
        matches!(self, Self::Block | Self::Vsock | Self::Ext4 | Self::Overlay | Self::Erofs)
    }
}
