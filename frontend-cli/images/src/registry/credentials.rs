//! Credentials for a registry, from the files in which docker and the tools of containers keep them.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::Deserialize;

use super::{address::is_docker_hub, credential_helper};

/// Bytes of an auth file that are read.
const FILE_LIMIT: u64 = 1 << 20;
/// What docker's files call Docker Hub.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
/// Docker writes the padding, others do not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Who asks.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A name and its password, or an access token in place of one.
    Password {
        /// The account.
        username: String,
        /// Its secret.
        password: String,
    },
    /// A token for which the registry's token service gives access (`grant_type=refresh_token` of OAuth 2).
    IdentityToken(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { username, .. } => write!(f, "Password of {username:?}"),
            Self::IdentityToken(_) => f.write_str("IdentityToken"),
        }
    }
}

/// An auth file: docker's `config.json` or containers' `auth.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthFile {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default)]
    creds_store: String,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    auth: String,
    #[serde(default, rename = "identitytoken")]
    identity_token: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entry")
    }
}

impl AuthFile {
    /// Reads the JSON of an auth file; what it says of other things is passed over.
    ///
    /// # Errors
    /// It is not JSON, or a key of interest has another type.
    pub fn parse(bytes: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(bytes)
    }

    /// The name of the helper (`docker-credential-NAME`) that keeps credentials for `registry`, if one does.
    #[must_use]
    pub fn helper(&self, registry: &str) -> Option<&str> {
        let own = self.cred_helpers.iter().find(|(key, _)| same_host(key, registry)).map(|(_, name)| name);
        own.or(Some(&self.creds_store)).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// The credentials that stand in the file itself: those for the repository, a part of its path, or the registry.
    ///
    /// # Errors
    /// The entry is damaged; the message has no part of the secret.
    pub fn entry(&self, registry: &str, repository: &str) -> Result<Option<Credentials>> {
        let whole = format!("{registry}/{repository}");
        let mut name = whole.as_str();
        while let Some((shorter, _)) = name.rsplit_once('/') {
            if let Some(entry) = self.auths.get(name) {
                return entry.credentials().with_context(|| format!("the entry {name:?}"));
            }
            name = shorter;
        }
        match self.auths.iter().find(|(key, _)| same_host(key, registry)) {
            Some((key, entry)) => entry.credentials().with_context(|| format!("the entry {key:?}")),
            None => Ok(None),
        }
    }
}

impl Entry {
    /// `None` where the entry is empty, as docker leaves it for a helper.
    fn credentials(&self) -> Result<Option<Credentials>> {
        if !self.identity_token.is_empty() {
            return Ok(Some(Credentials::IdentityToken(self.identity_token.clone())));
        }
        if self.auth.is_empty() {
            let (username, password) = (self.username.clone(), self.password.clone());
            return Ok((!username.is_empty()).then_some(Credentials::Password { username, password }));
        }
        // The decoder's own error would show a character of the secret.
        let Ok(bytes) = BASE64.decode(self.auth.trim_ascii()) else { bail!("auth is not in base64") };
        let Ok(text) = String::from_utf8(bytes) else { bail!("auth is not text") };
        let Some((username, password)) = text.split_once(':') else { bail!("auth has no colon") };
        let (username, password) = (username.to_owned(), password.trim_end_matches('\0').to_owned());
        Ok(Some(Credentials::Password { username, password }))
    }
}

/// Whether a file's key is for the whole of `registry`: its host, also with a scheme and a version (`/v1/`).
fn same_host(key: &str, registry: &str) -> bool {
    let host = match key.split_once("://") {
        Some((_, rest)) => rest.split('/').next().unwrap_or_default(),
        None => {
            let key = key.trim_end_matches('/');
            key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key)
        }
    };
    host.eq_ignore_ascii_case(registry) || (is_docker_hub(host) && is_docker_hub(registry))
}

/// What was found, and where it was looked for.
#[derive(Debug, Default)]
pub(crate) struct Search {
    pub(crate) credentials: Option<Credentials>,
    /// One remark for each place, the last of which is that of the credentials.
    pub(crate) places: Vec<String>,
}

/// Looks for credentials in `files`, in order.
///
/// A helper that cannot be asked is only remarked upon: what is asked for may be public.
pub(crate) fn search(
    files: &[PathBuf],
    registry: &str,
    repository: &str,
    patience: Duration,
) -> Result<Search> {
    let mut search = Search::default();
    for path in files {
        let shown = path.display();
        let Some(file) = read(path).with_context(|| format!("auth file {shown}"))? else {
            search.places.push(format!("{shown} does not exist"));
            continue;
        };
        let mut remark = format!("{shown} has nothing for {registry}");
        if let Some(helper) = file.helper(registry) {
            let key = if is_docker_hub(registry) { DOCKER_HUB_KEY } else { registry };
            match credential_helper::ask(helper, key, patience) {
                Ok(None) => {}
                Ok(credentials) => search.credentials = credentials,
                Err(error) => remark = format!("{shown} names docker-credential-{helper}: {error:#}"),
            }
        }
        if search.credentials.is_none() {
            search.credentials =
                file.entry(registry, repository).with_context(|| format!("auth file {shown}"))?;
        }
        if search.credentials.is_some() {
            search.places.push(format!("the credentials of {shown}"));
            return Ok(search);
        }
        search.places.push(remark);
    }
    Ok(search)
}

/// An auth file, if there is one; an empty one counts as none.
fn read(path: &Path) -> Result<Option<AuthFile>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut bytes = Vec::new();
    file.take(FILE_LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_LIMIT {
        bail!("more than {FILE_LIMIT} bytes");
    }
    if bytes.trim_ascii().is_empty() {
        return Ok(None);
    }
    Ok(Some(AuthFile::parse(&bytes)?))
}

#[cfg(test)]
mod tests;
