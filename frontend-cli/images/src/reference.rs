//! Names of images as Docker writes them: `debian:bookworm`, `host:5000/path:tag@sha256:…`.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Result, anyhow, ensure};

use crate::Digest;

/// The registry of names that name none.
const DOCKER: &str = "docker.io";
/// The tag of names that have neither a tag nor a digest.
const LATEST: &str = "latest";
/// Bytes in registry and repository together.
const MOST_NAME: usize = 255;
/// Bytes in a tag.
const MOST_TAG: usize = 128;
/// Bytes in all of it: name, tag and digest with the signs between them.
const MOST_TEXT: usize = MOST_NAME + 1 + MOST_TAG + 1 + "sha256:".len() + 64;

/// The name of an image in a registry, completed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// The registry: a host, with a port after `:` if it has one; `docker.io` if none was named.
    pub registry: String,
    /// The path in it; a name alone at Docker's registry is one of `library/`.
    pub repository: String,
    /// The tag; `latest` where neither tag nor digest was given.
    pub tag: Option<String>,
    /// The digest of a manifest or an index.
    pub digest: Option<Digest>,
}

impl FromStr for Reference {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        parse(text).map_err(|what| {
            let shown: String = text.chars().take(100).collect();
            anyhow!("{shown:?} is not the name of an image: {what}")
        })
    }
}

fn parse(text: &str) -> Result<Reference> {
    ensure!(!text.is_empty(), "it is empty");
    ensure!(text.len() <= MOST_TEXT, "it has {} letters: {MOST_TEXT} are the most", text.len());
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(digest.parse::<Digest>()?)),
        None => (text, None),
    };
    // A colon behind the last slash begins the tag: one before it begins a port.
    let path = name.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match name[path..].split_once(':') {
        Some((_, tag)) => (&name[..name.len() - tag.len() - 1], Some(tag)),
        None => (name, None),
    };
    let (registry, repository) = match name.split_once('/') {
        Some((host, path)) if is_host(host) => (host, path.to_owned()),
        _ => (DOCKER, name.to_owned()),
    };
    let registry = if registry == "index.docker.io" { DOCKER } else { registry };
    let repository = if registry == DOCKER && !repository.contains('/') {
        format!("library/{repository}")
    } else {
        repository
    };
    check_host(registry)?;
    repository.split('/').try_for_each(check_part)?;
    let length = registry.len() + 1 + repository.len();
    ensure!(length <= MOST_NAME, "its name has {length} letters: {MOST_NAME} are the most");
    tag.map_or(Ok(()), check_tag)?;
    let tag = match (tag, digest) {
        (None, None) => Some(LATEST),
        (tag, _) => tag,
    };
    Ok(Reference { registry: registry.to_owned(), repository, tag: tag.map(str::to_owned), digest })
}

/// Whether the first part of a name is a registry's host, and not part of a path.
fn is_host(part: &str) -> bool {
    part == "localhost" || part.contains(['.', ':']) || part.chars().any(|letter| letter.is_ascii_uppercase())
}

fn check_host(registry: &str) -> Result<()> {
    let (host, port) = match registry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            ensure!(address.parse::<std::net::Ipv6Addr>().is_ok(), "{address:?} is no IPv6 address");
            ensure!(rest.is_empty() || rest.starts_with(':'), "{registry:?} is no host with a port");
            ("", rest.strip_prefix(':'))
        }
        None => registry.split_once(':').map_or((registry, None), |(host, port)| (host, Some(port))),
    };
    let labels = |host: &str| {
        host.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        })
    };
    ensure!(host.is_empty() && registry.starts_with('[') || labels(host), "{host:?} is no host");
    let digits = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    ensure!(port.is_none_or(digits), "{:?} is no port", port.unwrap_or_default());
    Ok(())
}

/// A part of the path: lower-case letters and digits, with one `.`, one or two `_`, or any number of `-` between them.
fn check_part(part: &str) -> Result<()> {
    ensure!(!part.bytes().any(|byte| byte.is_ascii_uppercase()), "{part:?} has upper-case letters");
    let is_letter = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_run =
        |run: &[u8]| matches!(run, b"" | b"." | b"_" | b"__") || run.iter().all(|byte| *byte == b'-');
    let bytes = part.as_bytes();
    let ends = bytes.first().is_some_and(is_letter) && bytes.last().is_some_and(is_letter);
    ensure!(
        ends && bytes.split(is_letter).all(is_run),
        "{part:?} is not made of lower-case letters and digits with `.`, `_` or `-` between them"
    );
    Ok(())
}

fn check_tag(tag: &str) -> Result<()> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let right = tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'));
    ensure!(right && tag.len() <= MOST_TAG, "{tag:?} is no tag");
    Ok(())
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        self.digest.map_or(Ok(()), |digest| write!(formatter, "@{digest}"))
    }
}

/// Whether two names mean the same image.
pub(crate) fn same(one: &str, other: &str) -> bool {
    one.parse::<Reference>().is_ok_and(|one| other.parse::<Reference>().is_ok_and(|other| one == other))
}

/// How a word of the command line that stands for an image is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Looks {
    /// As a path: it begins with `/`, `./` or `../`, is `.` or `..`, or there is a file or directory of that name.
    Path(PathBuf),
    /// As a name in a registry: all else.
    Reference(Reference),
}

impl Looks {
    /// Takes `word` as a path if it looks like one or exists, and as a reference otherwise. A directory `debian` in
    /// the working directory so goes before Docker's image of that name, which `docker.io/debian` still is.
    ///
    /// # Errors
    /// It is neither.
    pub fn of(word: &str) -> Result<Self> {
        let like_path =
            ["/", "./", "../"].iter().any(|start| word.starts_with(start)) || matches!(word, "." | "..");
        if like_path || (!word.is_empty() && Path::new(word).symlink_metadata().is_ok()) {
            return Ok(Self::Path(word.into()));
        }
        let reference: Result<Reference> = word.parse();
        reference
            .map(Self::Reference)
            .map_err(|error| anyhow!("{error:#}, and there is no file of that name"))
    }
}

#[cfg(test)]
mod tests;
