//! The guest's end of the network's benchmark, against a server that sends back what it gets. Static, so that it runs in any guest.
//!
//! `ping ADDRESS ROUNDS` measures round trips of one byte over one connection; `hold ADDRESS COUNT BYTES` opens connections, sends
//! bytes over each and waits for them, and holds all until the server ends the last.

use std::{
    env,
    error::Error,
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

/// What takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["ping", address, rounds] => ping(address, rounds.parse()?),
        ["hold", address, count, bytes] => hold(address, count.parse()?, bytes.parse()?),
        _ => Err("usage: ping ADDRESS ROUNDS, or hold ADDRESS COUNT BYTES".into()),
    }
}

fn connect(address: &str) -> Result<TcpStream, Box<dyn Error>> {
    let stream = TcpStream::connect_timeout(&address.parse()?, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Says the median, the mean and the slowest of a hundred, in microseconds.
fn ping(address: &str, rounds: usize) -> Result<(), Box<dyn Error>> {
    let mut stream = connect(address)?;
    let mut round = || -> Result<Duration, Box<dyn Error>> {
        let start = Instant::now();
        stream.write_all(b"?")?;
        stream.read_exact(&mut [0])?;
        Ok(start.elapsed())
    };
    for _ in 0..rounds / 10 {
        round()?;
    }
    let mut times = (0..rounds).map(|_| round()).collect::<Result<Vec<_>, _>>()?;
    times.sort();
    let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default().as_micros();
    let mean = times.iter().sum::<Duration>() / u32::try_from(times.len().max(1))?;
    println!("ping {} {} {}", at(50), mean.as_micros(), at(99));
    Ok(())
}

fn hold(address: &str, count: usize, bytes: usize) -> Result<(), Box<dyn Error>> {
    let sent = vec![b'!'; bytes];
    let mut received = vec![0; bytes];
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut stream = connect(address)?;
        stream.write_all(&sent)?;
        stream.read_exact(&mut received)?;
        streams.push(stream);
    }
    println!("held {count}");
    if let Some(last) = streams.last_mut() {
        last.set_read_timeout(None)?;
        last.read_exact(&mut [0]).map_or(Ok(()), |()| Err("the server said more than it was told"))?;
    }
    Ok(())
}
