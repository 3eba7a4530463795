//! `hv image pull` against registries that break off, fall silent and lie.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use hv_images::Digest;

use crate::{
    child::{FAILED, hv, refusal},
    guest::PATIENCE,
    harness::{Case, Outcome},
    terminal::Terminal,
};

pub(crate) const CASES: &[Case] = &[
    ("a_pull_that_breaks_off_goes_on", breaks_off),
    ("a_pull_that_was_killed_goes_on_with_the_next", killed),
    ("a_registry_that_lies_is_refused", lies),
    ("a_pull_on_a_terminal_shows_how_far_it_is", bar),
];

/// Bytes of the layer that come before it breaks off.
const FIRST: usize = 1 << 20;

/// What a server does with one answer.
#[derive(Debug, Clone)]
enum Spoilt {
    /// Closes the connection after so many bytes.
    Broken(usize),
    /// Says nothing more after so many bytes.
    Silent(usize),
    /// Sends these bytes instead.
    Other(Vec<u8>),
}

/// An image of one layer at a registry.
struct Content {
    layer: Vec<u8>,
    config: Vec<u8>,
    manifest: Vec<u8>,
}

impl Content {
    fn new() -> Self {
        let layer = archive("file", &vec![0x5a; 3 << 20]);
        let config = format!(
            r#"{{"architecture":"arm64","os":"linux","config":{{"Cmd":["/file"]}},"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
            Digest::of(&layer)
        );
        let config = config.into_bytes();
        let describe = |kind: &str, bytes: &[u8]| {
            let (digest, size) = (Digest::of(bytes), bytes.len());
            format!(r#"{{"mediaType":"application/vnd.oci.image.{kind}","digest":"{digest}","size":{size}}}"#)
        };
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[{}]}}"#,
            describe("config.v1+json", &config),
            describe("layer.v1.tar", &layer)
        );
        Self { layer, config, manifest: manifest.into_bytes() }
    }

    /// What is at a path, if it is there.
    fn at(&self, path: &str) -> Option<&[u8]> {
        let name = path.rsplit('/').next()?;
        let of = |bytes: &&Vec<u8>| Digest::of(bytes).to_string() == name;
        if path.contains("/manifests/") {
            return Some(&self.manifest);
        }
        [&self.layer, &self.config].into_iter().find(of).map(Vec::as_slice)
    }
}

/// A tar archive of one file (POSIX.1-1988).
fn archive(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = [0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    for (at, text) in [
        (100, "0000755\0".to_owned()),
        (108, "0000000\0".to_owned()),
        (116, "0000000\0".to_owned()),
        (124, format!("{:011o}\0", content.len())),
        (136, "00000000001\0".to_owned()),
        (148, "        ".to_owned()),
        (156, "0".to_owned()),
        (257, "ustar\x0000".to_owned()),
    ] {
        header[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut bytes = [&header, content].concat();
    bytes.resize(bytes.len().next_multiple_of(512) + 1024, 0);
    bytes
}

/// A registry on loopback, for as long as the test runs.
struct Registry {
    address: SocketAddr,
    content: Arc<Content>,
    /// What is done with the next answers for a digest, and for all others.
    spoilt: Arc<Mutex<Vec<(Digest, Spoilt)>>>,
    /// Digests that were asked for, and from which byte on.
    asked: Arc<Mutex<Vec<(String, usize)>>>,
}

impl Registry {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let registry = Self {
            address: listener.local_addr().unwrap(),
            content: Arc::new(Content::new()),
            spoilt: Arc::default(),
            asked: Arc::default(),
        };
        let (content, spoilt, asked) =
            (registry.content.clone(), registry.spoilt.clone(), registry.asked.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (content, spoilt, asked) = (content.clone(), spoilt.clone(), asked.clone());
                thread::spawn(move || serve(stream, &content, &spoilt, &asked));
            }
        });
        registry
    }

    fn spoil(&self, of: &[u8], how: Spoilt) {
        self.spoilt.lock().unwrap().push((Digest::of(of), how));
    }

    /// From which bytes on the layer was asked for.
    fn offsets(&self) -> Vec<usize> {
        let layer = Digest::of(&self.content.layer).to_string();
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(digest, _)| *digest == layer).map(|(_, offset)| *offset).collect()
    }

    /// `hv image pull` of the image, in a cache of its own.
    fn pull(&self, home: &Path) -> Command {
        let mut command = image(home, &["pull", "--arch", "aarch64"]);
        command.arg(format!("{}/team/app:1", self.address));
        command
    }
}

