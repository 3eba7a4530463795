//! Requests and answers, each bounded in size and time, by HTTP or HTTPS.

use std::{io::Read, sync::Arc, thread, time::Instant};

use anyhow::Result;
use rustls::{
    crypto::{CryptoProvider, KeyProvider},
    pki_types::PrivateKeyDer,
    sign::SigningKey,
};
use rustls_graviola::kx;
use ureq::{
    Agent, Body, Proxy,
    http::{
        HeaderMap, HeaderName, HeaderValue, Response, Uri,
        header::{CONTENT_TYPE, RETRY_AFTER},
        uri::{Authority, Scheme},
    },
    tls::TlsConfig,
};

use super::{
    Options,
    address::is_loopback,
    failure::{Context, Failure, Retry, explain, message},
};

/// Bytes of an answer's head.
const HEAD_LIMIT: usize = 64 << 10;
/// Bytes of the body of an error or a redirect.
const ERROR_LIMIT: usize = 64 << 10;
/// What is read at a time.
const BUFFER: usize = 64 << 10;

/// Speaks HTTP.
pub(crate) struct Transport {
    agent: Agent,
    /// Where the believed authorities are from.
    roots: String,
    /// Whether this processor has the instructions that the cryptography is written with.
    encrypts: bool,
    /// Somebody has answered: what fails from now on may pass.
    reached: bool,
    pub(crate) options: Options,
}

/// The head of an answer whose body was read.
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
}

impl Transport {
    /// Gets ready to speak with `host` and those it sends us to.
    pub(crate) fn new(host: &Authority, options: Options) -> Result<Self> {
        let encrypts = graviola::util::is_cpu_supported();
        let (roots, source) = options.certificates.load()?;
        let tls = TlsConfig::builder()
            .root_certs(roots)
            .unversioned_rustls_crypto_provider(Arc::new(provider()))
            .build();
        let proxy = (options.proxy && !is_loopback(host)).then(Proxy::try_from_env).flatten();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .proxy(proxy)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("hv/", env!("CARGO_PKG_VERSION")))
            // Digests are of the bytes as they are stored.
            .accept_encoding("identity")
            .max_response_header_size(HEAD_LIMIT)
            .input_buffer_size(BUFFER + HEAD_LIMIT)
            .timeout_resolve(Some(options.connect))
            .timeout_connect(Some(options.connect))
            .timeout_send_request(Some(options.answer))
            .timeout_recv_response(Some(options.answer))
            .timeout_per_read(Some(options.stall))
            .timeout_per_write(Some(options.stall))
            .build()
            .new_agent();
        Ok(Self { agent, roots: source, encrypts, reached: false, options })
    }

    /// Asks for `target`; any status is an answer, a redirect too.
    pub(crate) fn get(
        &mut self,
        target: &Uri,
        headers: &[(HeaderName, HeaderValue)],
    ) -> Result<Response<Body>, Failure> {
        self.check(target)?;
        let mut request = self.agent.get(target.clone());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let answer = request.call();
        self.heard(answer, target)
    }

    /// Sends a form to `target`.
    pub(crate) fn post(&mut self, target: &Uri, form: &[(&str, &str)]) -> Result<Response<Body>, Failure> {
        self.check(target)?;
        let answer = self.agent.post(target.clone()).send_form(form.iter().copied());
        self.heard(answer, target)
    }

    /// Whether the server at `host` answers in plain HTTP as a registry does.
    ///
    /// One that speaks TLS answers 400 to this, something that is no HTTP, or a redirect to itself.
    pub(crate) fn is_plain(&mut self, host: &Authority) -> Result<bool, Failure> {
        let uri = Uri::builder().scheme(Scheme::HTTP).authority(host.clone()).path_and_query("/v2/").build();
        let Ok(uri) = uri else { return Ok(false) };
        match self.agent.get(uri).call() {
            Ok(answer) => {
                let status = answer.status();
                self.reached = true;
                Ok(!status.is_redirection() && !matches!(status.as_u16(), 400 | 426))
            }
            Err(error) if !self.encrypts || matches!(error, ureq::Error::Timeout(_)) => {
                Err(self.explain(error, host.as_str()))
            }
            Err(_) => Ok(false),
        }
    }

    fn check(&self, target: &Uri) -> Result<(), Failure> {
        if target.scheme() == Some(&Scheme::HTTPS) && !self.encrypts {
            let host = host(target);
            return Err(Failure::lasting(format!(
                "{host}: TLS needs instructions (AES, AVX2, ADX, BMI1, PCLMULQDQ; on arm64 AES, PMULL, SHA2) that this processor lacks"
            )));
        }
        Ok(())
    }

    fn heard(
        &mut self,
        answer: Result<Response<Body>, ureq::Error>,
        target: &Uri,
    ) -> Result<Response<Body>, Failure> {
        match answer {
            Ok(response) => {
                self.reached = true;
                Ok(response)
            }
            Err(error) => Err(self.explain(error, host(target))),
        }
    }

    /// The failure that `error` is. As long as nobody has answered, waiting would not help.
    pub(crate) fn explain(&self, error: ureq::Error, host: &str) -> Failure {
        let Options { connect, answer, stall, .. } = self.options;
        let mut failure = explain(error, host, &Context { connect, answer, stall, roots: &self.roots });
        if !self.reached {
            failure.retry = Retry::Never;
        }
        failure
    }

    /// The whole of an answer, if it has at most `limit` bytes and comes in time.
    pub(crate) fn read(&self, response: Response<Body>, host: &str, limit: usize) -> Result<Answer, Failure> {
        let (parts, body) = response.into_parts();
        let mut reader = body.into_reader();
        let start = Instant::now();
        let mut bytes = Vec::new();
        let mut buffer = vec![0; 16 << 10];
        loop {
            let count = reader.read(&mut buffer).map_err(|error| self.explain(error.into(), host))?;
            bytes.extend(buffer.iter().take(count));
            if count == 0 {
                return Ok(Answer { headers: parts.headers, bytes });
            }
            if bytes.len() > limit {
                return Err(Failure::lasting(format!("{host} sent a document of more than {limit} bytes")));
            }
            if start.elapsed() > self.options.document {
                let seconds = self.options.document.as_secs_f32();
                return Err(Failure::passing(format!("{host} did not send a document within {seconds} s")));
            }
        }
    }

    /// What an error says of itself; empty where that cannot be read.
    pub(crate) fn read_message(&self, response: Response<Body>, host: &str) -> String {
        let kind = content_type(response.headers());
        let answer = self.read(response, host, ERROR_LIMIT);
        answer.map(|answer| message(&kind, &answer.bytes)).unwrap_or_default()
    }

    /// Reads an answer that is of no interest, so that its connection can be used again.
    pub(crate) fn drop(&self, response: Response<Body>, host: &str) {
        // If it is too long or broken, the connection is closed instead.
        self.read(response, host, ERROR_LIMIT).ok();
    }
}

