//! TLS, with certificates of an authority that only these tests believe.

use super::*;

fn with_authority() -> Options {
    Options { certificates: Certificates::Only(vec![data("ca.pem")]), ..options() }
}

/// Whether TLS works here; says so if not.
pub(super) fn supported() -> bool {
    let supported = graviola::util::is_cpu_supported();
    if !supported {
        println!("skipped: this processor lacks instructions that TLS is written with");
    }
    supported
}

#[test]
fn a_registry_on_loopback_may_speak_tls() {
    if !supported() {
        return;
    }
    let server = Server::tls("loopback", |request| match request.line.contains("blobs") {
        true => Reply::range(request, &content()),
        false => Reply::new(200, "top"),
    });
    let mut registry = registry(&server, with_authority());
    assert_eq!(registry.top().unwrap().bytes, b"top");
    assert!(read(&mut registry, &content(), 0).unwrap() == content());

    let breaking = Server::tls("loopback", |request| Reply::range(request, &content()).broken(300_000));
    let mut registry = super::registry(&breaking, with_authority());
    assert!(read(&mut registry, &content(), 0).unwrap() == content());
    assert_eq!(breaking.requests()[1].offset(), Some(300_000));
}

#[test]
fn certificates_are_checked_and_the_cure_is_named() {
    if !supported() {
        return;
    }
    let text = |certificate: &str, options: Options| {
        let server = Server::tls(certificate, |_| Reply::new(200, "top"));
        let text = message(registry(&server, options).top());
        assert!(server.requests().is_empty(), "nothing is sent to who is not trusted");
        text
    };
    let unknown =
        text("loopback", Options { certificates: Certificates::Only(vec![data("other.pem")]), ..options() });
    assert!(unknown.contains("signed by nobody in ") && unknown.contains("tls/other.pem"), "{unknown}");
    assert!(unknown.contains("SSL_CERT_FILE"), "{unknown}");
    let other = text("other", with_authority());
    assert!(other.contains("TLS: its certificate is for another name"), "{other}");
    let expired = text("expired", with_authority());
    assert!(expired.contains("TLS: its certificate has expired"), "{expired}");
    let insecure = text("loopback", Options { insecure: true, ..options() });
    assert!(insecure.contains("signed by nobody"), "{insecure}");
}

#[test]
fn an_encrypted_registry_does_not_send_us_into_the_clear() {
    if !supported() {
        return;
    }
    let plain = Server::new(|_| Reply::new(200, "top"));
    let location = format!("http://{}/", plain.address());
    let server = Server::tls("loopback", move |_| Reply::new(307, "").header("Location", &location));
    assert!(message(registry(&server, with_authority()).top()).contains("which is not encrypted"));
    let insecure = Options { insecure: true, ..with_authority() };
    assert_eq!(registry(&server, insecure).top().unwrap().bytes, b"top");
}

#[test]
fn a_server_that_breaks_off_at_the_handshake_is_not_tried_again() {
    let server = Server::new(|_| Reply::new(200, "top"));
    let origin = format!("https://{}/", server.address()).parse().unwrap();
    let host = server.address().to_string().parse().unwrap();
    let mut transport = transport::Transport::new(&host, options()).unwrap();
    if supported() {
        let failure = transport.get(&origin, &[]).unwrap_err();
        assert!(failure.message.contains("broke the connection off"), "{failure}");
        assert_eq!(failure.retry, failure::Retry::Never);
    }
}
