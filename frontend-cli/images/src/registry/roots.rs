//! The certificate authorities that are believed: the system's files, or those compiled in where it has none.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use ureq::tls::{PemItem, RootCerts, parse_pem};

/// Bytes of certificates that are read in all; a system's bundle has a quarter of a megabyte.
const LIMIT: u64 = 16 << 20;
/// Entries of a folder that are looked at.
const FOLDER_LIMIT: usize = 10_000;

/// Where systems keep the authorities that they believe, as PEM; the first that exists counts.
const SYSTEM: &[&str] = &[
    // Debian, Ubuntu, Arch, Gentoo
    "/etc/ssl/certs/ca-certificates.crt",
    // Fedora, Red Hat
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    // NixOS
    "/etc/ssl/certs/ca-bundle.crt",
    // openSUSE
    "/etc/ssl/ca-bundle.pem",
    // macOS, Alpine
    "/etc/ssl/cert.pem",
];

/// Which certificate authorities are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Certificates {
    /// The system's file; where there is none, Mozilla's list of the time when this was built.
    #[default]
    System,
    /// All PEM certificates in these files and, one level deep, folders.
    Only(Vec<PathBuf>),
}

impl Certificates {
    /// `SSL_CERT_FILE` and the folders in `SSL_CERT_DIR` (parted by colons) if one of them is set, else the system's.
    pub fn from_environment(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let file = variable("SSL_CERT_FILE").filter(|value| !value.is_empty()).map(PathBuf::from);
        let folders = variable("SSL_CERT_DIR").unwrap_or_default();
        let folders = std::env::split_paths(&folders).filter(|path| !path.as_os_str().is_empty());
        let paths: Vec<_> = file.into_iter().chain(folders).collect();
        if paths.is_empty() { Self::System } else { Self::Only(paths) }
    }

    /// Reads them; also says, for messages, where they are from.
    pub(crate) fn load(&self) -> Result<(RootCerts, String)> {
        let paths: Vec<&Path> = match self {
            Self::Only(paths) => paths.iter().map(PathBuf::as_path).collect(),
            Self::System => {
                let Some(path) = SYSTEM.iter().map(Path::new).find(|path| path.exists()) else {
                    return Ok((RootCerts::WebPki, "the built-in list".to_owned()));
                };
                vec![path]
            }
        };
        let source = paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
        let mut certificates = Vec::new();
        let mut left = LIMIT;
        for path in paths {
            let found = read(path, &mut left).with_context(|| format!("certificates: {}", path.display()))?;
            certificates.extend(found);
        }
        if certificates.is_empty() {
            bail!("{source}: no certificate; name a PEM file of authorities in SSL_CERT_FILE");
        }
        Ok((RootCerts::Specific(Arc::new(certificates)), source))
    }
}

/// The certificates of a file, or of the files in a folder.
fn read(path: &Path, left: &mut u64) -> Result<Vec<ureq::tls::Certificate<'static>>> {
    if !fs::metadata(path)?.is_dir() {
        return parse(path, left);
    }
    let mut certificates = Vec::new();
    for entry in fs::read_dir(path)?.take(FOLDER_LIMIT) {
        // Such folders hold dangling links and read-me files too.
        let file = entry?.path();
        if fs::metadata(&file).is_ok_and(|metadata| metadata.is_file()) {
            certificates.extend(parse(&file, left)?);
        }
    }
    Ok(certificates)
}

fn parse(path: &Path, left: &mut u64) -> Result<Vec<ureq::tls::Certificate<'static>>> {
    let mut pem = Vec::new();
    let length = File::open(path)?.take(*left + 1).read_to_end(&mut pem)?;
    *left = left.checked_sub(length as u64).with_context(|| format!("more than {LIMIT} bytes in all"))?;
    // What is no certificate, or damaged, is left out: the others still count.
    let certificates = parse_pem(&pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    Ok(certificates.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tls/ca.pem");

    fn count(certificates: &Certificates) -> usize {
        match certificates.load().unwrap() {
            (RootCerts::Specific(certificates), _) => certificates.len(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_environment_names_files_and_folders() {
        let variables = |file: &'static str, folders: &'static str| {
            Certificates::from_environment(move |name| match name {
                "SSL_CERT_FILE" => Some(file.into()),
                _ => Some(folders.into()),
            })
        };
        assert_eq!(variables("", ""), Certificates::System);
        assert_eq!(Certificates::from_environment(|_| None), Certificates::System);
        assert_eq!(variables("/a", "/b:/c"), Certificates::Only(vec!["/a".into(), "/b".into(), "/c".into()]));
    }

    #[test]
    fn certificates_are_read_from_files_and_folders() {
        let folder = tempfile::tempdir().unwrap();
        let pem = fs::read_to_string(CA).unwrap();
        fs::write(folder.path().join("two.pem"), format!("{pem}\nwords\n{pem}")).unwrap();
        fs::write(folder.path().join("README"), "words").unwrap();
        std::os::unix::fs::symlink("nowhere", folder.path().join("link.pem")).unwrap();
        assert_eq!(count(&Certificates::Only(vec![CA.into()])), 1);
        assert_eq!(count(&Certificates::Only(vec![CA.into(), folder.path().into()])), 3);
    }

    #[test]
    fn what_was_named_must_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let empty = Certificates::Only(vec![folder.path().into()]).load().unwrap_err();
        assert!(format!("{empty:#}").contains("no certificate"), "{empty:#}");
        let missing = Certificates::Only(vec!["/nowhere/ca.pem".into()]).load().unwrap_err();
        assert!(format!("{missing:#}").contains("/nowhere/ca.pem: No such file"), "{missing:#}");
    }
}
