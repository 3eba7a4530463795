//! What can go wrong between a registry and its client, in one line, and whether to try again.

use std::{error::Error, io, time::Duration};

use serde_json::Value;
use ureq::Timeout;

/// Characters of what a server says that are shown.
const SHOWN: usize = 300;

/// A failure, in one line.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    pub(crate) message: String,
    pub(crate) retry: Retry,
}

/// Whether a failure may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// It will be the same again.
    Never,
    /// Soon.
    Soon,
    /// When the server says.
    After(Duration),
}

impl Failure {
    pub(crate) fn lasting(message: impl Into<String>) -> Self {
        Self { message: message.into(), retry: Retry::Never }
    }

    pub(crate) fn passing(message: impl Into<String>) -> Self {
        Self { message: message.into(), retry: Retry::Soon }
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        Self::other(failure)
    }
}

/// `text` as one line of bounded length that cannot steer a terminal.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if let Some((end, _)) = line.char_indices().nth(SHOWN) {
            line.truncate(end);
            line.push('…');
            break;
        }
    }
    line
}

/// What the body of an error says: a registry's `errors`, a token service's `details` or `error`, or plain text.
pub(crate) fn message(content_type: &str, body: &[u8]) -> String {
    let Ok(json) = serde_json::from_slice::<Value>(body) else {
        if content_type == "text/html" || body.trim_ascii_start().starts_with(b"<") {
            return "a web page".to_owned();
        }
        return one_line(&String::from_utf8_lossy(body));
    };
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let described = |value: &Value| {
        let message = text(value, "message").filter(|message| !message.is_empty());
        message.or_else(|| text(value, "code"))
    };
    let errors = json.get("errors").and_then(Value::as_array).and_then(|errors| errors.first());
    let found = errors.and_then(described).or_else(|| {
        ["error_description", "details", "message", "detail", "error"].iter().find_map(|key| text(&json, key))
    });
    one_line(&found.unwrap_or_default())
}

/// What failed while speaking with `host`; `roots` says where the believed authorities are from.
///
/// `connect` and `answer` are how long those may take, `stall` how long nothing may come.
pub(crate) fn explain(error: ureq::Error, host: &str, context: &Context<'_>) -> Failure {
    let seconds = |time: Duration| format!("{} s", time.as_secs_f32());
    match error {
        ureq::Error::Timeout(Timeout::Resolve) => Failure::passing(format!(
            "{host}: the name was not resolved within {}; is this host's name service working?",
            seconds(context.connect)
        )),
        ureq::Error::Timeout(Timeout::Connect) => {
            Failure::passing(format!("{host}: no connection within {}", seconds(context.connect)))
        }
        ureq::Error::Timeout(Timeout::PerRead | Timeout::PerWrite | Timeout::RecvBody) => {
            Failure::passing(format!("{host} sent nothing for {}", seconds(context.stall)))
        }
        ureq::Error::Timeout(_) => {
            Failure::passing(format!("{host} did not answer within {}", seconds(context.answer)))
        }
        ureq::Error::Rustls(error) => tls(&error, host, context),
        ureq::Error::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(error) => tls(error, host, context),
            None => from_io(&error, host),
        },
        ureq::Error::HostNotFound => {
            Failure::lasting(format!("{host}: no such host; check the name of the registry"))
        }
        ureq::Error::LargeResponseHeader(..) => {
            Failure::lasting(format!("{host} sent a header that is too large"))
        }
        ureq::Error::Protocol(error) => {
            Failure::lasting(format!("{host} does not answer in HTTP: {}", one_line(&error.to_string())))
        }
        ureq::Error::ConnectProxyFailed(error) => {
            Failure::lasting(format!("{host}: the proxy refused: {}", one_line(&error)))
        }
        error => Failure::lasting(format!("{host}: {}", one_line(&error.to_string()))),
    }
}

/// What [`explain`] must know beside the error.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) connect: Duration,
    pub(crate) answer: Duration,
    pub(crate) stall: Duration,
    pub(crate) roots: &'a str,
}

fn from_io(error: &io::Error, host: &str) -> Failure {
    use io::ErrorKind;
    let text = one_line(&error.to_string());
    match error.kind() {
        ErrorKind::UnexpectedEof
        | ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe => Failure::passing(format!("{host} broke the connection off ({text})")),
        ErrorKind::ConnectionRefused => {
            Failure::passing(format!("{host}: connection refused; does a registry listen there?"))
        }
        // The standard library tells a failed look-up by these words alone.
        _ if text.starts_with("failed to lookup address") => {
            let why = text.split_once(": ").map_or(text.as_str(), |(_, why)| why);
            Failure::lasting(format!("{host}: no such host, or no name service ({why}); check the name"))
        }
        _ => Failure::passing(format!("{host}: {text}")),
    }
}

fn tls(error: &rustls::Error, host: &str, context: &Context<'_>) -> Failure {
    use rustls::CertificateError as Bad;
    let why = match error {
        rustls::Error::InvalidCertificate(bad) => match bad {
            Bad::UnknownIssuer => format!(
                "its certificate is signed by nobody in {}; name a file with its authority in SSL_CERT_FILE",
                context.roots
            ),
            Bad::Expired | Bad::ExpiredContext { .. } => {
                "its certificate has expired; is this host's clock right?".to_owned()
            }
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
                "its certificate is not valid yet; is this host's clock right?".to_owned()
            }
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
                "its certificate is for another name".to_owned()
            }
            bad => format!("its certificate is not accepted: {}", one_line(&bad.to_string())),
        },
        rustls::Error::InvalidMessage(_) => {
            "it does not speak TLS; plain HTTP must be allowed for it".to_owned()
        }
        error => one_line(&error.to_string()),
    };
    Failure::lasting(format!("{host}: TLS: {why}"))
}

/// An error and its causes, in one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    one_line(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_and_bounded() {
        assert_eq!(one_line(" a\n\tb\u{1b}[31m\r\n"), "a b [31m");
        let long = one_line(&"é".repeat(5000));
        assert_eq!(long.chars().count(), SHOWN + 1);
        assert!(one_line(&"word ".repeat(5000)).len() < 2 * SHOWN);
    }

    #[test]
    fn the_words_of_registries_and_token_services() {
        for (body, expected) in [
            (
                r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest\nunknown","detail":{}}]}"#,
                "manifest unknown",
            ),
            (r#"{"errors":[{"code":"DENIED","message":""}]}"#, "DENIED"),
            (r#"{"errors":[]}"#, ""),
            (r#"{"details":"incorrect username or password"}"#, "incorrect username or password"),
            (r#"{"error":"invalid_grant","error_description":"expired"}"#, "expired"),
            (r#"{"error":"invalid_grant"}"#, "invalid_grant"),
            ("404 page not found\n", "404 page not found"),
            ("<html>\n<h1>Hello</h1>", "a web page"),
            ("[1]", ""),
            ("", ""),
        ] {
            assert_eq!(message("application/json", body.as_bytes()), expected, "{body}");
        }
        assert_eq!(message("text/html", b"hello"), "a web page");
        assert_eq!(message("", b"\xff\xfe"), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn nested_json_does_not_overflow_the_stack() {
        message("", "[".repeat(60 << 10).as_bytes());
    }
}
