//! Who we are to a registry: nobody, a name and password, or the bearer of a token (the distribution's token protocol).

use std::time::{Duration, Instant};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use ureq::http::{HeaderValue, StatusCode, Uri, header};

use super::{
    address::Origin,
    challenge::{self, Challenge},
    credentials::{self, Credentials, Search},
    failure::{Failure, Retry, chain},
    transport::{Transport, host},
};

/// Bytes of a token service's answer, and so of a token.
const ANSWER_LIMIT: usize = 64 << 10;
/// A token's life where its service says none (token specification, `expires_in`).
const TOKEN_LIFE: u64 = 60;
/// No token is trusted longer than this.
const LONGEST_LIFE: u64 = 24 * 60 * 60;

/// What is sent with requests to the registry itself.
pub(crate) struct Authorization {
    /// As references and auth files call it.
    registry: String,
    repository: String,
    search: Option<Search>,
    value: Option<HeaderValue>,
    expires: Option<Instant>,
}

#[derive(Deserialize)]
pub(crate) struct Token {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    expires_in: Option<u64>,
}

/// What a token service answers; nothing if that is something else.
pub(crate) fn token(answer: &[u8]) -> Option<Token> {
    serde_json::from_slice(answer).ok()
}

impl Token {
    /// The token itself; empty if there is none.
    pub(crate) fn text(&self) -> &str {
        if self.token.is_empty() { &self.access_token } else { &self.token }
    }

    /// For how many seconds it is used: a tenth less than it lives, so that it does not expire on its way.
    pub(crate) fn life(&self) -> u64 {
        let life = self.expires_in.unwrap_or(TOKEN_LIFE).min(LONGEST_LIFE);
        life - life / 10
    }
}

impl Authorization {
    pub(crate) fn new(registry: &str, repository: &str) -> Self {
        let (registry, repository) = (registry.to_owned(), repository.to_owned());
        Self { registry, repository, search: None, value: None, expires: None }
    }

    /// The `Authorization` header, while it is worth anything: also if its life is said to be over, where it is `new`.
    pub(crate) fn header(&self, new: bool) -> Option<HeaderValue> {
        let expired = self.expires.is_some_and(|time| time <= Instant::now());
        self.value.clone().filter(|_| new || !expired)
    }

    /// Answers the challenges of a 401.
    pub(crate) fn renew(
        &mut self,
        transport: &mut Transport,
        origin: &Origin,
        headers: &[String],
    ) -> Result<(), Failure> {
        self.value = None;
        self.expires = None;
        let challenges: Vec<Challenge> = headers.iter().flat_map(|header| challenge::parse(header)).collect();
        let credentials = self.credentials(transport)?;
        let bearer = challenges.iter().find(|one| one.is("Bearer") && one.parameter("realm").is_some());
        if let Some(bearer) = bearer {
            return self.fetch_token(transport, origin, bearer, credentials.as_ref());
        }
        if !challenges.iter().any(|challenge| challenge.is("Basic")) {
            return Err(Failure::lasting(format!(
                "{} asks for a login of a kind that is not supported (neither Bearer nor Basic)",
                origin.authority
            )));
        }
        match credentials {
            Some(Credentials::Password { username, password }) => {
                self.value = Some(basic(&username, &password)?);
                Ok(())
            }
            _ => Err(Failure::lasting(format!("{} needs a login{}", origin.authority, self.cure()))),
        }
    }

    /// What to do where access was denied, and which files were looked at, if any were.
    pub(crate) fn cure(&self) -> String {
        let login = format!("`docker login {}`", self.registry);
        let Some(Search { credentials, places }) = &self.search else {
            return format!(": log in with {login}");
        };
        let places = places.join("; ");
        match credentials {
            Some(_) => format!(": log in anew with {login} (used: {places})"),
            None if places.is_empty() => format!(": log in with {login} (no auth file to look at)"),
            None => format!(": log in with {login} ({places})"),
        }
    }

    fn credentials(&mut self, transport: &Transport) -> Result<Option<Credentials>, Failure> {
        let options = &transport.options;
        if self.search.is_none() {
            let found =
                credentials::search(&options.auth_files, &self.registry, &self.repository, options.helper);
            self.search = Some(found.map_err(|error| Failure::lasting(chain(error.as_ref())))?);
        }
        Ok(self.search.as_ref().and_then(|search| search.credentials.clone()))
    }

