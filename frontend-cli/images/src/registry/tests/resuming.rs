//! Blobs that break off or stall.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use super::*;

/// A server whose answers to the first requests are `first`, made of what an honest one would say.
fn spoilt(first: usize, spoil: impl Fn(Reply, usize) -> Reply + Send + Sync + 'static) -> Server {
    let count = AtomicUsize::new(0);
    Server::new(move |request| {
        let reply = Reply::range(request, &content());
        match count.fetch_add(1, Ordering::SeqCst) {
            number if number < first => spoil(reply, number),
            _ => reply,
        }
    })
}

#[test]
fn a_blob_goes_on_where_it_broke_off() {
    let server = spoilt(2, |reply, number| reply.broken(100_000 + number));
    let mut registry = registry(&server, options());
    assert!(read(&mut registry, &content(), 0).unwrap() == content());
    let offsets: Vec<_> = server.requests().iter().map(Request::offset).collect();
    assert_eq!(offsets, [None, Some(100_000), Some(200_001)]);
}

#[test]
fn a_server_that_knows_no_ranges_is_read_from_the_start() {
    let count = AtomicUsize::new(0);
    let server = Server::new(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::new(200, content()).broken(250_000),
        1 => Reply::new(200, content()).broken(100_000),
        _ => Reply::new(200, content()),
    });
    let mut registry = registry(&server, options());
    assert!(read(&mut registry, &content(), 0).unwrap() == content());
    assert_eq!(
        server.requests().iter().map(Request::offset).collect::<Vec<_>>(),
        [None, Some(250_000), Some(250_000)]
    );
    assert!(read(&mut registry, &content(), 599_999).unwrap() == content()[599_999..]);
}

#[test]
fn breaking_off_without_progress_ends() {
    let server = spoilt(usize::MAX, |reply, _| reply.broken(1));
    let mut registry = registry(&server, options());
    let descriptor = descriptor(&content());
    let mut blob = registry.blob(&descriptor, 0).unwrap();
    let mut read = || message(blob.read_to_end(&mut Vec::new()).map_err(anyhow::Error::from));
    let text = read();
    assert_eq!(read(), text, "and it stays so");
    assert!(text.contains("after 3 bytes of 600000") || text.contains("broke the connection off"), "{text}");
    assert!(text.contains("tried 3 times"), "{text}");
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn with_progress_breaking_off_is_forgiven() {
    let content: Vec<u8> = content().repeat(10);
    let whole = content.clone();
    let server = Server::new(move |request| Reply::range(request, &whole).broken(1_100_000));
    let mut registry = registry(&server, Options { tries: 2, ..options() });
    assert!(read(&mut registry, &content, 0).unwrap() == content);
    assert_eq!(server.requests().len(), 6);
}

#[test]
fn a_stall_is_noticed_and_got_over() {
    let stall = Duration::from_millis(300);
    let server = spoilt(1, |reply, _| reply.silent(5000));
    let mut patient = registry(&server, Options { stall, ..options() });
    assert!(read(&mut patient, &content(), 0).unwrap() == content());
    assert_eq!(server.requests()[1].offset(), Some(5000));

    let server = spoilt(usize::MAX, |reply, _| reply.silent(0));
    let text = message(read(&mut registry(&server, Options { stall, ..options() }), &content(), 0));
    assert!(text.contains(&format!("{} sent nothing for 0.3 s (tried 3 times)", server.address())), "{text}");
}

#[test]
fn a_server_that_trickles_is_cut_off_and_gone_on_with() {
    let slow = Options { floor: 100, window: Duration::from_millis(200), ..options() };
    let pause = Duration::from_millis(20);
    let server = spoilt(1, move |reply, _| reply.trickling(5000, pause));
    assert!(read(&mut registry(&server, slow.clone()), &content(), 0).unwrap() == content());
    let offset = server.requests()[1].offset().unwrap();
    assert!((5000..content().len()).contains(&offset), "it goes on from {offset}");

    let server = spoilt(usize::MAX, move |reply, _| reply.trickling(0, pause));
    let text = message(read(&mut registry(&server, slow), &content(), 0));
    assert!(text.contains("is too slow: ") && text.contains("bytes in 0.2 s (tried 3 times)"), "{text}");
}

#[test]
fn a_reader_that_takes_its_time_is_not_the_servers_fault() {
    // Only what is waited for counts, and that is next to nothing here.
    let window = Duration::from_millis(500);
    let server = Server::new(|request| Reply::range(request, &content()));
    let options = Options { floor: u64::MAX, window, ..options() };
    let mut registry = registry(&server, options);
    let descriptor = descriptor(&content());
    let mut blob = registry.blob(&descriptor, 0).unwrap();
    blob.read_exact(&mut [0; 1000]).unwrap();
    std::thread::sleep(2 * window);
    let mut rest = Vec::new();
    blob.read_to_end(&mut rest).unwrap();
    assert!(rest == content()[1000..]);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_server_that_does_not_answer_is_left_alone() {
    let server = Server::new(|_| Reply::raw("HTTP/1.1 200 OK\r\n").silent(17));
    let options = Options { answer: Duration::from_millis(300), ..options() };
    let text = message(registry(&server, options).top());
    assert!(text.contains("did not answer within 0.3 s"), "{text}");
}

#[test]
fn trouble_on_the_way_is_got_over() {
    let count = AtomicUsize::new(0);
    let server = Server::new(move |request| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::range(request, &content()).broken(10),
        1 => Reply::new(502, "bad gateway"),
        2 => Reply::new(429, "").header("Retry-After", "0"),
        _ => Reply::range(request, &content()),
    });
    let options = Options { tries: 4, ..options() };
    assert!(read(&mut registry(&server, options), &content(), 0).unwrap() == content());
}
