//! What goes well, redirects, and refusals.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

#[test]
fn an_image_is_pulled() {
    let server = Server::new(|request| match request.line.as_str() {
        "GET /v2/team/app/manifests/1" => {
            Reply::new(200, "top").header("Content-Type", "Application/Vnd.X+json; charset=utf-8")
        }
        line if line.starts_with("GET /v2/team/app/manifests/sha256:") => Reply::new(200, "one").chunked(),
        line if line.starts_with("GET /v2/team/app/blobs/sha256:") => Reply::new(200, content()),
        _ => Reply::new(404, ""),
    });
    let mut registry = registry(&server, options());
    let document = registry.top().unwrap();
    assert_eq!(document.media_type, "application/vnd.x+json");
    assert_eq!((document.bytes.as_slice(), document.digest), (&b"top"[..], Digest::of(b"top")));
    assert_eq!(registry.manifest(&descriptor(b"one")).unwrap().bytes, b"one");
    assert!(read(&mut registry, &content(), 0).unwrap() == content());
    assert_eq!(read(&mut registry, b"", 0).unwrap(), b"");
    assert!(registry.resumable());

    let requests = server.requests();
    assert_eq!(requests.len(), 3, "nothing is asked for where nothing can come");
    assert_eq!(requests[2].line, format!("GET /v2/team/app/blobs/{}", Digest::of(&content())));
    let accept = requests[0].header("accept").unwrap();
    for media_type in [OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST] {
        assert!(accept.contains(media_type), "{accept}");
    }
    assert_eq!(requests[0].header("authorization"), None);
    assert!(
        requests[2].header("range").is_none() && requests[2].header("accept-encoding") == Some("identity")
    );
}

#[test]
fn a_digest_in_the_reference_counts_before_a_tag() {
    let server = Server::new(|_| Reply::new(200, "top"));
    let pull = |content: &[u8]| {
        let reference = format!("{}/team/app@{}", server.address(), Digest::of(content));
        Registry::new(&reference.parse().unwrap(), options()).unwrap().top()
    };
    assert_eq!(pull(b"top").unwrap().bytes, b"top");
    assert_eq!(server.lines(), [format!("GET /v2/team/app/manifests/{}", Digest::of(b"top"))]);
    let message = message(pull(b"other"));
    assert!(message.contains(&Digest::of(b"other").to_string()), "{message}");
    assert!(message.contains(&Digest::of(b"top").to_string()), "{message}");
}

#[test]
fn a_blob_is_read_from_where_it_is_wanted() {
    let server = Server::new(|request| Reply::range(request, &content()));
    let mut registry = registry(&server, options());
    assert!(read(&mut registry, &content(), 1234).unwrap() == content()[1234..]);
    let end = content().len() as u64;
    assert_eq!(read(&mut registry, &content(), end).unwrap(), b"");
    assert_eq!(server.requests().len(), 1);
    assert!(message(read(&mut registry, &content(), end + 1)).contains("byte 600001 of a blob of 600000"));
}

#[test]
fn a_redirect_elsewhere_goes_without_credentials_but_with_the_range() {
    let store = Server::new(|request| Reply::range(request, &content()));
    let address = store.address();
    let server = Server::new(move |request| match request.header("authorization") {
        None => Reply::new(401, "").header("WWW-Authenticate", "Basic realm=x"),
        Some(_) if request.line.contains("/blobs/") => {
            Reply::new(307, "elsewhere").header("Location", &format!("http://{address}/store?signature=%2F"))
        }
        Some(_) if request.line == "GET /moved" => Reply::new(200, "top"),
        Some(_) => Reply::new(302, "").header("Location", "/moved"),
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("auth.json");
    std::fs::write(&file, format!(r#"{{"auths": {{"{}": {{"auth": "dTpw"}}}}}}"#, server.address())).unwrap();
    let mut registry = registry(&server, Options { auth_files: vec![file], ..options() });
    assert_eq!(registry.top().unwrap().bytes, b"top");
    assert!(read(&mut registry, &content(), 7).unwrap() == content()[7..]);
    let request = &store.requests()[0];
    assert_eq!(request.line, "GET /store?signature=%2F");
    assert_eq!((request.header("authorization"), request.offset()), (None, Some(7)));
    let to_moved = server.requests().into_iter().find(|request| request.line == "GET /moved").unwrap();
    assert_eq!(to_moved.header("authorization"), Some("Basic dTpw"), "the same server");
}

#[test]
fn redirects_are_bounded_and_stay_encrypted() {
    let server = Server::new(|request| match request.line.as_str() {
        "GET /v2/team/app/manifests/1" => Reply::new(301, "").header("Location", "http://cdn.example/x"),
        line if line.contains("manifests") => Reply::new(301, ""),
        _ => Reply::new(308, "").header("Location", "/again"),
    });
    let mut registry = registry(&server, options());
    let plain = message(registry.top());
    assert!(plain.contains("http://cdn.example, which is not encrypted"), "{plain}");
    assert!(message(registry.manifest(&descriptor(b"x"))).contains("redirects to nowhere"));
    let before = server.requests().len();
    assert!(message(read(&mut registry, b"x", 0)).contains("redirects without end"));
    assert_eq!(server.requests().len() - before, 11);
}

#[test]
fn what_is_not_there_is_named_with_the_registrys_words() {
    let server = Server::new(|_| {
        let body = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
        Reply::new(404, body).header("Content-Type", "application/json")
    });
    let address = server.address();
    let text = message(registry(&server, options()).top());
    assert_eq!(
        text,
        format!("{address}/team/app:1: not found in {address} (manifest unknown); check name and tag")
    );
    assert_eq!(server.requests().len(), 1, "no second try");
}

#[test]
fn what_may_pass_is_tried_again() {
    let count = AtomicUsize::new(0);
    let server = Server::new(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::new(429, "slow down").header("Retry-After", "0"),
        1 => Reply::new(503, "<html>"),
        _ => Reply::new(200, "top"),
    });
    assert_eq!(registry(&server, options()).top().unwrap().bytes, b"top");
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn trying_again_is_bounded() {
    let server = Server::new(|request| match request.line.contains("manifests") {
        true => Reply::new(503, r#"{"errors":[{"code":"UNAVAILABLE"}]}"#),
        false => Reply::new(429, "").header("Retry-After", "3600"),
    });
    let mut registry = registry(&server, options());
    let trouble = message(registry.top());
    assert!(trouble.contains("in trouble: 503 (UNAVAILABLE) (tried 3 times)"), "{trouble}");
    assert_eq!(server.requests().len(), 3);
    assert!(message(read(&mut registry, b"x", 0)).contains("asks to wait 3600 s"));
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn a_server_that_is_not_there_is_said_so() {
    let reference = |text: &str| Registry::new(&text.parse().unwrap(), options()).unwrap().top();
    let refused = message(reference("127.0.0.1:1/team/app:1"));
    assert!(refused.contains("127.0.0.1:1: connection refused"), "{refused}");
    if !tls::supported() {
        return;
    }
    let unknown = message(reference("registry.invalid/team/app:1"));
    assert!(unknown.contains("registry.invalid: no such host"), "{unknown}");
}
