//! Manifests and indexes of the OCI image specification (v1.1), and Docker's of the same form (schema 2).

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::{Architecture, Digest};

/// `application/vnd.oci.image.index.v1+json`.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// `application/vnd.oci.image.manifest.v1+json`.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// `application/vnd.oci.image.config.v1+json`.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// `application/vnd.oci.image.layer.v1.tar`.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// Docker's index.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker's manifest, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's configuration.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// The configuration that stands for a plain root's: it has no digests of layers.
pub(crate) const ROOT_CONFIG: &str = "application/vnd.hv.root.config.v1+json";

/// Bytes in a manifest, an index or a configuration.
pub const MOST_DOCUMENT: u64 = 4 << 20;
/// Layers of an image.
pub const MOST_LAYERS: usize = 500;

/// What a descriptor's content is for (OCI image specification, `descriptor.md`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What kind of document it is; empty where nothing says so.
    #[serde(default)]
    pub media_type: String,
    /// The digest of the content.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// What an image of an index runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Words about the content, such as its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

impl Descriptor {
    /// The descriptor of `bytes`.
    #[must_use]
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
            platform: None,
            annotations: None,
        }
    }
}

/// What an image runs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// Go's `GOARCH`, such as `amd64`.
    #[serde(default)]
    pub architecture: String,
    /// Go's `GOOS`, such as `linux`.
    #[serde(default)]
    pub os: String,
    /// Of the architecture, such as `v8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// Whether an image for it runs on Linux on `architecture`.
    #[must_use]
    pub fn runs_on(&self, architecture: Architecture) -> bool {
        self.os == "linux" && architecture.runs(&self.architecture, self.variant.as_deref())
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(formatter, "/{variant}"))
    }
}

/// A manifest: what one image consists of.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// [`OCI_MANIFEST`] or [`DOCKER_MANIFEST`].
    #[serde(default)]
    pub media_type: String,
    /// The image's configuration.
    pub config: Descriptor,
    /// Its layers, the lowest first.
    pub layers: Vec<Descriptor>,
}

/// An index: images of one name for several platforms.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// [`OCI_INDEX`] or [`DOCKER_INDEX`].
    #[serde(default)]
    pub media_type: String,
    /// The images.
    pub manifests: Vec<Descriptor>,
}

/// What a document turned out to be.
#[derive(Debug, Clone)]
pub enum Parsed {
    /// One image.
    Manifest(Manifest),
    /// Several.
    Index(Index),
}

/// What the kind of a document is told by, where its media type is missing.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outline {
    schema_version: Option<u32>,
    #[serde(default)]
    media_type: String,
    manifests: Option<serde::de::IgnoredAny>,
    layers: Option<serde::de::IgnoredAny>,
}

/// Reads a manifest or an index; `media_type` is what the source called it, and may be empty.
///
/// # Errors
/// It is neither, or breaks a bound.
pub fn parse(media_type: &str, bytes: &[u8]) -> Result<Parsed> {
    ensure!(bytes.len() as u64 <= MOST_DOCUMENT, "a manifest of more than {MOST_DOCUMENT} bytes");
    let outline: Outline = serde_json::from_slice(bytes).context("a manifest that is not valid JSON")?;
    if let Some(version @ (0 | 1 | 3..)) = outline.schema_version {
        bail!(
            "a manifest of schema version {version}: only 2 is supported; push the image again by a newer tool"
        );
    }
    // What the document says of itself goes before what its source says: one of them may be a registry's guess.
    let kind = if outline.media_type.is_empty() { media_type } else { &outline.media_type };
    match kind.split(';').next().unwrap_or_default().trim() {
        OCI_INDEX | DOCKER_INDEX => index(bytes),
        OCI_MANIFEST | DOCKER_MANIFEST => manifest(bytes),
        _ if outline.manifests.is_some() && outline.layers.is_none() => index(bytes),
        _ if outline.layers.is_some() && outline.manifests.is_none() => manifest(bytes),
        kind => bail!("{kind:.100?} is neither an image's manifest nor an index"),
    }
}

fn index(bytes: &[u8]) -> Result<Parsed> {
    Ok(Parsed::Index(serde_json::from_slice(bytes).context("an index that cannot be read")?))
}

fn manifest(bytes: &[u8]) -> Result<Parsed> {
    let manifest: Manifest = serde_json::from_slice(bytes).context("a manifest that cannot be read")?;
    let count = manifest.layers.len();
    ensure!(count <= MOST_LAYERS, "an image of {count} layers: {MOST_LAYERS} are the most");
    Ok(Parsed::Manifest(manifest))
}
