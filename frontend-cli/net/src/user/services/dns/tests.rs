//! The forwarder against name servers on this host; time is what the test says.

use std::{
    fs,
    net::{Ipv4Addr, UdpSocket},
};

use mio::{Events, Poll};

use super::*;
use crate::fuzzing;

/// How long a datagram on this host may take until a test fails.
const LONG: Duration = Duration::from_secs(20);

/// A query for an A record, with identifier 0x1234 and recursion desired.
fn query(name: &str) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message.extend(message::encode(name).unwrap());
    message.extend([0, 1, 0, 1]);
    message
}

fn client(port: u16) -> Client {
    let dns = Ipv4Addr::new(10, 0, 2, 3).into();
    Client { mac: [2, 0, 0, 0, 0, 1], address: ([10, 0, 2, 15], port).into(), server: dns }
}

/// A name server that a test plays.
struct Server(UdpSocket);

impl Server {
    fn new() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(LONG)).unwrap();
        Self(socket)
    }

    fn receive(&self) -> (Vec<u8>, SocketAddr) {
        let mut buffer = [0; 512];
        let (len, from) = self.0.recv_from(&mut buffer).unwrap();
        (buffer[..len].to_vec(), from)
    }

    fn heard_nothing(&self) -> bool {
        self.0.set_nonblocking(true).unwrap();
        let heard = self.0.recv_from(&mut [0; 512]);
        self.0.set_nonblocking(false).unwrap();
        heard.is_err()
    }

    /// Answers a query with `code` and `mark` at its end.
    fn answer(&self, (query, from): &(Vec<u8>, SocketAddr), code: u8, mark: u8) {
        let mut message = query.clone();
        (message[2], message[3]) = (0x81, 0x80 | code);
        message.push(mark);
        self.0.send_to(&message, from).unwrap();
    }
}

struct Rig {
    forwarder: Forwarder,
    poll: Poll,
    began: Instant,
}

impl Rig {
    fn new(servers: &[&Server]) -> Self {
        let mut forwarder = Forwarder::new(&fuzzing::config());
        forwarder.resolver.set(servers.iter().map(|server| server.0.local_addr().unwrap()).collect());
        Self { forwarder, poll: Poll::new().unwrap(), began: Instant::now() }
    }

    fn query(&mut self, port: u16, message: &[u8]) -> Option<Answer> {
        self.forwarder.query(client(port), message, self.began, Some(self.poll.registry()))
    }

    fn tick(&mut self, seconds: u64) -> Vec<Answer> {
        let now = self.began + Duration::from_secs(seconds);
        self.forwarder.tick(now, Some(self.poll.registry()))
    }

    /// Waits until a socket is ready; what came of it.
    fn wake(&mut self) -> Vec<Answer> {
        let mut events = Events::with_capacity(16);
        self.poll.poll(&mut events, Some(LONG)).unwrap();
        assert!(!events.is_empty(), "nothing came");
        let indexes = events.iter().map(|event| event.token().0 - FIRST_TOKEN);
        indexes.flat_map(|index| self.forwarder.wake(index, self.poll.registry())).collect()
    }

    fn open_sockets(&self) -> usize {
        self.forwarder.sockets.iter().flatten().count()
    }
}

/// Checks that `answers` is one, to `port`, with its identifier and question; what it says and its mark.
fn only(answers: &[Answer], port: u16) -> (u8, u8) {
    let [answer] = answers else { panic!("{answers:?}") };
    assert_eq!(answer.client, client(port));
    assert_eq!(answer.message[..2], [0x12, 0x34]);
    (answer.message[3] & 0xf, *answer.message.last().unwrap())
}

#[test]
fn an_answer_goes_back_under_the_clients_identifier_and_the_socket_is_closed() {
    let server = Server::new();
    let mut rig = Rig::new(&[&server]);
    let mut with_edns = query("a.example");
    with_edns[11] = 1;
    with_edns.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    assert_eq!(rig.query(1000, &with_edns), None);
    let received = server.receive();
    assert_eq!(received.0[2..], with_edns[2..]);
    server.answer(&received, 0, 7);
    assert_eq!(only(&rig.wake(), 1000), (0, 7));
    assert_eq!((rig.open_sockets(), rig.forwarder.deadline()), (0, None));
}

