//! A registry of images on loopback: Docker's, as Debian packages it.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    thread,
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::{images, said};

/// Ended when dropped.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl Registry {
    /// Starts one, empty, on a port that is free.
    ///
    /// # Errors
    /// It does not start.
    pub fn start() -> Result<Self> {
        let folder = TempDir::new()?;
        let path = folder.path().join("config.yml");
        let data = folder.path().join("data");
        fs::write(
            &path,
            format!(
                "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
                 http: {{addr: \"127.0.0.1:0\"}}\n",
                data.display()
            ),
        )?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot run docker-registry")?;
        let mut log = BufReader::new(child.stderr.take().context("it has a standard error")?);
        let mut shown = String::new();
        let port = loop {
            let start = shown.len();
            if log.read_line(&mut shown)? == 0 {
                bail!("docker-registry does not start: {shown}");
            }
            if let Some((_, rest)) = shown[start..].split_once("listening on 127.0.0.1:") {
                let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
                break digits.parse()?;
            }
        };
        // A full pipe would stop it.
        thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Ok(Self { child, port, _folder: folder })
    }

    /// The name of an image in it.
    pub fn name(&self, image: &str) -> String {
        format!("localhost:{}/{image}", self.port)
    }

    /// Uploads the image of `ci/images`, for all its architectures.
    ///
    /// # Errors
    /// `skopeo` failed.
    pub fn push(&self, image: &str) -> Result<()> {
        let from = format!("oci:{}:debian", images()?.join("layout").display());
        let to = format!("docker://{}", self.name(image));
        let words = ["--insecure-policy", "copy", "--quiet", "--all", "--dest-tls-verify=false", &from, &to];
        said(Command::new("skopeo").args(words), b"")?.code(0).map(drop)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
