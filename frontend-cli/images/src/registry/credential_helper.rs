//! Credential helpers: programs `docker-credential-NAME` that keep credentials for docker and others.

use std::{
    io::{Read, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::{credentials::Credentials, failure::one_line};

/// Bytes that a helper may print.
const OUTPUT_LIMIT: u64 = 64 << 10;
/// How often a helper that has closed its output is looked at until it ends.
const LOOK: Duration = Duration::from_millis(10);
/// The name that says the secret is an identity token.
const TOKEN_USER: &str = "<token>";

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Username")]
    username: String,
    #[serde(rename = "Secret")]
    secret: String,
}

/// Asks helper `name` for the credentials that it keeps under `key`; `None` if it has none.
///
/// # Errors
/// There is no such helper, or it takes longer than `patience`, fails, or says something else than credentials.
pub(crate) fn ask(name: &str, key: &str, patience: Duration) -> Result<Option<Credentials>> {
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        bail!("not a helper's name");
    }
    run(Path::new(&format!("docker-credential-{name}")), key, patience)
}

fn run(program: &Path, key: &str, patience: Duration) -> Result<Option<Credentials>> {
    let deadline = Instant::now() + patience;
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot be run")?;
    let output = converse(&mut child, key, deadline);
    let ended = match output {
        Some(_) => wait(&mut child, deadline)?,
        None => None,
    };
    let (Some(output), Some(success)) = (output, ended) else {
        // It may have ended meanwhile; then there is nobody to kill.
        child.kill().ok();
        child.wait().ok();
        bail!("no answer within {} s", patience.as_secs());
    };
    if output.len() as u64 > OUTPUT_LIMIT {
        bail!("says more than {OUTPUT_LIMIT} bytes");
    }
    if !success {
        let said = one_line(&String::from_utf8_lossy(&output));
        // These words are the protocol: `errCredentialsNotFound` of docker's own helpers.
        if said.contains("credentials not found") {
            return Ok(None);
        }
        bail!("failed: {said}");
    }
    let Ok(Answer { username, secret }) = serde_json::from_slice(&output) else {
        bail!("does not answer with a user name and a secret");
    };
    if username.is_empty() && secret.is_empty() {
        return Ok(None);
    }
    Ok(Some(if username == TOKEN_USER {
        Credentials::IdentityToken(secret)
    } else {
        Credentials::Password { username, password: secret }
    }))
}

/// Gives the key and takes the output, until the deadline.
fn converse(child: &mut Child, key: &str, deadline: Instant) -> Option<Vec<u8>> {
    let (mut stdin, stdout) = (child.stdin.take()?, child.stdout.take()?);
    let (sender, receiver) = mpsc::channel();
    // A thread, because a pipe is read without a deadline; it ends when the last holder of the pipe is gone.
    thread::spawn(move || {
        let mut output = Vec::new();
        if stdout.take(OUTPUT_LIMIT + 1).read_to_end(&mut output).is_ok() {
            sender.send(output).ok();
        }
    });
    // A helper that does not read the key says why itself. A key fits into the pipe, so this does not wait.
    stdin.write_all(key.as_bytes()).ok();
    drop(stdin);
    receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()
}

/// Whether the helper succeeded; `None` if it still runs at the deadline.
fn wait(child: &mut Child, deadline: Instant) -> Result<Option<bool>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.success()));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    /// Runs a helper that is the shell script `script`.
    fn helper(script: &str, patience: Duration) -> Result<Option<Credentials>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("helper");
        // Written by another process, so that no fork in a neighbouring test holds it open for writing (ETXTBSY).
        let mut writer = Command::new("sh")
            .args(["-c", "cat > \"$0\"", path.to_str().unwrap()])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        writer.stdin.take().unwrap().write_all(format!("#!/bin/sh\n{script}\n").as_bytes()).unwrap();
        assert!(writer.wait().unwrap().success());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        run(&path, "r.example", patience)
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_helper_is_given_the_key_and_says_the_secret() {
        let script =
            r#"read key; echo "{\"ServerURL\": \"x\", \"Username\": \"$1-$key\", \"Secret\": \"s\"}""#;
        let expected = Credentials::Password { username: "get-r.example".into(), password: "s".into() };
        assert_eq!(helper(script, LONG).unwrap(), Some(expected));
        let token = helper(r#"echo '{"Username": "<token>", "Secret": "t"}'"#, LONG).unwrap();
        assert_eq!(token, Some(Credentials::IdentityToken("t".into())));
    }

    #[test]
    fn a_helper_without_credentials_is_no_error() {
        assert_eq!(helper("echo credentials not found in native keychain; exit 1", LONG).unwrap(), None);
        assert_eq!(helper(r#"echo '{"Username": "", "Secret": ""}'"#, LONG).unwrap(), None);
    }

    #[test]
    fn a_bad_helper_is_bounded_in_time_and_size() {
        let error = |script: &str, patience| format!("{:#}", helper(script, patience).unwrap_err());
        assert!(error("echo locked; echo up; exit 3", LONG).contains("failed: locked up"));
        assert!(error("echo hello", LONG).contains("does not answer"));
        assert!(error("yes", LONG).contains("more than"), "endless output");
        assert!(error("exec sleep 1000", Duration::from_millis(50)).contains("no answer"));
        assert!(error("exec >&-; exec sleep 1000", Duration::from_millis(50)).contains("no answer"));
    }

    #[test]
    fn only_a_name_is_run() {
        for name in ["../x", "a/b", "a b", "é", "a;b"] {
            assert_eq!(ask(name, "k", LONG).unwrap_err().to_string(), "not a helper's name", "{name}");
        }
        assert!(ask("nowhere-to-be-found", "k", LONG).unwrap_err().to_string().contains("cannot be run"));
    }
}
