//! DNS: some names are answered here, all others by the host's name servers, of which some may be slow or gone.

pub(crate) mod message;
pub(crate) mod resolver;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    io, mem,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use mio::{Registry, Token};

use super::{
    FIRST_TOKEN, ServicesConfig,
    datagrams::{Datagrams, MAX_AT_ONCE, MAX_DATAGRAM},
};
use message::{FORMAT_ERROR, MAX_QUERY, SERVER_FAILURE};
use resolver::Resolver;

/// Queries that wait for an answer at most; the oldest gives way.
const MAX_QUERIES: usize = 512;

/// Sockets towards one name server. Each query has one of its own, at a port that nobody can guess, until so many wait
/// at once that they share.
const SOCKETS_OF_SERVER: usize = 16;

/// Sockets at most: a change of the host's name servers may leave some to those it had before.
const MAX_SOCKETS: usize = 2 * SOCKETS_OF_SERVER * resolver::MAX_SERVERS;

/// When, after its beginning, a query that nobody answered goes to all servers.
const RETRIES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];

/// When it is given up.
const PATIENCE: Duration = Duration::from_secs(8);

/// Names of the gateway.
const OWN_NAMES: [&str; 2] = ["host.hv.internal", "gateway.hv.internal"];

/// Who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Client {
    pub(super) mac: [u8; 6],
    pub(super) address: SocketAddr,
    /// The address of ours that was asked.
    pub(super) server: IpAddr,
}

/// What a client is told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) client: Client,
    pub(super) message: Vec<u8>,
}

/// A socket towards a name server.
struct Upstream {
    server: SocketAddr,
    socket: Datagrams,
    /// Queries that were sent by it and wait.
    users: usize,
}

/// A name server as one query sees it.
struct Server {
    address: SocketAddr,
    /// The socket by which it was asked.
    socket: Option<usize>,
    /// It is gone, or said that it cannot tell.
    failed: bool,
}

/// A query that waits.
struct Query {
    client: Client,
    /// The client's identifier; `message` has ours.
    identifier: u16,
    message: Vec<u8>,
    /// In the order of asking.
    servers: Vec<Server>,
    /// An answer that tells nothing, should none be better.
    fallback: Option<Vec<u8>>,
    began: Instant,
    retries: usize,
}

impl Query {
    fn next(&self) -> Instant {
        self.began + RETRIES.get(self.retries).copied().unwrap_or(PATIENCE)
    }

    fn is_lost(&self) -> bool {
        self.servers.iter().all(|server| server.failed)
    }

    /// The client's answer if no better one comes.
    fn give_up(&mut self) -> Answer {
        let message = self.fallback.take().unwrap_or_else(|| message::failure(&self.message, SERVER_FAILURE));
        self.answer(message)
    }

    fn answer(&self, mut message: Vec<u8>) -> Answer {
        message::set_identifier(&mut message, self.identifier);
        Answer { client: self.client, message }
    }
}

/// Passes queries on.
pub(super) struct Forwarder {
    names: Vec<(Vec<u8>, Vec<IpAddr>)>,
    resolver: Resolver,
    /// The server that answered last.
    preferred: Option<SocketAddr>,
    /// In the order of their beginnings.
    queries: VecDeque<Query>,
    /// Each is at the place that its token says.
    sockets: Vec<Option<Upstream>>,
}

impl Forwarder {
    pub(super) fn new(config: &ServicesConfig) -> Self {
        let gateway = vec![config.gateway_ipv4.into(), config.gateway_ipv6.into()];
        let own = OWN_NAMES.map(|name| (name.to_owned(), gateway.clone()));
        let names = own.iter().chain(&config.names);
        let names = names.filter_map(|(name, addresses)| Some((message::encode(name)?, addresses.clone())));
        Self {
            names: names.collect(),
            resolver: Resolver::new(config.resolver_config.clone()),
            preferred: None,
            queries: VecDeque::new(),
            sockets: Vec::new(),
        }
    }

    pub(super) fn clear(&mut self) {
        self.queries = VecDeque::new();
        self.sockets = Vec::new();
    }

    /// The name server that is asked first.
    pub(super) fn resolver(&mut self) -> Option<SocketAddr> {
        self.servers().first().copied()
    }

    /// The host's name servers in the order of asking.
    fn servers(&mut self) -> Vec<SocketAddr> {
        let mut servers = self.resolver.servers().to_vec();
        if let Some(at) = servers.iter().position(|server| Some(*server) == self.preferred) {
            servers[..=at].rotate_right(1);
        }
        servers
    }

