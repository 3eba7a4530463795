//! A client against servers on loopback: scripted ones that err and lie, and a real registry.

mod authentication;
mod lies;
mod pulls;
mod real;
mod resuming;
mod server;
mod tls;

use std::{io::Read, path::PathBuf, time::Duration};

use self::server::{Reply, Request, Server};
use super::*;

/// Options under which a failing test ends soon.
fn options() -> Options {
    Options {
        connect: Duration::from_secs(20),
        answer: Duration::from_secs(20),
        stall: Duration::from_secs(20),
        tries: 3,
        pause: Duration::from_millis(1),
        longest_pause: Duration::from_secs(2),
        ..Options::default()
    }
}

/// The client for `server/team/app:1`.
fn registry(server: &Server, options: Options) -> Registry {
    let reference = format!("{}/team/app:1", server.address());
    Registry::new(&reference.parse().unwrap(), options).unwrap()
}

fn descriptor(content: &[u8]) -> Descriptor {
    Descriptor::of("application/octet-stream", content)
}

/// A blob that is larger than any buffer on the way.
fn content() -> Vec<u8> {
    (0..600_000_u32).map(|number| number.wrapping_mul(0x9e37_79b9).to_be_bytes()[0]).collect()
}

/// All of a blob from `offset` on.
fn read(registry: &mut Registry, content: &[u8], offset: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    registry.blob(&descriptor(content), offset)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The message of an error: one line, of bounded length.
fn message<T>(result: Result<T>) -> String {
    let Err(error) = result else { panic!("no error") };
    let message = format!("{error:#}");
    assert!(!message.contains('\n') && message.len() < 1500, "{message}");
    message
}

/// A file of `tests/data/tls`.
fn data(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tls")).join(name)
}