/// The cryptography of a client: what is for servers is left out, so that it takes no room in the program.
fn provider() -> CryptoProvider {
    CryptoProvider {
        kx_groups: vec![kx::X25519MLKEM768, &kx::X25519, &kx::P256],
        key_provider: &NoKeys,
        ..rustls_graviola::default_provider()
    }
}

/// Nobody here signs anything.
#[derive(Debug)]
struct NoKeys;

impl KeyProvider for NoKeys {
    fn load_private_key(&self, _: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        Err(rustls::Error::General("no private keys".to_owned()))
    }
}

/// Host and port of `target`.
pub(crate) fn host(target: &Uri) -> &str {
    target.authority().map_or("?", Authority::as_str)
}

/// The media type of an answer, without parameters, in small letters; empty if it has none.
pub(crate) fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The seconds that `Retry-After` asks for; a date is passed over.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<u64> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}

/// Counts failures in a row.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    failures: u32,
}

impl Patience {
    /// Waits before the next try, or gives the failure back if there should be none.
    pub(crate) fn wait(&mut self, failure: Failure, options: &Options) -> Result<(), Failure> {
        let doubled = options.pause.saturating_mul(1 << self.failures.min(16)).min(options.longest_pause);
        self.failures = self.failures.saturating_add(1);
        let pause = match failure.retry {
            Retry::Never => return Err(failure),
            Retry::Soon => doubled,
            Retry::After(time) => time.max(doubled).min(options.longest_pause),
        };
        if self.failures >= options.tries {
            return Err(Failure::lasting(format!("{failure} (tried {} times)", self.failures)));
        }
        tracing::info!(%failure, ?pause, "trying again");
        thread::sleep(pause);
        Ok(())
    }
}