    /// Takes a query; its answer if there is one at once. What is no query is dropped.
    pub(super) fn query(
        &mut self,
        client: Client,
        bytes: &[u8],
        now: Instant,
        registry: Option<&Registry>,
    ) -> Option<Answer> {
        if !message::is_query(bytes) {
            return None;
        }
        let at_once = |message| Some(Answer { client, message });
        let Some(question) = message::question(bytes).filter(|_| bytes.len() <= MAX_QUERY) else {
            return at_once(message::failure(bytes, FORMAT_ERROR));
        };
        if let Some((_, addresses)) = self.names.iter().find(|(name, _)| question.is_of(name)) {
            return at_once(message::answer(bytes, &question, addresses));
        }
        let identifier = message::identifier(bytes);
        let is_known = |query: &Query| {
            query.client == client
                && query.identifier == identifier
                && message::question(&query.message).is_some_and(|other| other.is_same(&question))
        };
        if self.queries.iter().any(is_known) {
            // The client is impatient; the answer to its first try is on its way.
            return None;
        }
        let servers = self.servers();
        let (Some(registry), false, Some(ours)) = (registry, servers.is_empty(), self.fresh_identifier())
        else {
            return at_once(message::failure(bytes, SERVER_FAILURE));
        };
        if self.queries.len() >= MAX_QUERIES
            && let Some(oldest) = self.queries.pop_front()
        {
            self.release(&oldest);
        }
        let mut message = bytes.to_vec();
        message::set_identifier(&mut message, ours);
        let servers = servers.into_iter().map(|address| Server { address, socket: None, failed: false });
        let mut query = Query {
            client,
            identifier,
            message,
            servers: servers.collect(),
            fallback: None,
            began: now,
            retries: 0,
        };
        self.ask(&mut query, 1, registry);
        self.settle(query, registry)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.queries.iter().map(Query::next).min()
    }

    /// Asks again, or gives up, what has waited long enough.
    pub(super) fn tick(&mut self, now: Instant, registry: Option<&Registry>) -> Vec<Answer> {
        let mut answers = Vec::new();
        for mut query in mem::take(&mut self.queries) {
            if query.next() > now {
                self.queries.push_back(query);
                continue;
            }
            let patient = query.retries < RETRIES.len();
            query.retries += 1;
            if let (true, Some(registry)) = (patient, registry) {
                let unasked = query.servers.iter().any(|server| server.socket.is_none() && !server.failed);
                if query.retries > 1 || !unasked {
                    self.ask(&mut query, usize::MAX, registry);
                } else {
                    self.ask_others(&mut query, registry);
                }
            }
            if !patient || query.is_lost() {
                self.release(&query);
                answers.push(query.give_up());
            } else {
                self.queries.push_back(query);
            }
        }
        answers
    }

    /// The socket at `index` became ready: answers came, or word that a server is gone.
    pub(super) fn wake(&mut self, index: usize, registry: &Registry) -> Vec<Answer> {
        let mut answers = Vec::new();
        let mut buffer = vec![0; MAX_DATAGRAM];
        for _ in 0..MAX_AT_ONCE {
            let Some(Some(upstream)) = self.sockets.get(index) else { return answers };
            match upstream.socket.receive(&mut buffer) {
                None => return answers,
                Some(Ok(bytes)) => answers.extend(self.received(index, bytes, registry)),
                Some(Err(_)) => answers.extend(self.lost(index, registry)),
            }
        }
        if let Some(Some(upstream)) = self.sockets.get_mut(index) {
            upstream.socket.rearm(registry);
        }
        answers
    }

    /// A message came by the socket at `index`. What answers no query that was sent there is dropped.
    fn received(&mut self, index: usize, bytes: &[u8], registry: &Registry) -> Option<Answer> {
        let asked = |query: &Query| query.servers.iter().any(|server| server.socket == Some(index));
        let at = self
            .queries
            .iter()
            .position(|query| asked(query) && message::is_answer(bytes, &query.message))?;
        let mut query = self.queries.remove(at)?;
        let server = query.servers.iter_mut().find(|server| server.socket == Some(index))?;
        if message::tells_nothing(bytes) {
            server.failed = true;
            query.fallback = Some(bytes.to_vec());
            if !query.is_lost() {
                self.ask_others(&mut query, registry);
            }
            return self.settle(query, registry);
        }
        self.preferred = Some(server.address);
        self.release(&query);
        Some(query.answer(bytes.to_vec()))
    }

