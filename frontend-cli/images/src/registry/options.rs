//! What a registry's client is told: where to look for credentials and certificates, how long to wait.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use super::roots::Certificates;

/// How to talk with a registry.
#[derive(Clone, Debug)]
pub struct Options {
    /// Files with credentials, in docker's or containers' format; the first that has some for the registry counts.
    /// A file that does not exist is passed over.
    pub auth_files: Vec<PathBuf>,
    /// Whom to believe that a server is who it says.
    pub certificates: Certificates,
    /// Lets a registry on another host, what it redirects to, and its token service be spoken to by plain HTTP.
    ///
    /// Without it plain HTTP is spoken with loopback alone (127.0.0.0/8, `[::1]`, `localhost`), and only if nothing
    /// there speaks TLS. Certificates are checked in either case.
    pub insecure: bool,
    /// Whether `HTTPS_PROXY` and its like are heeded; a registry on loopback is never asked by way of a proxy.
    pub proxy: bool,
    /// For a name to be resolved, and again for a connection with TLS to stand.
    pub connect: Duration,
    /// For the head of an answer to be there.
    pub answer: Duration,
    /// How long a server may send nothing in the middle of an answer.
    pub stall: Duration,
    /// The fewest bytes of a blob that a server may send while it is waited for as long as `window`.
    pub floor: u64,
    /// How long a server's speed is measured before it is judged.
    pub window: Duration,
    /// For a whole manifest, token or error message.
    pub document: Duration,
    /// For a credential helper to answer; a person may have to unlock a key.
    pub helper: Duration,
    /// How often in a row something is tried that fails for a passing reason, without progress in between.
    pub tries: u32,
    /// The pause after the first failure; it doubles with each further one.
    pub pause: Duration,
    /// The longest pause, also where a server asks for one (`Retry-After`): a longer wish is an error.
    pub longest_pause: Duration,
}

impl Default for Options {
    /// No credentials, the system's certificates, nothing of the environment.
    fn default() -> Self {
        Self {
            auth_files: Vec::new(),
            certificates: Certificates::default(),
            insecure: false,
            proxy: false,
            connect: Duration::from_secs(15),
            answer: Duration::from_secs(30),
            stall: Duration::from_secs(30),
            floor: 1 << 10,
            window: Duration::from_secs(60),
            document: Duration::from_secs(60),
            helper: Duration::from_secs(60),
            tries: 5,
            pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(60),
        }
    }
}

impl Options {
    /// What the environment says, by way of `variable` (as [`std::env::var_os`]).
    ///
    /// Credentials: `REGISTRY_AUTH_FILE` alone if it is set; else `$DOCKER_CONFIG/config.json` or
    /// `~/.docker/config.json`, then `$XDG_RUNTIME_DIR/containers/auth.json`. Certificates: see
    /// [`Certificates::from_environment`]. Proxies: `ALL_PROXY`, `HTTPS_PROXY` or `HTTP_PROXY`, the first that is set,
    /// and `NO_PROXY`, which are read from the process's own environment.
    pub fn from_environment(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let path = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let auth_files = match path("REGISTRY_AUTH_FILE") {
            Some(file) => vec![file],
            None => {
                let docker = path("DOCKER_CONFIG").or_else(|| path("HOME").map(|home| home.join(".docker")));
                let containers = path("XDG_RUNTIME_DIR").map(|folder| folder.join("containers/auth.json"));
                docker.map(|folder| folder.join("config.json")).into_iter().chain(containers).collect()
            }
        };
        let certificates = Certificates::from_environment(&variable);
        Self { auth_files, certificates, proxy: true, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth_files(variables: &[(&str, &str)]) -> Vec<PathBuf> {
        let variable = |name: &str| {
            variables.iter().find(|(found, _)| *found == name).map(|(_, value)| OsString::from(value))
        };
        Options::from_environment(variable).auth_files
    }

    #[test]
    fn auth_files_are_those_of_the_environment() {
        let all = [
            ("HOME", "/h"),
            ("XDG_RUNTIME_DIR", "/x"),
            ("DOCKER_CONFIG", "/d"),
            ("REGISTRY_AUTH_FILE", "/r"),
        ];
        assert_eq!(auth_files(&all), [PathBuf::from("/r")]);
        assert_eq!(
            auth_files(&all[..3]),
            [PathBuf::from("/d/config.json"), PathBuf::from("/x/containers/auth.json")]
        );
        assert_eq!(
            auth_files(&all[..2]),
            [PathBuf::from("/h/.docker/config.json"), PathBuf::from("/x/containers/auth.json")]
        );
        assert!(auth_files(&[("HOME", "")]).is_empty());
    }
}
