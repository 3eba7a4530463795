//! The configuration of an image: what runs in it, and how (OCI image specification, `config.md`; Docker's is the same).

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Deserializer, Serialize};

use crate::{Digest, Platform, manifest::MOST_DOCUMENT};

/// Words in a list of the configuration, such as its command.
pub const MOST_WORDS: usize = 4096;
/// Bytes in one word, as Linux has it for arguments (`MAX_ARG_STRLEN`).
pub const MOST_WORD: usize = (128 << 10) - 1;

/// What an image says of how it is run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Config {
    /// `NAME=VALUE`.
    pub environment: Vec<String>,
    /// The first words of the command, which stay when a user gives a command.
    pub entrypoint: Vec<String>,
    /// The words after those, or in their place.
    pub command: Vec<String>,
    /// `user`, `uid`, `user:group`, …; empty for root.
    pub user: String,
    /// Where the command starts; empty for `/`.
    pub working_directory: String,
    /// The signal that asks the command to end, such as `SIGTERM`.
    pub stop_signal: Option<String>,
    /// Ports that it listens on, such as `80/tcp`.
    pub ports: Vec<String>,
    /// Directories that want to be kept apart from the image.
    pub volumes: Vec<String>,
    /// Words about the image.
    pub labels: BTreeMap<String, String>,
    /// When the image was made (RFC 3339).
    pub created: Option<String>,
}

/// A configuration with what is to be checked before the image is unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// How the image is run.
    pub config: Config,
    /// What it runs on.
    pub platform: Platform,
    /// The digests of the unpacked layers, the lowest first.
    pub diff_ids: Vec<Digest>,
}

