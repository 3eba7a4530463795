//! Tests of auth files: which entry is for which registry, and what a damaged one says.

use std::{fs, path::PathBuf, time::Duration};

use tempfile::TempDir;

use super::*;

fn parsed(json: &str) -> AuthFile {
    AuthFile::parse(json.as_bytes()).unwrap()
}

fn password(username: &str, password: &str) -> Option<Credentials> {
    Some(Credentials::Password { username: username.into(), password: password.into() })
}

/// Finds in `auths` of one entry named `key`, whose user is `u`.
fn finds(key: &str, registry: &str, repository: &str) -> bool {
    let file = parsed(&format!(r#"{{"auths": {{"{key}": {{"auth": "dTpw"}}}}}}"#));
    let found = file.entry(registry, repository).unwrap();
    assert!(found.is_none() || found == password("u", "p"));
    found.is_some()
}

#[test]
fn an_entry_is_found_by_its_registry() {
    for key in [
        "r.example:5000",
        "https://r.example:5000",
        "http://r.example:5000/v2/",
        "r.example:5000/v1/",
        "R.example:5000",
    ] {
        assert!(finds(key, "r.example:5000", "a/b"), "{key}");
        assert!(!finds(key, "r.example", "a/b") && !finds(key, "r.example:50", "a/b"), "{key}");
    }
    for key in ["docker.io", "https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io"] {
        assert!(finds(key, "docker.io", "library/debian"), "{key}");
    }
    assert!(!finds("docker.io", "docker.io.example", "x"));
}

#[test]
fn the_entry_of_the_longest_path_counts() {
    let file = parsed(
        r#"{"auths": {
            "r.example": {"username": "all", "password": "1"},
            "r.example/a": {"username": "a", "password": "2"},
            "r.example/a/b": {"username": "ab", "password": "3"}
        }}"#,
    );
    assert_eq!(file.entry("r.example", "a/b").unwrap(), password("ab", "3"));
    assert_eq!(file.entry("r.example", "a/b/c").unwrap(), password("ab", "3"));
    assert_eq!(file.entry("r.example", "a/bc").unwrap(), password("a", "2"));
    assert_eq!(file.entry("r.example", "x").unwrap(), password("all", "1"));
    assert_eq!(file.entry("other.example", "a/b").unwrap(), None);
}

#[test]
fn the_forms_of_an_entry() {
    let entry = |json: &str| parsed(&format!(r#"{{"auths": {{"r": {json}}}}}"#)).entry("r", "x");
    assert_eq!(entry(r#"{"auth": "dTpwOnc="}"#).unwrap(), password("u", "p:w"));
    assert_eq!(entry(r#"{"auth": "dTpwOnc"}"#).unwrap(), password("u", "p:w"), "without padding");
    assert_eq!(entry(r#"{"auth": "dTpwAAA="}"#).unwrap(), password("u", "p"), "with zero bytes behind it");
    assert_eq!(
        entry(r#"{"auth": "dTpw", "identitytoken": "t"}"#).unwrap(),
        Some(Credentials::IdentityToken("t".into()))
    );
    assert_eq!(entry("{}").unwrap(), None);
    for (json, expected) in [
        (r#"{"auth": "c2Vj!"}"#, "base64"),
        (r#"{"auth": "c2VjcmV0"}"#, "colon"),
        (r#"{"auth": "/w=="}"#, "text"),
    ] {
        let error = format!("{:#}", entry(json).unwrap_err());
        assert!(error.contains(expected) && error.contains("\"r\""), "{error}");
        assert!(!error.contains("secret") && !error.contains('!'), "{error}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let file = parsed(r#"{"auths": {"r": {"auth": "dTpwYXNz", "password": "pass"}}}"#);
    let shown = format!("{file:?} {:?}", file.entry("r", "x"));
    assert!(!shown.contains("pass\"") && !shown.contains("dTpwYXNz"), "{shown}");
    assert_eq!(format!("{:?}", Credentials::IdentityToken("secret".into())), "IdentityToken");
}

#[test]
fn helpers_are_for_a_registry_or_for_all() {
    let file =
        parsed(r#"{"credHelpers": {"r.example": "ecr-login", "n.example": ""}, "credsStore": "pass"}"#);
    assert_eq!(file.helper("r.example"), Some("ecr-login"));
    assert_eq!(file.helper("other.example"), Some("pass"));
    assert_eq!(file.helper("n.example"), None);
    assert_eq!(parsed("{}").helper("r.example"), None);
}

struct Files {
    folder: TempDir,
    paths: Vec<PathBuf>,
}

impl Files {
    fn new(contents: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let paths = contents.iter().enumerate().map(|(number, content)| {
            let path = folder.path().join(format!("{number}.json"));
            fs::write(&path, content).unwrap();
            path
        });
        Self { paths: paths.collect(), folder }
    }

    fn search(&self) -> Result<Search> {
        search(&self.paths, "r.example", "x", Duration::from_secs(60))
    }
}

#[test]
fn the_first_file_with_credentials_counts() {
    let other = r#"{"auths": {"other.example": {"auth": "eDp5"}}}"#;
    let own = r#"{"auths": {"r.example": {"auth": "dTpw"}}}"#;
    let mut files = Files::new(&[other, "", own, "damaged"]);
    files.paths.insert(0, files.folder.path().join("missing"));
    let found = files.search().unwrap();
    assert_eq!(found.credentials, password("u", "p"));
    let places = found.places.join("; ");
    for place in
        ["missing does not exist", "0.json has nothing for r.example", "the credentials of ", "2.json"]
    {
        assert!(places.contains(place), "{places}");
    }
    assert!(!places.contains("3.json"), "{places}");
}

#[test]
fn a_damaged_file_is_an_error_with_its_name() {
    for damaged in ["{", "7", r#"{"auths": []}"#, r#"{"auths": {"r.example": {"auth": "?"}}}"#] {
        let error = format!("{:#}", Files::new(&[damaged]).search().unwrap_err());
        assert!(error.contains("0.json"), "{error}");
    }
    let error = Files::new(&[&" ".repeat(2 << 20)]).search().unwrap_err();
    assert!(format!("{error:#}").contains("more than"), "{error:#}");
}

#[test]
fn a_helper_that_is_not_there_is_passed_over() {
    let files = Files::new(&[
        r#"{"credsStore": "nowhere-to-be-found", "auths": {"r.example": {}}}"#,
        r#"{"auths": {"r.example": {"auth": "dTpw"}}}"#,
    ]);
    let found = files.search().unwrap();
    assert_eq!(found.credentials, password("u", "p"));
    assert!(found.places[0].contains("docker-credential-nowhere-to-be-found"), "{:?}", found.places);
}
