//! Where a registry is: the host of its API, and with which hosts plain HTTP may be spoken.

use std::net::{IpAddr, Ipv6Addr};

use ureq::http::{
    Uri,
    uri::{Authority, Scheme},
};

use super::failure::one_line;

/// What a `Location` or a token service may be long.
const URL_LIMIT: usize = 16 << 10;

/// Host and port that answer for the registry which references call `name`.
///
/// Docker Hub alone is called by another name than its API's.
pub(crate) fn api_host(name: &str) -> &str {
    if is_docker_hub(name) { "registry-1.docker.io" } else { name }
}

pub(crate) fn is_docker_hub(name: &str) -> bool {
    matches!(name, "docker.io" | "index.docker.io" | "registry-1.docker.io")
}

/// Whether `authority` (a host, with or without a port) is this host itself: 127.0.0.0/8, `[::1]` or `localhost`.
pub(crate) fn is_loopback(authority: &Authority) -> bool {
    let host = authority.host();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match bare.parse() {
        Ok(IpAddr::V4(address)) => address.is_loopback(),
        Ok(IpAddr::V6(address)) => address == Ipv6Addr::LOCALHOST,
        Err(_) => bare.eq_ignore_ascii_case("localhost"),
    }
}

/// A registry's own scheme, host and port: where credentials may go.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) scheme: Scheme,
    pub(crate) authority: Authority,
    /// Plain HTTP is allowed with any host.
    pub(crate) insecure: bool,
}

impl Origin {
    /// Where `target` is the same server: scheme, host and port.
    pub(crate) fn owns(&self, target: &Uri) -> bool {
        let (Some(scheme), Some(authority)) = (target.scheme(), target.authority()) else { return false };
        *scheme == self.scheme
            && authority.host().eq_ignore_ascii_case(self.authority.host())
            && port(scheme, authority) == port(&self.scheme, &self.authority)
    }

    /// The address of `path` (with its query) on this server.
    pub(crate) fn at(&self, path: &str) -> Result<Uri, String> {
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path)
            .build()
            .map_err(|error| format!("{path}: {error}"))
    }

    /// The address that `text`, which the server at `base` sent, refers to; an error says why it is not followed.
    ///
    /// Plain HTTP is refused unless it is loopback's and this registry's own is plain too, or it was allowed.
    pub(crate) fn resolve(&self, base: &Uri, text: &str) -> Result<Uri, String> {
        if text.len() > URL_LIMIT {
            return Err(format!("an address of {} bytes", text.len()));
        }
        // The server's own words, which may be long.
        let shown = one_line(text);
        let target: Uri = text.parse().map_err(|error| format!("{shown:?}: {error}"))?;
        let mut parts = target.into_parts();
        if parts.authority.is_none() && parts.scheme.is_none() && text.starts_with('/') {
            parts.scheme = base.scheme().cloned();
            parts.authority = base.authority().cloned();
        }
        let target = Uri::from_parts(parts).map_err(|error| format!("{shown:?}: {error}"))?;
        let (Some(scheme), Some(authority)) = (target.scheme(), target.authority()) else {
            return Err(format!("{shown:?}, which is no address"));
        };
        if authority.as_str().contains('@') {
            return Err(format!("{:?}, with a name in the address", one_line(authority.host())));
        }
        let plain = *scheme == Scheme::HTTP;
        if plain && !self.insecure && !(self.scheme == Scheme::HTTP && is_loopback(authority)) {
            return Err(format!("http://{}, which is not encrypted", one_line(authority.as_str())));
        }
        if !plain && *scheme != Scheme::HTTPS {
            return Err(format!("{shown:?}, which is neither https nor http"));
        }
        Ok(target)
    }
}

fn port(scheme: &Scheme, authority: &Authority) -> u16 {
    authority.port_u16().unwrap_or(if *scheme == Scheme::HTTP { 80 } else { 443 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(url: &str, insecure: bool) -> Origin {
        let parts = url.parse::<Uri>().unwrap().into_parts();
        Origin { scheme: parts.scheme.unwrap(), authority: parts.authority.unwrap(), insecure }
    }

    #[test]
    fn loopback_is_by_address_or_the_one_name() {
        for host in ["127.0.0.1", "127.9.8.7:5000", "[::1]", "[::1]:5000", "localhost", "LocalHost:80"] {
            assert!(is_loopback(&host.parse().unwrap()), "{host}");
        }
        for host in ["128.0.0.1", "[::2]:1", "localhost.example.com", "127.0.0.1.example.com", "example.com"]
        {
            assert!(!is_loopback(&host.parse().unwrap()), "{host}");
        }
    }

    #[test]
    fn only_the_same_server_is_own() {
        let own = origin("https://registry.example", false);
        let owns = |url: &str| own.owns(&url.parse().unwrap());
        assert!(owns("https://registry.example/v2/") && owns("https://REGISTRY.example:443/x?y"));
        assert!(!owns("http://registry.example/") && !owns("https://registry.example:444/"));
        assert!(!owns("https://registry.example.net/") && !owns("/v2/"));
    }

    #[test]
    fn what_is_redirected_to_is_checked() {
        let own = origin("https://registry.example", false);
        let base = "https://cdn.example/a/b".parse().unwrap();
        assert_eq!(own.resolve(&base, "/c?d=e").unwrap(), "https://cdn.example/c?d=e");
        assert_eq!(own.resolve(&base, "https://other.example/c").unwrap(), "https://other.example/c");
        for refused in [
            "",
            "c",
            "http://cdn.example/c",
            "http://127.0.0.1/c",
            "ftp://cdn.example/",
            "https://u@cdn.example/",
            "\0",
        ] {
            own.resolve(&base, refused).unwrap_err();
        }
        own.resolve(&base, &format!("https://cdn.example/{}", "x".repeat(URL_LIMIT))).unwrap_err();

        let plain = origin("http://127.0.0.1:5000", false);
        plain.resolve(&base, "http://localhost:1/c").unwrap();
        plain.resolve(&base, "http://cdn.example/c").unwrap_err();
        origin("https://registry.example", true).resolve(&base, "http://cdn.example/c").unwrap();
    }
}
