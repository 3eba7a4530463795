//! Tokens, names and passwords.

use std::{
    fs,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use tempfile::TempDir;

use super::*;

/// A registry that wants a token, and gives token number N to whom `service` lets in; `good` says which it accepts.
fn with_tokens(
    service: impl Fn(&Request) -> Result<(), Reply> + Send + Sync + 'static,
    life: u64,
    good: impl Fn(usize) -> bool + Send + Sync + 'static,
) -> Server {
    let own: Arc<OnceLock<String>> = Arc::default();
    let (address, count) = (own.clone(), AtomicUsize::new(0));
    let server = Server::new(move |request| {
        if request.line.contains("/token") {
            let number = count.fetch_add(1, Ordering::SeqCst);
            let body = format!(r#"{{"token": "t{number}", "expires_in": {life}}}"#);
            return service(request).err().unwrap_or_else(|| Reply::new(200, body));
        }
        let token = request.header("authorization").and_then(|value| value.strip_prefix("Bearer t"));
        if token.is_some_and(|token| good(token.parse().unwrap())) {
            return Reply::new(200, "top");
        }
        let realm = format!("http://{}/token", address.get().unwrap());
        let challenge = format!(r#"Bearer realm="{realm}",service="s",scope="repository:team/app:pull""#);
        Reply::new(401, r#"{"errors":[{"message":"who is it?"}]}"#).header("WWW-Authenticate", &challenge)
    });
    own.set(server.address().to_string()).unwrap();
    server
}

/// Options with an auth file that has `entry` for `server`.
fn with_entry(server: &Server, entry: &str) -> (TempDir, Options) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("auth.json");
    fs::write(&file, format!(r#"{{"auths": {{"{}": {entry}}}}}"#, server.address())).unwrap();
    (folder, Options { auth_files: vec![file], ..options() })
}

#[test]
fn a_public_image_needs_a_token_but_no_login() {
    let server = with_tokens(|_| Ok(()), 300, |_| true);
    let mut registry = registry(&server, options());
    registry.top().unwrap();
    registry.manifest(&descriptor(b"top")).unwrap();
    read(&mut registry, b"top", 0).unwrap();
    let lines = server.lines();
    assert_eq!(lines[1], "GET /token?service=s&scope=repository%3Ateam%2Fapp%3Apull");
    assert_eq!(lines.iter().filter(|line| line.contains("/token")).count(), 1, "{lines:?}");
    assert_eq!(lines.len(), 5, "{lines:?}");
    assert_eq!(server.requests()[1].header("authorization"), None);
}

#[test]
fn the_token_service_hears_name_and_password_and_the_registry_only_the_token() {
    let service = |request: &Request| match request.header("authorization") {
        Some("Basic dTpw") => Err(Reply::new(200, r#"{"access_token": "t7"}"#)),
        _ => Err(Reply::new(401, r#"{"details": "wrong"}"#)),
    };
    let server = with_tokens(service, 300, |number| number == 7);
    let (_folder, options) = with_entry(&server, r#"{"auth": "dTpw"}"#);
    registry(&server, options).top().unwrap();
    let sent: Vec<_> =
        server.requests().iter().map(|one| one.header("authorization").map(str::to_owned)).collect();
    assert_eq!(sent, [None, Some("Basic dTpw".into()), Some("Bearer t7".into())]);
}

#[test]
fn an_identity_token_is_exchanged() {
    let server = with_tokens(|_| Ok(()), 300, |_| true);
    let (_folder, options) = with_entry(&server, r#"{"auth": "dTpw", "identitytoken": "secret+1"}"#);
    registry(&server, options).top().unwrap();
    let request = &server.requests()[1];
    assert_eq!(request.line, "POST /token");
    for field in [
        "grant_type=refresh_token",
        "refresh_token=secret%2B1",
        "service=s",
        "client_id=hv",
        "scope=repository",
    ] {
        assert!(request.body.contains(field), "{}", request.body);
    }
}

#[test]
fn a_token_that_has_run_out_is_renewed() {
    let server = with_tokens(|_| Ok(()), 300, |number| number == 1);
    assert!(message(registry(&server, options()).top()).contains("denies access (who is it?)"));
    let before = server.requests().len();
    assert_eq!(before, 3, "once asked, once a token, once more asked");

    let mut registry = registry(&server, options());
    registry.top().unwrap();
    assert_eq!(server.requests().len(), before + 3);

    // The first token is good for one request, then the registry wants the next.
    let uses = AtomicUsize::new(0);
    let server =
        with_tokens(|_| Ok(()), 300, move |number| number == 1 || uses.fetch_add(1, Ordering::SeqCst) == 0);
    let mut registry = super::registry(&server, options());
    for _ in 0..3 {
        registry.top().unwrap();
    }
    assert_eq!(server.lines().iter().filter(|line| line.contains("/token")).count(), 2);

    // One that is known to have run out is not sent.
    let server = with_tokens(|_| Ok(()), 0, |_| true);
    let mut registry = super::registry(&server, options());
    registry.top().unwrap();
    registry.top().unwrap();
    assert_eq!(server.lines().iter().filter(|line| line.contains("/token")).count(), 2);
    assert_eq!(server.requests()[3].header("authorization"), None);
}

#[test]
fn wrong_credentials_name_their_file_and_the_cure() {
    let server = with_tokens(|_| Err(Reply::new(401, r#"{"details": "incorrect password"}"#)), 1, |_| false);
    let (folder, options) = with_entry(&server, r#"{"auth": "dTpw"}"#);
    let address = server.address();
    let text = message(registry(&server, options.clone()).top());
    let file = folder.path().join("auth.json");
    assert!(text.contains(&format!("{address} gives no token (incorrect password)")), "{text}");
    assert!(text.contains(&format!("`docker login {address}`")), "{text}");
    assert!(text.contains(&format!("the credentials of {}", file.display())), "{text}");

    fs::remove_file(&file).unwrap();
    let text = message(registry(&server, options).top());
    assert!(text.contains(&format!("{} does not exist", file.display())), "{text}");
    let text = message(registry(&server, super::options()).top());
    assert!(text.contains("no auth file to look at"), "{text}");
}

#[test]
fn bad_token_services_are_errors() {
    for (status, body, expected) in [
        (200, "{}", "answers without a token"),
        (200, "<html>", "something else than a token"),
        (200, r#"{"token": "a\nb"}"#, "cannot be sent"),
        (302, "", "gives no token: 302"),
        (503, "busy", "gives no token: 503 (busy) (tried 3 times)"),
        (400, r#"{"error":"invalid_grant"}"#, "gives no token (invalid_grant)"),
    ] {
        let server = with_tokens(move |_| Err(Reply::new(status, body)), 1, |_| false);
        let text = message(registry(&server, options()).top());
        assert!(text.contains(expected), "{text}");
    }
    let endless = with_tokens(|_| Err(Reply::new(200, " ".repeat(1000)).endless()), 1, |_| false);
    assert!(message(registry(&endless, options()).top()).contains("more than 65536 bytes"));
}

#[test]
fn a_token_service_must_be_encrypted_as_well() {
    for (challenge, expected) in [
        ("Bearer realm=\"http://tokens.example/\"", "http://tokens.example, which is not encrypted"),
        ("Bearer realm=\"tokens\"", "names as its token service"),
        ("Bearer service=x", "neither Bearer nor Basic"),
        ("Negotiate", "neither Bearer nor Basic"),
        ("", "neither Bearer nor Basic"),
        ("Basic realm=x", "needs a login"),
    ] {
        let server = Server::new(move |_| Reply::new(401, "").header("WWW-Authenticate", challenge));
        let text = message(registry(&server, options()).top());
        assert!(text.contains(expected), "{challenge}: {text}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn basic_authentication() {
    let server = Server::new(|request| match request.header("authorization") {
        Some("Basic dTpw") => Reply::new(200, "top"),
        _ => Reply::new(401, "who?")
            .header("WWW-Authenticate", "Negotiate")
            .header("WWW-Authenticate", "Basic realm=x"),
    });
    let (_folder, options) = with_entry(&server, r#"{"username": "u", "password": "p"}"#);
    let mut good = registry(&server, options);
    good.top().unwrap();
    good.top().unwrap();
    assert_eq!(server.requests().len(), 3);
    let (_folder, options) = with_entry(&server, r#"{"username": "u", "password": "q"}"#);
    let text = message(registry(&server, options).top());
    assert!(text.contains("denies access (who?)") && text.contains("docker login"), "{text}");
}