#[derive(Deserialize)]
struct Document {
    #[serde(default, deserialize_with = "or_default")]
    created: Option<String>,
    #[serde(flatten)]
    platform: Platform,
    #[serde(default, deserialize_with = "or_default")]
    config: Inner,
    #[serde(default, deserialize_with = "or_default")]
    rootfs: RootFs,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inner {
    #[serde(default, deserialize_with = "or_default")]
    env: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    entrypoint: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    cmd: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    user: String,
    #[serde(default, deserialize_with = "or_default")]
    working_dir: String,
    #[serde(default, deserialize_with = "or_default")]
    stop_signal: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    exposed_ports: BTreeMap<String, serde::de::IgnoredAny>,
    #[serde(default, deserialize_with = "or_default")]
    volumes: BTreeMap<String, serde::de::IgnoredAny>,
    #[serde(default, deserialize_with = "or_default")]
    labels: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
struct RootFs {
    #[serde(default, deserialize_with = "or_default")]
    diff_ids: Vec<Digest>,
}

/// What is `null` is as good as not there: Go writes empty lists so.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Reads an image's configuration.
///
/// # Errors
/// It is no such document, or breaks a bound.
pub fn parse(bytes: &[u8]) -> Result<Parsed> {
    ensure!(bytes.len() as u64 <= MOST_DOCUMENT, "an image's configuration of more than {MOST_DOCUMENT} bytes");
    let document: Document =
        serde_json::from_slice(bytes).context("an image's configuration that cannot be read")?;
    let inner = document.config;
    let config = Config {
        environment: inner.env,
        entrypoint: inner.entrypoint,
        command: inner.cmd,
        user: inner.user,
        working_directory: inner.working_dir,
        stop_signal: inner.stop_signal.filter(|signal| !signal.is_empty()),
        ports: inner.exposed_ports.into_keys().collect(),
        volumes: inner.volumes.into_keys().collect(),
        labels: inner.labels,
        created: document.created,
    };
    check(&config)?;
    Ok(Parsed { config, platform: document.platform, diff_ids: document.rootfs.diff_ids })
}

/// Refuses what could never be handed to a program.
fn check(config: &Config) -> Result<()> {
    for (what, words) in [
        ("Env", &config.environment),
        ("Entrypoint", &config.entrypoint),
        ("Cmd", &config.command),
        ("ExposedPorts", &config.ports),
        ("Volumes", &config.volumes),
    ] {
        let count = words.len();
        ensure!(count <= MOST_WORDS, "an image with {count} words in {what}: {MOST_WORDS} are the most");
        words.iter().try_for_each(|word| check_word(what, word))?;
    }
    check_word("User", &config.user)?;
    check_word("WorkingDir", &config.working_directory)?;
    config.stop_signal.iter().try_for_each(|signal| check_word("StopSignal", signal))?;
    if let Some(variable) = config.environment.iter().find(|one| one.find('=').is_none_or(|at| at == 0)) {
        anyhow::bail!("an image whose Env has {variable:.100?}, which is not of the form NAME=VALUE");
    }
    Ok(())
}

fn check_word(what: &str, word: &str) -> Result<()> {
    ensure!(word.len() <= MOST_WORD, "an image with {} bytes in a word of {what}", word.len());
    ensure!(!word.contains('\0'), "an image with a NUL in {what}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_read() {
        let parsed = parse(
            br#"{"created": "2024-01-02T03:04:05Z", "architecture": "arm64", "os": "linux", "variant": "v8",
                "config": {"Env": ["PATH=/bin", "A=b=c"], "Entrypoint": ["/x"], "Cmd": ["y", "z"], "User": "u:g",
                    "WorkingDir": "/w", "StopSignal": "SIGINT", "ExposedPorts": {"80/tcp": {}},
                    "Volumes": {"/v": {}}, "Labels": {"k": "v"}, "Unknown": 1},
                "rootfs": {"type": "layers",
                    "diff_ids": ["sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"]}}"#,
        )
        .unwrap();
        let config = parsed.config;
        assert_eq!(config.environment, ["PATH=/bin", "A=b=c"]);
        assert_eq!((config.entrypoint, config.command), (vec!["/x".into()], vec!["y".into(), "z".into()]));
        assert_eq!((&*config.user, &*config.working_directory), ("u:g", "/w"));
        assert_eq!(config.stop_signal.as_deref(), Some("SIGINT"));
        assert_eq!((config.ports, config.volumes), (vec!["80/tcp".into()], vec!["/v".into()]));
        assert_eq!(config.labels["k"], "v");
        assert_eq!(config.created.as_deref(), Some("2024-01-02T03:04:05Z"));
        assert_eq!(parsed.platform.to_string(), "linux/arm64/v8");
        assert_eq!(parsed.diff_ids, [Digest::of(b"abc")]);
    }

    #[test]
    fn null_and_nothing_are_empty() {
        let nulls = parse(
            br#"{"created": null, "config": {"Env": null, "Entrypoint": null, "Cmd": null, "Labels": null,
                "ExposedPorts": null, "StopSignal": ""}, "rootfs": null}"#,
        )
        .unwrap();
        assert_eq!(nulls, parse(br#"{"config": null}"#).unwrap());
        assert_eq!(nulls, parse(b"{}").unwrap());
        assert_eq!(nulls.config, Config::default());
    }

    #[test]
    fn what_no_program_could_be_given_is_refused() {
        let error = |text: &str| format!("{:#}", parse(text.as_bytes()).unwrap_err());
        assert!(error(r#"{"config": {"Env": ["a\u0000=b"]}}"#).contains("NUL in Env"));
        assert!(error(r#"{"config": {"Env": ["novalue"]}}"#).contains("novalue"));
        assert!(error(r#"{"config": {"Env": ["=x"]}}"#).contains("=x"));
        let many = vec!["\"x\""; MOST_WORDS + 1].join(",");
        assert!(error(&format!(r#"{{"config": {{"Cmd": [{many}]}}}}"#)).contains("4097 words in Cmd"));
        let long = "x".repeat(MOST_WORD + 1);
        assert!(error(&format!(r#"{{"config": {{"User": "{long}"}}}}"#)).contains("131072 bytes in a word of User"));
        assert!(error("[]").contains("cannot be read"));
        assert!(error(&"[".repeat(1 << 20)).contains("cannot be read"));
        let sha512 = format!(r#"{{"rootfs": {{"diff_ids": ["sha512:{}"]}}}}"#, "a".repeat(128));
        assert!(error(&sha512).contains("sha512 is not supported"));
    }
}
