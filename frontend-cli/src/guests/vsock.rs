//! Connections to a guest's vsock ports through the socket in its folder: `CONNECT port`, `OK port`, then bytes.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use anyhow::{Context, bail};

/// The longest answer: `OK ` and a 32-bit number, with some room.
const ANSWER_LIMIT: usize = 64;
/// A process that does not answer for so long is stopped or broken.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connects to `port` of the guest whose vsock socket is at `path`.
///
/// # Errors
/// The guest has no vsock device, or nobody in it listens on the port.
pub(crate) fn connect(path: &Path, port: u32) -> anyhow::Result<UnixStream> {
    let mut stream = UnixStream::connect(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => anyhow::anyhow!("the guest has no vsock device: run it from an image"),
        _ => anyhow::Error::new(error).context("the guest's vsock socket cannot be reached"),
    })?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    writeln!(stream, "CONNECT {port}").context("the guest's vsock socket closed")?;
    let answer = answer(&mut stream).map_err(|error| match error.kind() {
        // Hosts differ in what they call a time that is over.
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => anyhow::anyhow!(
            "the guest's process does not answer for {} seconds: it is stopped, or broken; let it go on (SIGCONT), or \
             end it with `hv kill`",
            PATIENCE.as_secs()
        ),
        _ => anyhow::Error::new(error).context("the guest's vsock socket does not answer"),
    })?;
    if !answer.starts_with(b"OK ") {
        bail!("nothing in the guest listens on vsock port {port} (yet); see `hv logs`");
    }
    stream.set_read_timeout(None)?;
    stream.set_write_timeout(None)?;
    Ok(stream)
}

/// Reads one line, byte by byte: what follows it is another's to read. Empty if the socket closes before its end.
fn answer(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < ANSWER_LIMIT {
        match stream.read(&mut byte) {
            Ok(0) => return Ok(Vec::new()),
            Ok(_) if byte == *b"\n" => return Ok(line),
            Ok(_) => line.push(byte[0]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixListener, thread};

    use super::*;

    /// Connects to a server that reads one line and answers with these bytes; what the server read, too.
    fn connect_to(answer: &'static [u8]) -> (anyhow::Result<UnixStream>, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vsock.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let asked = super::answer(&mut stream).unwrap();
            stream.write_all(answer).unwrap();
            asked
        });
        let stream = connect(&path, 1024);
        (stream, server.join().unwrap())
    }

    #[test]
    fn bytes_after_the_answer_are_the_port_s() {
        let (stream, asked) = connect_to(b"OK 1073741824\nhello");
        assert_eq!(asked, b"CONNECT 1024");
        let mut bytes = Vec::new();
        stream.unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"hello");
    }

    #[test]
    fn a_port_without_a_listener_is_told() {
        for answer in [&b""[..], b"OK", b"NO\n", &[b'x'; 1000]] {
            let line = connect_to(answer).0.unwrap_err().to_string();
            assert!(line.contains("port 1024"), "{line}");
        }
        let line = connect(Path::new("/nonexistent/vsock.sock"), 1).unwrap_err().to_string();
        assert!(line.contains("no vsock device"), "{line}");
    }
}
