//! What fuzz targets play against, which is no interface for others.

use ureq::http::{Uri, uri::Parts};

use super::{address::Origin, authorization, failure};

/// What is shown of an answer that is an error.
#[must_use]
pub fn error_message(content_type: &str, body: &[u8]) -> String {
    failure::message(content_type, body)
}

/// The token, and how many seconds it lives, in an answer of a token service.
#[must_use]
pub fn token(body: &[u8]) -> Option<(String, u64)> {
    authorization::token(body).map(|token| (token.text().to_owned(), token.life()))
}

/// Where a redirect by the registry at `own` leads.
///
/// # Errors
/// It is not followed; what is said of that.
pub fn redirect(own: &str, location: &str, insecure: bool) -> Result<String, String> {
    let base: Uri = own.parse().map_err(|_| "no address".to_owned())?;
    let Parts { scheme: Some(scheme), authority: Some(authority), .. } = base.clone().into_parts() else {
        return Err("no address".to_owned());
    };
    let origin = Origin { scheme, authority, insecure };
    origin.resolve(&base, location).map(|target| target.to_string())
}
