//! The architectures that a guest may have, and what images call them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A guest's architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// 64-bit x86: `amd64` in images.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64-bit Arm: `arm64` in images.
    Aarch64,
}

impl Architecture {
    /// The name that images use: Go's `GOARCH`.
    #[must_use]
    pub fn image_name(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// Whether an image for `architecture`, with this `variant`, runs on it.
    ///
    /// A variant of amd64 above the first asks for instructions that not every processor has: `v1` and none are the
    /// same. For arm64 there is one name for one thing, `v8`.
    #[must_use]
    pub fn runs(self, architecture: &str, variant: Option<&str>) -> bool {
        let variant = variant.unwrap_or_default();
        architecture == self.image_name()
            && match self {
                Self::X86_64 => matches!(variant, "" | "v1"),
                Self::Aarch64 => matches!(variant, "" | "v8"),
            }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        })
    }
}
