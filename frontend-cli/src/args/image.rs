//! The words of `hv image`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// What to do with images.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Fetch an image from its registry, if it is not here as it is there
    Pull(PullArguments),
    /// Make an image of a root's folder, a tar archive of one, an OCI layout, or an OCI or docker archive
    Import {
        /// The folder or archive
        path: PathBuf,
        /// What the image is called, and which is taken where there are several
        #[arg(value_name = "NAME")]
        name: Option<String>,
        /// Take the image that is called so in the archive or layout, or has this digest there, and call it NAME
        #[arg(long, value_name = "NAME-THERE", requires = "name")]
        select: Option<String>,
        /// For guests of this architecture; that of this host's guests if it is not said
        #[arg(long, value_name = "ARCHITECTURE")]
        arch: Option<GuestArchitecture>,
    },
    /// List images
    Ls {
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Forget images, and what only they needed
    Rm {
        /// Images
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
    /// Remove what no image needs: replaced images, broken downloads
    Prune,
}

/// What `hv image pull` is told.
#[derive(Debug, Args)]
pub(crate) struct PullArguments {
    /// Name of the image, such as debian:bookworm or registry.example:5000/team/image@sha256:...
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// For guests of this architecture; that of this host's guests if it is not said
    #[arg(long, value_name = "ARCHITECTURE")]
    pub(crate) arch: Option<GuestArchitecture>,
    /// Speak plain HTTP with a registry that is not this host
    #[arg(long)]
    pub(crate) insecure: bool,
}

/// A guest's architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GuestArchitecture {
    #[value(name = "x86_64", alias = "amd64")]
    X86_64,
    #[value(name = "aarch64", alias = "arm64")]
    Aarch64,
}