#[test]
fn a_repeated_query_is_not_sent_again_but_another_clients_is_by_a_socket_of_its_own() {
    let server = Server::new();
    let mut rig = Rig::new(&[&server]);
    for port in [1000, 1000, 1001] {
        assert_eq!(rig.query(port, &query("a.example")), None);
    }
    let (one, two) = (server.receive(), server.receive());
    assert!(server.heard_nothing());
    assert_ne!(one.1, two.1);
    assert_ne!(one.0[..2], two.0[..2]);
}

#[test]
fn after_a_second_the_next_servers_are_asked_and_who_answers_is_asked_first_from_then_on() {
    let (stalled, alive) = (Server::new(), Server::new());
    let mut rig = Rig::new(&[&stalled, &alive]);
    rig.query(1000, &query("a.example"));
    stalled.receive();
    assert!(rig.tick(0).is_empty());
    assert!(alive.heard_nothing());
    assert!(rig.tick(1).is_empty());
    let received = alive.receive();
    assert!(stalled.heard_nothing());
    alive.answer(&received, 0, 9);
    assert_eq!(only(&rig.wake(), 1000), (0, 9));
    assert_eq!(rig.open_sockets(), 0);

    rig.query(1000, &query("b.example"));
    alive.receive();
    assert!(stalled.heard_nothing());
    assert_eq!(rig.forwarder.resolver(), alive.0.local_addr().ok());
}

#[test]
fn when_all_stall_the_query_fails_after_eight_seconds() {
    let server = Server::new();
    let mut rig = Rig::new(&[&server]);
    rig.query(1000, &query("a.example"));
    for seconds in [1, 3] {
        server.receive();
        assert!(rig.tick(seconds).is_empty());
    }
    server.receive();
    assert_eq!(rig.forwarder.deadline(), Some(rig.began + Duration::from_secs(8)));
    assert!(rig.tick(7).is_empty());
    assert_eq!(only(&rig.tick(8), 1000).0, SERVER_FAILURE);
    assert_eq!((rig.open_sockets(), rig.forwarder.deadline()), (0, None));
}

#[test]
fn answers_with_a_wrong_identifier_question_or_sender_are_dropped() {
    let server = Server::new();
    let mut rig = Rig::new(&[&server]);
    rig.query(1000, &query("a.example"));
    let (message, from) = server.receive();
    let mut other = message.clone();
    other[1] ^= 1;
    server.answer(&(other, from), 0, 1);
    let mut other = message.clone();
    other[13] ^= 1;
    server.answer(&(other, from), 0, 2);
    // A query is no answer.
    server.0.send_to(&message, from).unwrap();
    Server::new().answer(&(message.clone(), from), 0, 3);
    server.answer(&(message, from), 0, 4);
    let mut answers = rig.wake();
    while answers.is_empty() {
        answers = rig.wake();
    }
    assert_eq!(only(&answers, 1000), (0, 4));
}

#[test]
fn a_server_that_fails_is_not_waited_for_and_its_answer_counts_only_if_all_fail() {
    for last in [0, REFUSED] {
        let (first, second) = (Server::new(), Server::new());
        let mut rig = Rig::new(&[&first, &second]);
        rig.query(1000, &query("a.example"));
        first.answer(&first.receive(), SERVER_FAILURE, 1);
        assert!(rig.wake().is_empty());
        second.answer(&second.receive(), last, 2);
        assert_eq!(only(&rig.wake(), 1000), (last, 2));
    }
}

const REFUSED: u8 = 5;

#[test]
fn a_server_that_is_gone_is_found_out_at_once() {
    let (gone, alive) = (Server::new(), Server::new());
    let mut rig = Rig::new(&[&gone, &alive]);
    drop(gone);
    rig.query(1000, &query("a.example"));
    assert!(rig.wake().is_empty());
    alive.answer(&alive.receive(), 0, 5);
    assert_eq!(only(&rig.wake(), 1000), (0, 5));

    let gone = Server::new();
    let mut rig = Rig::new(&[&gone]);
    drop(gone);
    rig.query(1000, &query("a.example"));
    assert_eq!(only(&rig.wake(), 1000).0, SERVER_FAILURE);
}