    fn fetch_token(
        &mut self,
        transport: &mut Transport,
        origin: &Origin,
        challenge: &Challenge,
        credentials: Option<&Credentials>,
    ) -> Result<(), Failure> {
        let registry = &origin.authority;
        let own_scope = format!("repository:{}:pull", self.repository);
        let scope = challenge.parameter("scope").filter(|scope| !scope.is_empty()).unwrap_or(&own_scope);
        let service = challenge.parameter("service").filter(|service| !service.is_empty());
        let realm = challenge.parameter("realm").unwrap_or_default();
        let base = origin.at("/").map_err(Failure::lasting)?;
        let realm = origin
            .resolve(&base, realm)
            .map_err(|why| Failure::lasting(format!("{registry} names as its token service {why}")))?;

        let mut query: Vec<(&str, &str)> = service.map(|service| ("service", service)).into_iter().collect();
        query.push(("scope", scope));
        let response = match credentials {
            Some(Credentials::IdentityToken(token)) => {
                query.extend([
                    ("grant_type", "refresh_token"),
                    ("refresh_token", token),
                    ("client_id", "hv"),
                ]);
                transport.post(&realm, &query)?
            }
            Some(Credentials::Password { username, password }) => {
                let target = with_query(&realm, &query)?;
                transport.get(&target, &[(header::AUTHORIZATION, basic(username, password)?)])?
            }
            None => transport.get(&with_query(&realm, &query)?, &[])?,
        };
        let service = host(&realm);
        let status = response.status();
        if status != StatusCode::OK {
            let said = transport.read_message(response, service);
            return Err(self.refused(service, status, &said));
        }
        let answer = transport.read(response, service, ANSWER_LIMIT)?;
        let token = token(&answer.bytes)
            .ok_or_else(|| Failure::lasting(format!("{service} answers with something else than a token")))?;
        if token.text().is_empty() {
            return Err(Failure::lasting(format!("{service} answers without a token")));
        }
        self.value = Some(secret(format!("Bearer {}", token.text()))?);
        self.expires = Instant::now().checked_add(Duration::from_secs(token.life()));
        Ok(())
    }

    fn refused(&self, service: &str, status: StatusCode, said: &str) -> Failure {
        let said = if said.is_empty() { String::new() } else { format!(" ({said})") };
        let code = status.as_u16();
        match code {
            // OAuth 2 says 400 of a refresh token that it does not accept.
            400 | 401 | 403 => Failure::lasting(format!("{service} gives no token{said}{}", self.cure())),
            429 | 500..=599 => {
                Failure { message: format!("{service} gives no token: {code}{said}"), retry: Retry::Soon }
            }
            _ => Failure::lasting(format!("{service} gives no token: {code}{said}")),
        }
    }
}

/// `realm` with the parameters behind those that it has.
fn with_query(realm: &Uri, parameters: &[(&str, &str)]) -> Result<Uri, Failure> {
    let mut text = realm.to_string();
    let mut separator = if realm.query().is_some() { '&' } else { '?' };
    for (name, value) in parameters {
        text.push(separator);
        text.push_str(name);
        text.push('=');
        for byte in value.bytes() {
            // RFC 3986's unreserved characters; the others are escaped.
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                text.push(char::from(byte));
            } else {
                text.push_str(&format!("%{byte:02X}"));
            }
        }
        separator = '&';
    }
    text.parse()
        .map_err(|_| Failure::lasting(format!("{}: its token service's address is too long", host(realm))))
}

fn basic(username: &str, password: &str) -> Result<HeaderValue, Failure> {
    secret(format!("Basic {}", STANDARD.encode(format!("{username}:{password}"))))
}

/// A header's value that no log shows.
fn secret(text: String) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::try_from(text)
        .map_err(|_| Failure::lasting("a token has characters that cannot be sent"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_escaped() {
        let uri = |realm: &str| {
            let realm = realm.parse().unwrap();
            with_query(&realm, &[("service", "a b&c"), ("scope", "repository:x/y:pull,é")])
                .unwrap()
                .to_string()
        };
        let query = "service=a%20b%26c&scope=repository%3Ax%2Fy%3Apull%2C%C3%A9";
        assert_eq!(uri("https://t.example/token"), format!("https://t.example/token?{query}"));
        assert_eq!(uri("https://t.example/?a=b"), format!("https://t.example/?a=b&{query}"));
    }

    #[test]
    fn secrets_are_hidden_and_must_be_text() {
        assert_eq!(format!("{:?}", basic("u", "p").unwrap()), "Sensitive");
        assert_eq!(basic("u", "p").unwrap().to_str().unwrap(), "Basic dTpw");
        secret("Bearer a\r\nHost: b".to_owned()).unwrap_err();
    }

    #[test]
    fn an_expired_token_is_not_sent() {
        let mut authorization = Authorization::new("r.example", "x");
        assert!(authorization.header(true).is_none());
        authorization.value = Some(HeaderValue::from_static("Bearer t"));
        assert!(authorization.header(false).is_some());
        authorization.expires = Some(Instant::now());
        assert!(authorization.header(false).is_none() && authorization.header(true).is_some());
    }
}
