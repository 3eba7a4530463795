//! DNS messages of guests and of the host's name servers, and the list of these.

use hv_net::fuzzing::{dns_answers, is_dns_answer, name_servers};

use crate::Input;

/// The most servers that are asked.
const MAX_SERVERS: usize = 4;

/// A query and a message that may answer it, or a `resolv.conf`.
///
/// What answers a query has its identifier and asks the same; what is answered here answers; servers are few, and each
/// is listed once.
///
/// # Panics
/// One of these is not so.
pub fn net_dns(data: &[u8]) {
    let mut input = Input::new(data);
    if input.flag() {
        let servers = name_servers(input.bytes(data.len()));
        assert!(servers.len() <= MAX_SERVERS);
        for (index, server) in servers.iter().enumerate() {
            assert!(server.port() == 53 && !servers[..index].contains(server), "{servers:?}");
        }
        return;
    }
    let len = input.u16().into();
    let query = input.bytes(len);
    let message = input.bytes(data.len());
    if is_dns_answer(message, query) {
        assert_eq!(message[..2], query[..2]);
        assert!(message.len() >= 12 && message[2] & 0x80 != 0);
        let failed = message[3] & 0xf != 0 && message[4..6] == [0, 0];
        assert!(failed || message[4..6] == [0, 1]);
    }
    if let Some(answers) = dns_answers(query) {
        for answer in answers {
            assert!(is_dns_answer(&answer, query), "{answer:?}");
            assert!(!is_dns_answer(query, query), "a query answers");
            let mut other = answer.clone();
            other[1] ^= 1;
            assert!(!is_dns_answer(&other, query), "of another query");
        }
    }
}
