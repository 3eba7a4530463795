//! Servers that lie about digests and lengths, never end, or speak something else.

use super::*;
use crate::source::check;

#[test]
fn a_claimed_digest_is_checked() {
    let other = Digest::of(b"other");
    let claim = other.to_string();
    let server = Server::new(move |request| match request.line.contains("sha256") {
        false => Reply::new(200, "top").header("Docker-Content-Digest", &claim),
        true => Reply::new(200, "top").header("Docker-Content-Digest", "sha512:00"),
    });
    let mut registry = registry(&server, options());
    let message = message(registry.top());
    assert!(
        message.contains(&other.to_string()) && message.contains(&Digest::of(b"top").to_string()),
        "{message}"
    );
    assert_eq!(registry.manifest(&descriptor(b"top")).unwrap().bytes, b"top", "sha512 is not for us");
    assert_eq!(server.requests().len(), 2, "a lie is not asked for again");
}

#[test]
fn a_blob_with_another_digest_is_for_the_reader_to_refuse() {
    let server = Server::new(|_| Reply::new(200, "forged"));
    let bytes = read(&mut registry(&server, options()), b"wanted", 0).unwrap();
    assert!(message(check(&bytes, &descriptor(b"wanted"))).contains(&Digest::of(b"forged").to_string()));
}

#[test]
fn lengths_are_checked() {
    let server = |reply: fn() -> Reply| Server::new(move |_| reply());
    let text = |server: &Server| message(read(&mut registry(server, options()), b"0123456789", 0));

    let long = server(|| Reply::new(200, "0123456789a"));
    assert!(text(&long).contains("has 11 bytes for it, but its manifest says 10"));
    let short = server(|| Reply::new(200, "012345678"));
    assert!(text(&short).contains("has 9 bytes for it, but its manifest says 10"));
    let chunked = server(|| Reply::new(200, "0123456789a").chunked());
    assert!(text(&chunked).contains("goes on after its 10 bytes"));
    let endless = server(|| Reply::new(200, "0123456789a").endless());
    assert!(text(&endless).contains("goes on after its 10 bytes"));
    let closed = server(|| Reply::raw("HTTP/1.1 200 OK\r\n\r\n0123456789a"));
    assert!(text(&closed).contains("goes on after its 10 bytes"));
}

#[test]
fn a_blob_that_ends_early_is_asked_for_again_but_not_for_ever() {
    let server = Server::new(|request| match request.offset() {
        None => Reply::new(200, "0123").chunked(),
        Some(4) => Reply::new(206, "").header("Content-Range", "bytes 4-9/10").chunked(),
        Some(_) => Reply::new(500, ""),
    });
    let text = message(read(&mut registry(&server, options()), b"0123456789", 0));
    assert!(text.contains("ended it after 4 bytes of 10") && text.contains("tried 3 times"), "{text}");
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn another_range_than_the_one_asked_for_is_refused() {
    for range in ["bytes 3-9/10", "bytes 5-9/10", "bytes 4-9/11", "bytes 4-10/*", "nonsense"] {
        let server = Server::new(move |_| Reply::new(206, "456789").header("Content-Range", range));
        let text = message(read(&mut registry(&server, options()), b"0123456789", 4));
        assert!(text.contains("sent other bytes than those from 4 on, of 10"), "{range}: {text}");
    }
    let none = Server::new(|_| Reply::new(206, "456789"));
    assert!(message(read(&mut registry(&none, options()), b"0123456789", 4)).contains("sent other bytes"));
    let unsatisfied = Server::new(|_| Reply::new(416, ""));
    assert!(
        message(read(&mut registry(&unsatisfied, options()), b"0123456789", 4)).contains("less than 4 bytes")
    );
}

#[test]
fn documents_are_bounded() {
    let huge = || vec![b' '; (4 << 20) + 1];
    let server = Server::new(move |request| match request.line.contains("sha256") {
        false => Reply::new(200, huge()),
        true => Reply::new(200, huge()).endless(),
    });
    let mut registry = registry(&server, options());
    assert!(message(registry.top()).contains("more than 4194304 bytes"));
    assert!(message(registry.manifest(&descriptor(b"x"))).contains("more than 4194304 bytes"));
    assert_eq!(server.requests().len(), 2);

    let server = Server::new(|_| Reply::new(200, vec![b' '; 4 << 20]));
    assert_eq!(super::registry(&server, options()).top().unwrap().bytes.len(), 4 << 20);
    let error = Server::new(|_| Reply::new(404, "no\n".repeat(1 << 20)).endless());
    assert!(message(super::registry(&error, options()).top()).contains("not found"));
}

#[test]
fn a_document_that_trickles_ends() {
    let server = Server::new(|_| Reply::new(200, " ").endless());
    let options = Options { document: Duration::ZERO, tries: 1, ..options() };
    assert!(message(registry(&server, options).top()).contains("did not send a document within 0 s"));
}

#[test]
fn a_web_page_is_called_one() {
    for status in [200, 404, 418] {
        let server = Server::new(move |_| {
            Reply::new(status, "<html>\n<h1>Welcome to the hotel</h1>")
                .header("Content-Type", "text/html; charset=x")
        });
        let text = message(registry(&server, options()).top());
        assert!(text.contains("a web page") && !text.contains("hotel"), "{text}");
    }
}

#[test]
fn what_is_no_http_is_an_error() {
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(200 << 10));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(20_000));
    for bytes in [
        &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
        b"\0\xff\xfe\r\n\r\n",
        b"HTTP/1.1 999999 X\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        b"HTTP/1.1 2",
        b"",
        long.as_bytes(),
        many.as_bytes(),
    ] {
        let bytes = bytes.to_vec();
        let server = Server::new(move |_| Reply::raw(bytes.clone()));
        let text = message(registry(&server, options()).top());
        assert!(text.contains(&server.address().to_string()), "{text}");
        assert!(server.requests().len() <= 3);
    }
}
