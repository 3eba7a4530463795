//! What `docker save` writes: a tar archive with `manifest.json`, of old Dockers (a directory for each layer) and new
//! ones (an OCI layout besides).

use std::{
    collections::HashMap,
    io::{self, Read},
};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::{
    Document, Source,
    layout::{listed, read_small},
    members::Members,
};
use crate::{
    Descriptor, Digest, config,
    digest::HashingReader,
    manifest::{MOST_LAYERS, Manifest, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST},
    packing::Packing,
};

/// Images in one archive.
const MOST_IMAGES: usize = 1024;

/// One image of `manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SavedImage {
    /// The member with its configuration.
    pub config: String,
    /// Its names.
    #[serde(default)]
    pub repo_tags: Option<Vec<String>>,
    /// The members with its layers, the lowest first.
    #[serde(default)]
    pub layers: Option<Vec<String>>,
}

/// Reads `manifest.json`.
///
/// # Errors
/// It is not valid, or breaks a bound.
pub fn parse_manifest(bytes: &[u8]) -> Result<Vec<SavedImage>> {
    let images: Vec<SavedImage> = serde_json::from_slice(bytes).context("manifest.json cannot be read")?;
    ensure!(
        images.len() <= MOST_IMAGES,
        "manifest.json has {} images: {MOST_IMAGES} are the most",
        images.len()
    );
    for image in &images {
        let count = image.layers.as_ref().map_or(0, Vec::len);
        ensure!(count <= MOST_LAYERS, "an image of {count} layers: {MOST_LAYERS} are the most");
    }
    Ok(images)
}

/// An archive that `docker save` wrote, as a source of one of its images.
#[derive(Debug)]
pub struct DockerArchive {
    members: Members,
    name: Option<String>,
    /// No other image will do, not even the only one.
    strict: bool,
    /// Members by the digests of what they hold.
    blobs: HashMap<Digest, String>,
}

impl DockerArchive {
    /// The archive with these members. Where it has several images, the one called `name` is taken.
    #[must_use]
    pub fn new(members: Members, name: Option<&str>) -> Self {
        Self { members, name: name.map(str::to_owned), strict: false, blobs: HashMap::new() }
    }

    /// Whether an image of another name is refused even where it is the only one.
    #[must_use]
    pub fn strict(self, strict: bool) -> Self {
        Self { strict, ..self }
    }

    fn choose(&self, images: Vec<SavedImage>) -> Result<SavedImage> {
        let names = |image: &SavedImage| image.repo_tags.clone().unwrap_or_default();
        let wanted = |name: &String| match &self.name {
            Some(wanted) => name == wanted || crate::reference::same(name, wanted),
            None => false,
        };
        let count = images.len();
        let all: Vec<_> = images.iter().flat_map(names).take(20).map(|name| format!("{name:.100}")).collect();
        let mut images = images.into_iter();
        match (count, images.next()) {
            (_, None) => bail!("there is no image in it"),
            (1, Some(image)) if !self.strict => Ok(image),
            (_, first) => {
                let mut all_images = first.into_iter().chain(images);
                let found = all_images.find(|image| names(image).iter().any(wanted));
                found.with_context(|| match self.name.as_deref().filter(|_| self.strict) {
                    Some(name) => format!("it has no image {name:.100}, but {}", listed(&all)),
                    None => {
                        format!("it has {count} images, say by a name which one is meant: {}", all.join(", "))
                    }
                })
            }
        }
    }

    /// The descriptor of a layer. Where the member is the plain archive, its digest is the one that the
    /// configuration has: it is checked when the layer is unpacked, as that of every blob.
    fn layer(&mut self, member: &str, diff_id: Digest) -> Result<Descriptor> {
        let size = self.members.size(member.as_bytes())?;
        let mut head = Vec::new();
        self.members.open(member.as_bytes(), 0)?.take(crate::packing::HEAD).read_to_end(&mut head)?;
        let digest = match Packing::of(&head)? {
            Packing::Plain => diff_id,
            _ => {
                let mut reader = HashingReader::new(self.members.open(member.as_bytes(), 0)?);
                io::copy(&mut reader, &mut io::sink())?;
                reader.finish().0
            }
        };
        self.blobs.insert(digest, member.to_owned());
        Ok(Descriptor { size, digest, ..Descriptor::of(OCI_LAYER, b"") })
    }
}

impl Source for DockerArchive {
    fn top(&mut self) -> Result<Document> {
        let mut reader = self.members.open(b"manifest.json", 0)?;
        let images = parse_manifest(&read_small(&mut reader, "manifest.json")?)?;
        let image = self.choose(images)?;
        let mut reader = self.members.open(image.config.as_bytes(), 0)?;
        let config = read_small(&mut reader, "the image's configuration")?;
        let parsed = config::parse(&config)?;
        let layers = image.layers.unwrap_or_default();
        let (ids, count) = (parsed.diff_ids.len(), layers.len());
        ensure!(ids == count, "an image of {count} layers whose configuration has {ids}");
        let descriptor = Descriptor::of(OCI_CONFIG, &config);
        self.blobs.insert(descriptor.digest, image.config);
        let layers = layers.iter().zip(parsed.diff_ids);
        let layers: Result<Vec<_>> = layers.map(|(member, diff_id)| self.layer(member, diff_id)).collect();
        let media_type = OCI_MANIFEST.to_owned();
        let manifest = Manifest { schema_version: 2, media_type, config: descriptor, layers: layers? };
        let bytes = serde_json::to_vec(&manifest)?;
        Ok(Document { media_type: manifest.media_type, digest: Digest::of(&bytes), bytes })
    }

    fn manifest(&mut self, descriptor: &Descriptor) -> Result<Document> {
        bail!("{} is not in the archive", descriptor.digest)
    }

    fn blob(&mut self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + Send + '_>> {
        let member = self.blobs.get(&descriptor.digest);
        let member = member.with_context(|| format!("{} is not in the archive", descriptor.digest))?;
        Ok(Box::new(self.members.open(member.as_bytes(), offset)?))
    }
}
