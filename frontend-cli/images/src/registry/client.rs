//! Requests to a registry: redirects, authentication, and what its refusals mean.

use std::time::Duration;

use anyhow::{Context, Result};
use ureq::{
    Body,
    http::{
        HeaderMap, HeaderValue, Response, StatusCode, Uri,
        header::{ACCEPT, AUTHORIZATION, LOCATION, RANGE, WWW_AUTHENTICATE},
        uri::{Authority, Scheme},
    },
};

use super::{
    Options,
    address::{Origin, api_host, is_loopback},
    authorization::Authorization,
    failure::{Failure, Retry},
    transport::{Answer, Patience, Transport, host, retry_after},
};
use crate::manifest::MOST_DOCUMENT;

/// How many redirects in a row are followed.
const REDIRECTS: usize = 10;

/// Speaks with one registry about one repository.
pub(crate) struct Client {
    pub(crate) transport: Transport,
    authorization: Authorization,
    host: Authority,
    /// Known from the first request on.
    origin: Option<Origin>,
}

/// What is asked for.
pub(crate) struct Request<'a> {
    /// Below the server's root.
    pub(crate) path: &'a str,
    /// Media types; empty for any.
    pub(crate) accept: &'a str,
    /// The first byte of interest.
    pub(crate) offset: u64,
    /// What it is, for messages.
    pub(crate) what: &'a str,
}

impl Client {
    /// A client for `repository` of the registry that references call `registry`.
    pub(crate) fn new(registry: &str, repository: &str, options: Options) -> Result<Self> {
        let host = api_host(registry);
        let host: Authority = host.parse().with_context(|| format!("{host}: not a registry's name"))?;
        let transport = Transport::new(&host, options)?;
        let authorization = Authorization::new(registry, repository);
        Ok(Self { transport, authorization, host, origin: None })
    }

    /// A document of at most [`MOST_DOCUMENT`] bytes; tries again as often as the options say.
    pub(crate) fn document(&mut self, request: &Request<'_>) -> Result<Answer, Failure> {
        let mut patience = Patience::default();
        loop {
            let limit = usize::try_from(MOST_DOCUMENT).unwrap_or(usize::MAX);
            let answer = self
                .fetch(request)
                .and_then(|response| self.transport.read(response, self.host.as_str(), limit));
            match answer {
                Ok(answer) => return Ok(answer),
                Err(failure) => patience.wait(failure, &self.transport.options)?,
            }
        }
    }

    /// One try to get something: an answer of status 200 or 206, whose body is still to be read.
    pub(crate) fn fetch(&mut self, request: &Request<'_>) -> Result<Response<Body>, Failure> {
        let origin = self.origin()?;
        let mut renewed = false;
        loop {
            let (response, target) = self.follow(&origin, request, renewed)?;
            let own = origin.owns(&target);
            match response.status() {
                StatusCode::OK | StatusCode::PARTIAL_CONTENT => return Ok(response),
                StatusCode::UNAUTHORIZED if own && !renewed => {
                    renewed = true;
                    let challenges = challenges(response.headers());
                    self.transport.drop(response, host(&target));
                    self.authorization.renew(&mut self.transport, &origin, &challenges)?;
                }
                _ => return Err(self.refusal(response, &target, own, request)),
            }
        }
    }

    /// Host and port, for messages.
    pub(crate) fn host(&self) -> &str {
        self.host.as_str()
    }

    fn origin(&mut self) -> Result<Origin, Failure> {
        if let Some(origin) = &self.origin {
            return Ok(origin.clone());
        }
        let insecure = self.transport.options.insecure;
        let plain = (insecure || is_loopback(&self.host)) && self.transport.is_plain(&self.host)?;
        let scheme = if plain { Scheme::HTTP } else { Scheme::HTTPS };
        let origin = Origin { scheme, authority: self.host.clone(), insecure };
        Ok(self.origin.insert(origin).clone())
    }

    /// Asks, and goes where redirects say; only the registry itself hears who we are.
    fn follow(
        &mut self,
        origin: &Origin,
        request: &Request<'_>,
        new: bool,
    ) -> Result<(Response<Body>, Uri), Failure> {
        let mut target = origin.at(request.path).map_err(Failure::lasting)?;
        for _ in 0..=REDIRECTS {
            let mut headers = Vec::new();
            if !request.accept.is_empty() {
                let accept = HeaderValue::from_str(request.accept);
                headers.push((ACCEPT, accept.map_err(|error| Failure::lasting(error.to_string()))?));
            }
            if request.offset > 0 {
                let range = HeaderValue::from_str(&format!("bytes={}-", request.offset));
                headers.push((RANGE, range.map_err(|error| Failure::lasting(error.to_string()))?));
            }
            if origin.owns(&target)
                && let Some(value) = self.authorization.header(new)
            {
                headers.push((AUTHORIZATION, value));
            }
            let response = self.transport.get(&target, &headers)?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok((response, target));
            }
            let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let next = location.ok_or_else(|| "nowhere".to_owned());
            let next = next.and_then(|location| origin.resolve(&target, location)).map_err(|why| {
                Failure::lasting(format!("{}: {} redirects to {why}", request.what, host(&target)))
            })?;
            self.transport.drop(response, host(&target));
            target = next;
        }
        Err(Failure::lasting(format!("{}: {} redirects without end", request.what, self.host)))
    }

    /// What an answer means that does not have what was asked for.
    fn refusal(&self, response: Response<Body>, target: &Uri, own: bool, request: &Request<'_>) -> Failure {
        let status = response.status();
        let wait = retry_after(response.headers());
        let host = host(target);
        let said = self.transport.read_message(response, host);
        let said = if said.is_empty() { String::new() } else { format!(" ({said})") };
        let what = request.what;
        match status.as_u16() {
            401 | 403 if own => Failure::lasting(format!(
                "{what}: {host} denies access{said}; either there is no such image or it needs a login{}",
                self.authorization.cure()
            )),
            404 => Failure::lasting(format!("{what}: not found in {host}{said}; check name and tag")),
            416 => Failure::lasting(format!("{what}: {host} has less than {} bytes of it", request.offset)),
            429 => {
                let longest = self.transport.options.longest_pause.as_secs();
                match wait {
                    Some(seconds) if seconds > longest => Failure::lasting(format!(
                        "{what}: {host} limits requests{said} and asks to wait {seconds} s; try again then, or log in"
                    )),
                    _ => Failure {
                        message: format!(
                            "{what}: {host} limits requests{said}; try again later, or log in for a higher limit"
                        ),
                        retry: wait.map_or(Retry::Soon, |seconds| Retry::After(Duration::from_secs(seconds))),
                    },
                }
            }
            code @ 500..=599 => Failure::passing(format!("{what}: {host} is in trouble: {code}{said}")),
            code => Failure::lasting(format!("{what}: {host} answers {code}{said}")),
        }
    }
}

/// All `WWW-Authenticate` headers, as text.
fn challenges(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter();
    values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
}