    /// Nobody is there at the other end of the socket at `index`.
    fn lost(&mut self, index: usize, registry: &Registry) -> Vec<Answer> {
        let mut answers = Vec::new();
        for mut query in mem::take(&mut self.queries) {
            let servers = query.servers.iter_mut();
            let gone = servers.filter(|server| server.socket == Some(index) && !server.failed);
            let gone = gone.map(|server| server.failed = true).count();
            if gone > 0 {
                self.ask_others(&mut query, registry);
            }
            answers.extend(self.settle(query, registry));
        }
        answers
    }

    /// Keeps a query that somebody may still answer; answers any other.
    fn settle(&mut self, mut query: Query, registry: &Registry) -> Option<Answer> {
        // Whom it could not even be sent to is not waited for.
        while query.servers.iter().all(|server| server.failed || server.socket.is_none()) && !query.is_lost()
        {
            self.ask_others(&mut query, registry);
        }
        if query.is_lost() {
            self.release(&query);
            return Some(query.give_up());
        }
        let at = self.queries.partition_point(|other| other.began <= query.began);
        self.queries.insert(at, query);
        None
    }

    /// Sends a query to all servers that have not got it.
    fn ask_others(&mut self, query: &mut Query, registry: &Registry) {
        for server in query.servers.iter_mut().filter(|server| server.socket.is_none() && !server.failed) {
            self.send(server, &query.message, registry);
        }
    }

    /// Sends a query to the first `most` servers that may answer.
    fn ask(&mut self, query: &mut Query, most: usize, registry: &Registry) {
        for server in query.servers.iter_mut().filter(|server| !server.failed).take(most) {
            self.send(server, &query.message, registry);
        }
    }

    fn send(&mut self, server: &mut Server, message: &[u8], registry: &Registry) {
        if server.socket.is_none() {
            server.socket = self.socket(server.address, registry).ok();
        }
        let upstream = server.socket.and_then(|index| self.sockets.get(index)?.as_ref());
        server.failed = upstream.is_none_or(|upstream| upstream.socket.send(message).is_err());
    }

    /// A socket towards `server`, and one more user of it: a new one, or one of those that are there if these are many.
    fn socket(&mut self, server: SocketAddr, registry: &Registry) -> io::Result<usize> {
        let of_server = |upstream: &Option<Upstream>| {
            upstream.as_ref().filter(|upstream| upstream.server == server).map(|upstream| upstream.users)
        };
        let users = self.sockets.iter().enumerate();
        let users: Vec<_> =
            users.filter_map(|(index, upstream)| Some((of_server(upstream)?, index))).collect();
        let opened = if users.len() < SOCKETS_OF_SERVER {
            self.open(server, registry)
        } else {
            Err(io::ErrorKind::Other.into())
        };
        let index = match (opened, users.iter().min()) {
            (Ok(index), _) => index,
            (Err(_), Some(&(_, index))) => index,
            (Err(error), None) => return Err(error),
        };
        if let Some(Some(upstream)) = self.sockets.get_mut(index) {
            upstream.users += 1;
        }
        Ok(index)
    }

    fn open(&mut self, server: SocketAddr, registry: &Registry) -> io::Result<usize> {
        let free = self.sockets.iter().position(Option::is_none).unwrap_or(self.sockets.len());
        if free >= MAX_SOCKETS {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let socket = Datagrams::udp(registry, Token(FIRST_TOKEN + free), server)?;
        if free == self.sockets.len() {
            self.sockets.push(None);
        }
        self.sockets[free] = Some(Upstream { server, socket, users: 0 });
        Ok(free)
    }

    /// A query needs its sockets no more; those that no other needs are closed.
    fn release(&mut self, query: &Query) {
        for index in query.servers.iter().filter_map(|server| server.socket) {
            let Some(place) = self.sockets.get_mut(index) else { continue };
            let Some(upstream) = place else { continue };
            upstream.users = upstream.users.saturating_sub(1);
            if upstream.users == 0 {
                *place = None;
            }
        }
    }

    /// An identifier that nobody can guess and no query that waits has.
    fn fresh_identifier(&self) -> Option<u16> {
        // A few tries find one, as at most one in 128 is taken.
        (0..16).find_map(|_| {
            let mut bytes = [0; 2];
            getrandom::fill(&mut bytes).ok()?;
            let identifier = u16::from_le_bytes(bytes);
            let taken = self.queries.iter().any(|query| message::identifier(&query.message) == identifier);
            (!taken).then_some(identifier)
        })
    }
}
