//! Log records of Linux: what they look like, and which of them were shown.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
};

use crate::chardev::merge::Port;

/// Records remembered. The log of a distribution kernel holds some 3,000.
const REMEMBERED: usize = 8192;

/// Blanks between the bracket and the number: Linux pads to 12 characters.
const MAX_BLANKS: usize = 16;

/// Whether the start of a line is that of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// It is.
    Record,
    /// More of the line will tell.
    Unknown,
    /// It is not.
    Text,
}

/// Looks for the time stamp that printk puts first: `[    1.234567] `, or `[    1.234567][   T42] ` where the kernel
/// names the caller.
pub(super) fn shape(line: &[u8]) -> Shape {
    let mut rest = Cursor(line);
    let found = rest
        .literal(b"[")
        .and_then(|()| rest.blanks())
        .and_then(|()| rest.digits(1, 10))
        .and_then(|()| rest.literal(b"."))
        .and_then(|()| rest.digits(6, 6))
        .and_then(|()| rest.literal(b"]"))
        .and_then(|()| match rest.0.first() {
            Some(b'[') => rest.caller(),
            _ => Ok(()),
        })
        .and_then(|()| rest.literal(b" "));
    match found {
        Ok(()) => Shape::Record,
        Err(shape) => shape,
    }
}

/// What is left of a line while its shape is found out.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn literal(&mut self, expected: &[u8]) -> Result<(), Shape> {
        match self.0.split_first() {
            None => Err(Shape::Unknown),
            Some((first, rest)) if expected.contains(first) => {
                self.0 = rest;
                Ok(())
            }
            Some(_) => Err(Shape::Text),
        }
    }

    fn blanks(&mut self) -> Result<(), Shape> {
        self.run(0, MAX_BLANKS, |byte| byte == b' ')
    }

    fn digits(&mut self, least: usize, most: usize) -> Result<(), Shape> {
        self.run(least, most, |byte| byte.is_ascii_digit())
    }

    /// `[`, blanks, T for a task or C for a core, its number, `]`.
    fn caller(&mut self) -> Result<(), Shape> {
        self.literal(b"[")?;
        self.blanks()?;
        self.literal(b"TC")?;
        self.digits(1, 10)?;
        self.literal(b"]")
    }

    /// A run of bytes of a kind; unknown if the line ends before the run does.
    fn run(&mut self, least: usize, most: usize, kind: impl Fn(u8) -> bool) -> Result<(), Shape> {
        let length = self.0.iter().take_while(|byte| kind(**byte)).count();
        if length > most || length < least && length < self.0.len() {
            return Err(Shape::Text);
        }
        if length == self.0.len() {
            return Err(Shape::Unknown);
        }
        self.0 = &self.0[length..];
        Ok(())
    }
}

/// How often each port brought each record, the latest of them. A record is told from others by its hash.
#[derive(Default)]
pub(super) struct Records {
    hasher: RandomState,
    counts: HashMap<u64, [u32; 2]>,
    order: VecDeque<u64>,
}

impl Records {
    /// Notes that `port` brought this record, and says whether the other had not.
    ///
    /// Both ports bring the same records, so each is shown as often as the port that brought it most did: a message
    /// that really came twice within a microsecond is shown twice.
    pub(super) fn is_news(&mut self, port: Port, record: &[u8]) -> bool {
        let hash = self.hasher.hash_one(record.trim_ascii_end());
        if !self.counts.contains_key(&hash) {
            if self.order.len() == REMEMBERED
                && let Some(oldest) = self.order.pop_front()
            {
                self.counts.remove(&oldest);
            }
            self.order.push_back(hash);
        }
        let counts = self.counts.entry(hash).or_default();
        let own = port as usize;
        counts[own] = counts[own].saturating_add(1);
        counts[own] > counts[1 - own]
    }
}
