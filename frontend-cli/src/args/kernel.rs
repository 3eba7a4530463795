//! The words of `hv kernel`.

use std::path::PathBuf;

use clap::Subcommand;

/// What to do with the kernels of guests from images.
#[derive(Debug, Subcommand)]
pub(crate) enum KernelCommand {
    /// Keep a distribution's kernel: its packages (.deb, .rpm), its vmlinuz with --modules, or a folder such as /boot
    Import {
        /// Packages, or an image, or a folder
        #[arg(value_name = "FILE", required = true)]
        sources: Vec<PathBuf>,
        /// The folder of the kernel's modules, /lib/modules/RELEASE
        #[arg(long, value_name = "FOLDER")]
        modules: Option<PathBuf>,
        /// What the kernel is called; its release if it is not said
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// Use it for guests of its architecture from now on
        #[arg(long)]
        default: bool,
    },
    /// List kernels
    Ls {
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove kernels
    Rm {
        /// Kernels
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
    /// Use a kernel for guests of its architecture
    Default {
        /// The kernel
        #[arg(value_name = "NAME")]
        name: String,
    },
}