#[test]
fn the_oldest_query_gives_way_and_sockets_are_shared_then() {
    let server = Server::new();
    let mut rig = Rig::new(&[&server]);
    for port in 0..600 {
        rig.began += Duration::from_millis(1);
        assert_eq!(rig.query(port, &query("a.example")), None);
    }
    assert_eq!(rig.forwarder.queries.len(), MAX_QUERIES);
    assert_eq!(rig.forwarder.queries[0].client.address.port(), 600 - 512);
    assert_eq!(rig.open_sockets(), SOCKETS_OF_SERVER);
    let users: usize = rig.forwarder.sockets.iter().flatten().map(|upstream| upstream.users).sum();
    assert_eq!(users, MAX_QUERIES);
    assert_eq!(rig.tick(60).len(), 0, "first they are asked for again");
    rig.tick(60);
    assert_eq!(rig.tick(60).len(), MAX_QUERIES);
    assert_eq!(rig.open_sockets(), 0);
}

#[test]
fn names_of_the_network_are_answered_here() {
    let mut rig = Rig::new(&[]);
    let a = rig.query(1, &query("Host.HV.internal")).unwrap().message;
    let mut expected = query("Host.HV.internal");
    (expected[2], expected[3], expected[7]) = (0x85, 0x80, 1);
    expected.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 2, 2]);
    assert_eq!(a, expected);

    let named = rig.query(1, &query("named.example")).unwrap().message;
    assert!(named.ends_with(&[0, 4, 192, 0, 2, 7]));

    let mut aaaa = query("gateway.hv.internal");
    let kind = aaaa.len() - 3;
    aaaa[kind] = 28;
    let answer = rig.query(1, &aaaa).unwrap().message;
    assert!(answer.ends_with(&[0, 16, 0xfd, 0, 0x68, 0x76, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]));
    aaaa[kind] = 16;
    let text = rig.query(1, &aaaa).unwrap().message;
    assert_eq!((text[3] & 0xf, text[7], text.len()), (0, 0, aaaa.len()));
}

#[test]
fn what_cannot_be_asked_fails_at_once() {
    let mut rig = Rig::new(&[]);
    assert_eq!(only(rig.query(1, &query("a.example")).as_slice(), 1).0, SERVER_FAILURE);
    assert_eq!(only(rig.query(1, &query("a.example")[..20]).as_slice(), 1).0, FORMAT_ERROR);
    let mut two = query("a.example");
    two[5] = 2;
    assert_eq!(only(rig.query(1, &two).as_slice(), 1).0, FORMAT_ERROR);
    let mut long = query("a.example");
    long.resize(MAX_QUERY + 1, 0);
    assert_eq!(only(rig.query(1, &long).as_slice(), 1).0, FORMAT_ERROR);
    assert_eq!(rig.query(1, &query("a.example")[..11]), None);
    let mut response = query("a.example");
    response[2] |= 0x80;
    assert_eq!(rig.query(1, &response), None);
}

#[test]
fn name_servers_are_read_as_the_system_reads_them() {
    let text = b"# comment\nsearch example\nnameserver 127.0.0.53 # local\n nameserver\t192.0.2.1\n\
        nameserver fe80::1%eth7\nnameserver fe80::2%3\nnameserver 127.0.0.53\nnameservers 1.1.1.1\nnameserver x\n";
    let servers = resolver::parse(text, |name| (name == "eth7").then_some(7));
    let text: Vec<_> = servers.iter().map(ToString::to_string).collect();
    assert_eq!(text, ["127.0.0.53:53", "192.0.2.1:53", "[fe80::1%7]:53", "[fe80::2%3]:53"]);
}

#[test]
fn a_changed_list_of_name_servers_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("resolv.conf");
    let mut resolver = Resolver::new(path.clone());
    assert!(resolver.servers().is_empty());
    fs::write(&path, "nameserver 192.0.2.1\n").unwrap();
    assert_eq!(resolver.servers(), [([192, 0, 2, 1], 53).into()]);
    let next = folder.path().join("next");
    fs::write(&next, "nameserver 192.0.2.2\n").unwrap();
    fs::rename(&next, &path).unwrap();
    assert_eq!(resolver.servers(), [([192, 0, 2, 2], 53).into()]);
    fs::remove_file(&path).unwrap();
    assert!(resolver.servers().is_empty());
}
