//! A blob as a stream that goes on where it broke off.

use std::{
    io::{self, Read},
    time::{Duration, Instant},
};

use ureq::{
    Body, BodyReader,
    http::{
        HeaderMap, Response, StatusCode,
        header::{CONTENT_LENGTH, CONTENT_RANGE},
    },
};

use super::{
    Options,
    client::{Client, Request},
    content_range::ContentRange,
    failure::Failure,
    transport::Patience,
};
use crate::Descriptor;

/// After so many bytes, failures are counted anew: a long download may break off more often than a short one.
const PROGRESS: u64 = 1 << 20;
/// What is thrown away at a time, where a server begins at the start.
const SKIP: usize = 16 << 10;

/// How fast a server is, as long as it is waited for: what is done with the bytes in between is not its fault.
#[derive(Debug, Default)]
struct Speed {
    waited: Duration,
    bytes: u64,
}

impl Speed {
    /// Counts what came while it was waited for so long. The bytes of a window that is over and had less than `floor`.
    fn count(&mut self, waited: Duration, bytes: usize, floor: u64, window: Duration) -> Option<u64> {
        self.waited += waited;
        self.bytes += bytes as u64;
        if self.waited < window {
            return None;
        }
        let Self { bytes, .. } = std::mem::take(self);
        (bytes < floor).then_some(bytes)
    }
}

/// The rest of a blob.
pub(crate) struct Blob<'a> {
    client: &'a mut Client,
    path: String,
    what: String,
    size: u64,
    /// The next byte that is handed out.
    offset: u64,
    body: Option<BodyReader<'static>>,
    /// Bytes of the body before those at `offset`.
    surplus: u64,
    /// Whether the end of the body is known to be that of the blob.
    delimited: bool,
    patience: Patience,
    speed: Speed,
    /// Where failures began to be counted.
    mark: u64,
    /// What ended it before its end; it stays so.
    failed: Option<String>,
}

impl<'a> Blob<'a> {
    /// The blob from `offset` on; the first answer is there when this returns.
    pub(crate) fn open(
        client: &'a mut Client,
        path: String,
        what: String,
        descriptor: &Descriptor,
        offset: u64,
    ) -> Result<Self, Failure> {
        let size = descriptor.size;
        if offset > size {
            return Err(Failure::lasting(format!("{what}: byte {offset} of a blob of {size}")));
        }
        let mut blob = Self {
            client,
            path,
            what,
            size,
            offset,
            body: None,
            surplus: 0,
            delimited: false,
            patience: Patience::default(),
            speed: Speed::default(),
            mark: offset,
            failed: None,
        };
        while blob.body.is_none() && blob.offset < size {
            if let Err(failure) = blob.request() {
                blob.patience.wait(failure, &blob.client.transport.options)?;
            }
        }
        Ok(blob)
    }

    /// Asks for the bytes from `offset` on.
    fn request(&mut self) -> Result<(), Failure> {
        let (path, what, offset) = (&self.path, &self.what, self.offset);
        let response = self.client.fetch(&Request { path, accept: "", offset, what })?;
        self.surplus = self.check(&response)?;
        self.delimited = response.headers().contains_key(CONTENT_LENGTH);
        self.body = Some(response.into_body().into_reader());
        self.speed = Speed::default();
        Ok(())
    }

    /// How many bytes of the answer come before those that were asked for.
    fn check(&self, response: &Response<Body>) -> Result<u64, Failure> {
        let (what, host, size) = (&self.what, self.client.host(), self.size);
        let headers = response.headers();
        let begin = if response.status() == StatusCode::PARTIAL_CONTENT {
            let range = text(headers, CONTENT_RANGE.as_str()).and_then(ContentRange::parse);
            let fits = |range: &ContentRange| {
                range.first == self.offset
                    && range.last < size
                    && range.total.is_none_or(|total| total == size)
            };
            let Some(range) = range.filter(fits) else {
                return Err(Failure::lasting(format!(
                    "{what}: {host} sent other bytes than those from {} on, of {size}",
                    self.offset
                )));
            };
            range.first
        } else {
            0
        };
        let length = text(headers, CONTENT_LENGTH.as_str()).and_then(|length| length.parse::<u64>().ok());
        match length {
            Some(length) if begin == 0 && length != size => Err(Failure::lasting(format!(
                "{what}: {host} has {length} bytes for it, but its manifest says {size}"
            ))),
            Some(length) if length > size - begin => Err(Failure::lasting(format!(
                "{what}: {host} sends {length} bytes from {begin} on, but it has {size} in all"
            ))),
            _ => Ok(self.offset - begin),
        }
    }

    /// Some bytes of the body, into `buffer`, or of those before them, into nothing.
    fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        let Some(body) = &mut self.body else {
            self.request()?;
            return Ok(0);
        };
        let mut scrap = [0; SKIP];
        let skipping = self.surplus > 0;
        let into = if skipping { &mut scrap[..] } else { buffer };
        let wanted = if skipping { self.surplus } else { self.size - self.offset };
        let room = into.len().min(usize::try_from(wanted).unwrap_or(usize::MAX));
        let into = into.get_mut(..room).unwrap_or_default();
        let host = self.client.host();
        let begin = Instant::now();
        let count = body.read(into).map_err(|error| self.client.transport.explain(error.into(), host))?;
        let Options { floor, window, .. } = self.client.transport.options;
        let too_slow = self.speed.count(begin.elapsed(), count, floor, window);
        if count == 0 {
            let (what, offset, size) = (&self.what, self.offset, self.size);
            return Err(Failure::passing(format!("{what}: {host} ended it after {offset} bytes of {size}")));
        }
        if let Some(bytes) = too_slow {
            let (what, seconds) = (&self.what, window.as_secs_f32());
            return Err(Failure::passing(format!(
                "{what}: {host} is too slow: {bytes} bytes in {seconds} s"
            )));
        }
        if skipping {
            self.surplus = self.surplus.saturating_sub(count as u64);
            return Ok(0);
        }
        self.offset = self.offset.saturating_add(count as u64);
        Ok(count)
    }

    /// The next bytes, however often that must be tried; none at the end.
    fn advance(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        while self.offset < self.size {
            match self.read_some(buffer) {
                Ok(0) => {}
                Ok(count) => return Ok(count),
                Err(failure) => {
                    self.body = None;
                    if self.offset - self.mark >= PROGRESS {
                        self.patience = Patience::default();
                        self.mark = self.offset;
                    }
                    self.patience.wait(failure, &self.client.transport.options)?;
                }
            }
        }
        self.finish()?;
        Ok(0)
    }

    /// All bytes are there: lets the connection be used again, and refuses a body that goes on.
    fn finish(&mut self) -> Result<(), Failure> {
        let Some(mut body) = self.body.take() else { return Ok(()) };
        // A failure behind the last byte takes nothing away from the blob.
        let more = body.read(&mut [0]).unwrap_or(0);
        if more > 0 && !self.delimited {
            return Err(Failure::lasting(format!(
                "{}: {} goes on after its {} bytes",
                self.what,
                self.client.host(),
                self.size
            )));
        }
        Ok(())
    }
}

impl Read for Blob<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if let Some(message) = &self.failed {
            return Err(Failure::lasting(message).into());
        }
        self.advance(buffer).map_err(|failure| {
            self.failed = Some(failure.message.clone());
            failure.into()
        })
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
