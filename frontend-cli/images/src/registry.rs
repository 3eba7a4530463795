//! Images in registries: a client for pulling by the OCI distribution specification (v1.1) and docker's registry v2.
//!
//! A registry is spoken to by HTTPS. Plain HTTP is for loopback hosts, where a registry that answers in it is taken at
//! its word, and for others if [`Options::insecure`] says so. Names and passwords go to the registry and to the token
//! service that it names, never to where it redirects. Nothing that a server sends is believed before it is checked
//! against a digest, except which manifest a tag stands for.

mod address;
mod authorization;
mod blob;
pub mod challenge;
mod client;
pub mod content_range;
mod credential_helper;
pub mod credentials;
mod failure;
#[doc(hidden)]
pub mod fuzzing;
mod options;
pub mod roots;
mod transport;

use std::io::Read;

use anyhow::{Result, bail, ensure};

use self::{
    blob::Blob,
    client::{Client, Request},
    transport::content_type,
};
use crate::{
    Descriptor, Digest, Document, Reference, Source,
    manifest::{DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST},
};

pub use self::{options::Options, roots::Certificates};

/// One image in a registry.
pub struct Registry {
    client: Client,
    reference: Reference,
}

impl Registry {
    /// The image that `reference` names. Nothing is asked for yet.
    ///
    /// # Errors
    /// The certificate authorities cannot be read.
    pub fn new(reference: &Reference, options: Options) -> Result<Self> {
        let client = Client::new(&reference.registry, &reference.repository, options)?;
        Ok(Self { client, reference: reference.clone() })
    }

    /// A manifest by digest or tag.
    fn document(&mut self, name: &str) -> Result<Document> {
        let repository = &self.reference.repository;
        let what = self.reference.to_string();
        let accept = [OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST].join(", ");
        let path = format!("/v2/{repository}/manifests/{name}");
        let answer =
            self.client.document(&Request { path: &path, accept: &accept, offset: 0, what: &what })?;
        let (host, media_type) = (self.client.host(), content_type(&answer.headers));
        if media_type == "text/html" {
            bail!("{what}: {host} answers with a web page; is there a registry, or a login page in between?");
        }
        let digest = Digest::of(&answer.bytes);
        let claimed = answer.headers.get("docker-content-digest").and_then(|value| value.to_str().ok());
        // One of another algorithm says nothing that could be checked here.
        if let Some(claimed) = claimed.and_then(|text| text.parse::<Digest>().ok()) {
            ensure!(
                claimed == digest,
                "{what}: {host} says that its manifest has the digest {claimed}, but what it sent has {digest}"
            );
        }
        Ok(Document { media_type, digest, bytes: answer.bytes })
    }

    /// The manifest of that very digest.
    fn document_of(&mut self, digest: Digest) -> Result<Document> {
        let document = self.document(&digest.to_string())?;
        let found = document.digest;
        ensure!(
            found == digest,
            "{}: asked for {digest}, {} sent something with the digest {found}",
            self.reference,
            self.client.host()
        );
        Ok(document)
    }
}

impl Source for Registry {
    fn top(&mut self) -> Result<Document> {
        let Reference { tag, digest, .. } = self.reference.clone();
        match (digest, tag) {
            (Some(digest), _) => self.document_of(digest),
            (None, Some(tag)) => self.document(&tag),
            (None, None) => bail!("{}: neither a tag nor a digest", self.reference),
        }
    }

    fn manifest(&mut self, descriptor: &Descriptor) -> Result<Document> {
        self.document_of(descriptor.digest)
    }

    fn blob(&mut self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + Send + '_>> {
        let digest = descriptor.digest;
        let path = format!("/v2/{}/blobs/{digest}", self.reference.repository);
        let what = format!("{}: blob {digest}", self.reference);
        Ok(Box::new(Blob::open(&mut self.client, path, what, descriptor, offset)?))
    }

    fn resumable(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
