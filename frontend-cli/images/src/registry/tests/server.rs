//! A small HTTP server whose answers a test writes.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::data;

/// What a client sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Request {
    /// Method and target.
    pub(super) line: String,
    headers: BTreeMap<String, String>,
    pub(super) body: String,
}

impl Request {
    /// A header, by its name in small letters.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Where the range begins that is asked for.
    pub(super) fn offset(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// What comes behind the bytes of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// The next request.
    Next,
    /// The end of the connection.
    Close,
    /// Nothing, until the client closes.
    Silence,
    /// The same bytes again, until the client closes.
    Again,
    /// The rest of the body, byte by byte, with a pause before each.
    Trickle(Duration),
}

/// What a server sends.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    head: String,
    body: Vec<u8>,
    ending: Ending,
    /// What comes slowly.
    rest: Vec<u8>,
}

impl Reply {
    pub(super) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self { head: format!("HTTP/1.1 {status} X\r\n"), body, ending: Ending::Next, rest: Vec::new() }
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.head += &format!("{name}: {value}\r\n");
        self
    }

    /// These bytes and no others, then the end of the connection.
    pub(super) fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { head: String::new(), body: bytes.into(), ending: Ending::Close, rest: Vec::new() }
    }

    /// The bytes of `content` that are asked for: 206 for a range.
    pub(super) fn range(request: &Request, content: &[u8]) -> Self {
        match request.offset() {
            None => Self::new(200, content),
            Some(offset) => {
                let range = format!("bytes {offset}-{}/{}", content.len() - 1, content.len());
                Self::new(206, &content[offset..]).header("Content-Range", &range)
            }
        }
    }

    fn cut(mut self, length: usize, ending: Ending) -> Self {
        self = self.with_length();
        let rest = self.body.split_off(length.min(self.body.len()));
        Self { ending, rest, ..self }
    }

    /// Breaks off after so many bytes of the body.
    pub(super) fn broken(self, length: usize) -> Self {
        self.cut(length, Ending::Close)
    }

    /// Falls silent after so many bytes of the body.
    pub(super) fn silent(self, length: usize) -> Self {
        self.cut(length, Ending::Silence)
    }

    /// Sends what comes after so many bytes of the body one by one.
    pub(super) fn trickling(self, length: usize, pause: Duration) -> Self {
        self.cut(length, Ending::Trickle(pause))
    }

    /// Sends the body as chunks, once.
    pub(super) fn chunked(mut self) -> Self {
        self = self.header("Transfer-Encoding", "chunked");
        let mut body = format!("{:x}\r\n", self.body.len()).into_bytes();
        body.extend_from_slice(&self.body);
        body.extend_from_slice(b"\r\n0\r\n\r\n");
        Self { body, ..self }
    }

    /// Sends the body as a chunk, again and again.
    pub(super) fn endless(mut self) -> Self {
        self = self.chunked();
        self.body.truncate(self.body.len() - 5);
        Self { ending: Ending::Again, ..self }
    }

    fn with_length(self) -> Self {
        let head = self.head.to_ascii_lowercase();
        if self.head.is_empty() || head.contains("content-length") || head.contains("transfer-encoding") {
            return self;
        }
        let length = self.body.len().to_string();
        self.header("Content-Length", &length)
    }
}

type Script = dyn Fn(&Request) -> Reply + Send + Sync;

/// A server on a port of loopback's.
pub(super) struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    over: Arc<AtomicBool>,
}

impl Server {
    /// Answers each request, but those for `/v2/` itself, as `script` says.
    pub(super) fn new(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(None, Arc::new(script))
    }

    /// The same by TLS, with the certificate of that name.
    pub(super) fn tls(certificate: &str, script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let chain = CertificateDer::pem_file_iter(data(&format!("{certificate}.pem"))).unwrap();
        let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_file(data(&format!("{certificate}.key"))).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls_graviola::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        Self::start(Some(Arc::new(config)), Arc::new(script))
    }

    fn start(tls: Option<Arc<ServerConfig>>, script: Arc<Script>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let over = Arc::new(AtomicBool::new(false));
        let server = Self { address, requests: requests.clone(), over: over.clone() };
        thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let (tls, script, requests) = (tls.clone(), script.clone(), requests.clone());
                // What fails here, the client sees.
                thread::spawn(move || match tls {
                    None => serve(stream?, &*script, &requests),
                    Some(tls) => {
                        let connection = ServerConnection::new(tls).map_err(io::Error::other)?;
                        serve(StreamOwned::new(connection, stream?), &*script, &requests)
                    }
                });
            }
        });
        server
    }

    /// Address and port.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was asked so far.
    pub(super) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Their methods and targets.
    pub(super) fn lines(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.line).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        TcpStream::connect(self.address).ok();
    }
}

fn serve(stream: impl Read + Write, script: &Script, requests: &Mutex<Vec<Request>>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let request = receive(&mut stream)?;
        let reply = if request.line == "GET /v2/" {
            Reply::new(200, "{}")
        } else {
            requests.lock().unwrap().push(request.clone());
            script(&request)
        };
        let reply = reply.with_length();
        let out = stream.get_mut();
        if !reply.head.is_empty() {
            out.write_all(reply.head.as_bytes())?;
            out.write_all(b"\r\n")?;
        }
        out.write_all(&reply.body)?;
        out.flush()?;
        match reply.ending {
            Ending::Next => {}
            Ending::Close => return Ok(()),
            Ending::Silence => return io::copy(&mut stream, &mut io::sink()).map(drop),
            Ending::Trickle(pause) => {
                for byte in &reply.rest {
                    thread::sleep(pause);
                    let out = stream.get_mut();
                    out.write_all(&[*byte])?;
                    out.flush()?;
                }
            }
            Ending::Again => loop {
                stream.get_mut().write_all(&reply.body)?;
            },
        }
    }
}

fn receive(stream: &mut impl BufRead) -> io::Result<Request> {
    let mut line = || {
        let mut line = String::new();
        match stream.read_line(&mut line)? {
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            _ => Ok(line.trim_end().to_owned()),
        }
    };
    let mut request =
        Request { line: line()?.trim_end_matches(" HTTP/1.1").to_owned(), ..Request::default() };
    loop {
        let header = line()?;
        let Some((name, value)) = header.split_once(": ") else { break };
        request.headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    request.body = String::from_utf8(body).unwrap();
    Ok(request)
}
