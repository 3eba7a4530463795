//! `EchoServer`: sends back what it gets, on this host's loopback.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use anyhow::Result;

/// Enough for a thread that has one buffer.
const STACK_SIZE: usize = 128 << 10;

/// A server for many connections at once.
pub(super) struct EchoServer {
    port: u16,
    connections: Arc<Mutex<Vec<TcpStream>>>,
}

impl EchoServer {
    pub(super) fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let connections = Arc::default();
        let ours = Arc::clone(&connections);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let _ = stream.set_nodelay(true);
                if let Ok(own) = stream.try_clone() {
                    lock(&ours).push(own);
                }
                // A client that gets no thread is reset.
                let _ = thread::Builder::new().stack_size(STACK_SIZE).spawn(move || echo(stream));
            }
        });
        Ok(Self { port, connections })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Ends all connections.
    pub(super) fn end_all(&self) {
        for stream in lock(&self.connections).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn lock(connections: &Mutex<Vec<TcpStream>>) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
    connections.lock().unwrap_or_else(PoisonError::into_inner)
}

fn echo(mut stream: TcpStream) {
    let mut buffer = vec![0; 32 << 10];
    while let Ok(len @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..len]).is_err() {
            return;
        }
    }
}

/// A port of the loopback that nobody has.
pub(super) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
