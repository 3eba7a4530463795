//! The same client against Docker's registry, if it is installed (Debian: `docker-registry`).

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use tempfile::TempDir;
use ureq::{Agent, tls::TlsConfig};

use super::*;

/// `htpasswd -nbB u p`: the name and password that the registry knows.
const PASSWORD: &str = "u:$2y$05$zRmFwwEcnpJGNrQ8J2HU6u5uXWNTOJkMXKDQt0EX4qy9yATixL01u\n";

/// A registry in a process of its own.
struct Process {
    child: Child,
    address: String,
    agent: Agent,
    scheme: &'static str,
    _folder: TempDir,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Process {
    /// Starts a registry, or says why there is none.
    fn start(tls: bool, password: bool) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let mut text = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp:\n  addr: 127.0.0.1:0\n",
            path("data")
        );
        if tls {
            let (certificate, key) = (data("loopback.pem"), data("loopback.key"));
            text += &format!("  tls: {{certificate: {}, key: {}}}\n", certificate.display(), key.display());
        }
        if password {
            fs::write(path("htpasswd"), PASSWORD).unwrap();
            text += &format!("auth: {{htpasswd: {{realm: here, path: {}}}}}\n", path("htpasswd"));
        }
        fs::write(path("config.yml"), text).unwrap();
        let mut command = Command::new("docker-registry");
        command.args(["serve", &path("config.yml")]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = match command.stderr(Stdio::piped()).spawn() {
            Ok(child) => child,
            Err(error) => {
                println!("skipped: docker-registry: {error}");
                return None;
            }
        };
        let (sender, receiver) = mpsc::channel();
        for stream in [
            Box::new(child.stdout.take().unwrap()) as Box<dyn Read + Send>,
            Box::new(child.stderr.take().unwrap()),
        ] {
            let sender = sender.clone();
            // Reads on to the end, since a full pipe would stop the registry.
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    sender.send(line).ok();
                }
            });
        }
        let mut log = Vec::new();
        let address = loop {
            let line = receiver.recv_timeout(Duration::from_secs(60));
            let line = line.unwrap_or_else(|error| panic!("no address: {error}: {log:#?}"));
            if let Some((_, rest)) = line.split_once("listening on ") {
                break rest.split([',', '"', ' ']).next().unwrap().to_owned();
            }
            log.push(line);
        };
        TcpStream::connect(&address).unwrap();
        let roots = Certificates::Only(vec![data("ca.pem")]).load().unwrap().0;
        let tls_config = TlsConfig::builder()
            .root_certs(roots)
            .unversioned_rustls_crypto_provider(std::sync::Arc::new(rustls_graviola::default_provider()));
        let agent = Agent::config_builder().tls_config(tls_config.build()).proxy(None).build().new_agent();
        let scheme = if tls { "https" } else { "http" };
        Some(Self { child, address, agent, scheme, _folder: folder })
    }

    fn url(&self, path: &str) -> String {
        format!("{}://{}/v2/team/app/{path}", self.scheme, self.address)
    }

    /// Uploads a blob in one piece (distribution specification, "Pushing a blob monolithically").
    fn push_blob(&self, content: &[u8]) -> Descriptor {
        let begun =
            self.agent.post(self.url("blobs/uploads/")).header("Authorization", "Basic dTpw").send_empty();
        let place = begun.unwrap().headers()["location"].to_str().unwrap().to_owned();
        let separator = if place.contains('?') { '&' } else { '?' };
        let place = format!("{place}{separator}digest={}", Digest::of(content));
        self.agent.put(place).header("Authorization", "Basic dTpw").send(content).unwrap();
        descriptor(content)
    }

    fn push_manifest(&self, name: &str, media_type: &str, content: &[u8]) {
        let put =
            self.agent.put(self.url(&format!("manifests/{name}"))).header("Authorization", "Basic dTpw");
        put.header("Content-Type", media_type).send(content).unwrap();
    }

    /// Uploads an image with `layer`, of tag `1`, below an index of tag `many`.
    fn push(&self, layer: &[u8]) -> (Descriptor, Vec<u8>) {
        let config = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
        let (config, layer) = (self.push_blob(config), self.push_blob(layer));
        let config = Descriptor { media_type: crate::manifest::OCI_CONFIG.into(), ..config };
        let layer = Descriptor { media_type: crate::manifest::OCI_LAYER.into(), ..layer };
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer],
        });
        let manifest = serde_json::to_vec(&manifest).unwrap();
        self.push_manifest("1", OCI_MANIFEST, &manifest);
        let index = serde_json::json!({
            "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [Descriptor::of(OCI_MANIFEST, &manifest)],
        });
        self.push_manifest("many", OCI_INDEX, &serde_json::to_vec(&index).unwrap());
        (layer, manifest)
    }

    fn registry(&self, name: &str, options: Options) -> Registry {
        let certificates = Certificates::Only(vec![data("ca.pem")]);
        let reference = format!("{}/{name}", self.address).parse().unwrap();
        Registry::new(&reference, Options { certificates, ..options }).unwrap()
    }

    fn check(&self, options: &Options) {
        let content = content();
        let (layer, manifest) = self.push(&content);
        let mut registry = self.registry("team/app:1", options.clone());
        let top = registry.top().unwrap();
        assert_eq!((top.media_type.as_str(), &top.bytes), (OCI_MANIFEST, &manifest));
        assert_eq!(registry.manifest(&Descriptor::of(OCI_MANIFEST, &manifest)).unwrap().bytes, manifest);
        for offset in [0, 1, 599_999] {
            let mut bytes = Vec::new();
            registry.blob(&layer, offset).unwrap().read_to_end(&mut bytes).unwrap();
            assert!(bytes == content[usize::try_from(offset).unwrap()..]);
        }
        let index = self.registry("team/app:many", options.clone()).top().unwrap();
        assert_eq!(index.media_type, OCI_INDEX);
        let absent = message(self.registry("team/app:2", options.clone()).top());
        assert!(
            absent.contains("team/app:2: not found") && absent.contains("(manifest unknown)"),
            "{absent}"
        );
        let absent = message(registry.blob(&descriptor(b"absent"), 0).map(drop));
        assert!(absent.contains("not found") && absent.contains("blob unknown"), "{absent}");
    }
}

#[test]
fn a_plain_registry() {
    if let Some(process) = Process::start(false, false) {
        process.check(&options());
    }
}

#[test]
fn a_registry_with_tls_and_passwords() {
    if !tls::supported() {
        return;
    }
    let Some(process) = Process::start(true, true) else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    let mut auth = fs::File::create(&file).unwrap();
    write!(auth, r#"{{"auths": {{"https://{}/v1/": {{"auth": "dTpw"}}}}}}"#, process.address).unwrap();
    process.check(&Options { auth_files: vec![file], ..options() });
    let nobody = message(process.registry("team/app:1", options()).top());
    assert!(nobody.contains("needs a login") && nobody.contains("docker login"), "{nobody}");
}