/// Answers requests until the client leaves; what fails here, the client sees.
fn serve(
    mut stream: TcpStream,
    content: &Content,
    spoilt: &Mutex<Vec<(Digest, Spoilt)>>,
    asked: &Mutex<Vec<(String, usize)>>,
) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let (mut line, mut offset) = (String::new(), 0);
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        let path = line.split(' ').nth(1)?.to_owned();
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok().filter(|count| *count > 0)?;
            let header = header.trim().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(range) = header.strip_prefix("range: bytes=") {
                offset = range.trim_end_matches('-').parse().ok()?;
            }
        }
        let Some(honest) = (if path == "/v2/" { Some(&b"{}"[..]) } else { content.at(&path) }) else {
            stream.write_all(b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n").ok()?;
            continue;
        };
        let digest = Digest::of(honest);
        asked.lock().unwrap().push((digest.to_string(), offset));
        let how = {
            let mut spoilt = spoilt.lock().unwrap();
            let at = spoilt.iter().position(|(of, _)| *of == digest);
            at.map(|at| spoilt.remove(at).1)
        };
        let whole = match &how {
            Some(Spoilt::Other(bytes)) => bytes,
            _ => honest,
        };
        let body = whole.get(offset..)?;
        let (status, range) = match offset {
            0 => (200, String::new()),
            _ => (206, format!("Content-Range: bytes {offset}-{}/{}\r\n", whole.len() - 1, whole.len())),
        };
        let length = body.len();
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n{range}\r\n");
        stream.write_all(head.as_bytes()).ok()?;
        match how {
            Some(Spoilt::Broken(count)) => return stream.write_all(&body[..count]).ok(),
            Some(Spoilt::Silent(count)) => {
                stream.write_all(&body[..count]).ok()?;
                // Until the client leaves.
                return reader.read_line(&mut String::new()).ok().map(drop);
            }
            _ => stream.write_all(body).ok()?,
        }
    }
}

/// `hv image WORDS` of a person with this home.
fn image(home: &Path, words: &[&str]) -> Command {
    let mut command = hv(&[&["image"], words].concat());
    command.env("HOME", home).env("XDG_DATA_HOME", home.join("data"));
    for name in ["REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_RUNTIME_DIR"] {
        command.env_remove(name);
    }
    command
}

/// Checks that the pull succeeds and the image is there, whole.
fn pulls(registry: &Registry, home: &Path) {
    let output = registry.pull(home).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let digest = Digest::of(&registry.content.manifest).to_string();
    assert!(String::from_utf8(output.stdout).unwrap().contains(&digest));
    let listed = listed(home);
    assert_eq!(listed[0]["digest"], digest.as_str(), "{listed}");
    assert_eq!(listed[0]["complete"], true, "{listed}");
}

fn listed(home: &Path) -> serde_json::Value {
    let output = image(home, &["ls", "--json"]).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Files of the cache with this ending.
fn kept(home: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(home.join("data/hv/images/blobs/sha256")).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|own| own == ending))
        .collect()
}

fn breaks_off() -> Outcome {
    let (registry, home) = (Registry::start(), tempfile::tempdir().unwrap());
    registry.spoil(&registry.content.layer, Spoilt::Broken(FIRST));
    pulls(&registry, home.path());
    assert_eq!(registry.offsets(), [0, FIRST]);
    assert!(kept(home.path(), "part").is_empty(), "what was half fetched is gone");
    Outcome::Passed
}

fn killed() -> Outcome {
    let (registry, home) = (Registry::start(), tempfile::tempdir().unwrap());
    registry.spoil(&registry.content.layer, Spoilt::Silent(FIRST));
    let mut child = registry.pull(home.path()).spawn().unwrap();
    let begin = Instant::now();
    let fetched = || kept(home.path(), "part").first().map_or(0, |path| path.metadata().unwrap().len());
    while fetched() < FIRST as u64 {
        assert!(begin.elapsed() < PATIENCE && child.try_wait().unwrap().is_none(), "{} bytes", fetched());
        thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(listed(home.path()), serde_json::json!([]), "half an image is none");
    pulls(&registry, home.path());
    assert_eq!(registry.offsets(), [0, FIRST], "what came is not asked for again");
    Outcome::Passed
}

fn bar() -> Outcome {
    let (registry, home) = (Registry::start(), tempfile::tempdir().unwrap());
    let output = registry.pull(home.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "no bar without a terminal");
    let home = tempfile::tempdir().unwrap();
    registry.spoil(&registry.content.layer, Spoilt::Silent(FIRST));
    let terminal = Terminal::open();
    let mut child = terminal.start(registry.pull(home.path()));
    terminal.wait_for("1.00 MiB of ");
    child.kill().unwrap();
    child.wait().unwrap();
    Outcome::Passed
}

fn lies() -> Outcome {
    let (registry, home) = (Registry::start(), tempfile::tempdir().unwrap());
    let Content { layer, config, manifest } = &*registry.content;
    let turned = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        bytes
    };
    for honest in [layer, config] {
        registry.spoil(honest, Spoilt::Other(turned(honest)));
        let told = refusal(&mut registry.pull(home.path()), FAILED);
        for digest in [Digest::of(honest), Digest::of(&turned(honest))] {
            assert!(told.contains(&digest.to_string()), "{told}");
        }
        assert_eq!(listed(home.path()), serde_json::json!([]));
    }
    // One that is asked for by its digest.
    let wanted = Digest::of(manifest);
    let space = [&**manifest, b" "].concat();
    registry.spoil(manifest, Spoilt::Other(space.clone()));
    let mut pull = image(home.path(), &["pull", "--arch", "aarch64"]);
    let told = refusal(pull.arg(format!("{}/team/app@{wanted}", registry.address)), FAILED);
    assert!(told.contains(&wanted.to_string()) && told.contains(&Digest::of(&space).to_string()), "{told}");
    // Nothing of the lies is left behind.
    pulls(&registry, home.path());
    Outcome::Passed
}
