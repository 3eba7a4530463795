//! `hv.toml`: the words of `hv run` in a file, each with the place where it stands.
//!
//! This crate knows TOML and where things stand; which keys and values there are is the command line's to say, so that
//! both agree. `docs/manifest.md` is the format for people who write such files.

mod position;

pub use position::Position;

use std::collections::BTreeMap;

use position::Places;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// The most bytes of a manifest.
pub const SIZE_LIMIT: usize = 1 << 20;
/// The most values of a manifest: each becomes a word of a command line.
pub const VALUES_LIMIT: usize = 4096;
/// The table of what is said for one architecture only.
const ARCHITECTURES_KEY: &str = "arch";
/// The architectures of guests.
pub const ARCHITECTURES: [&str; 2] = ["aarch64", "x86_64"];
/// How much of a wrong value is shown.
const SHOWN: usize = 60;

/// What a manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// For every guest.
    common: BTreeMap<String, Entry>,
    /// For guests of one architecture, in place of the same keys of `common`.
    of_architecture: BTreeMap<String, BTreeMap<String, Entry>>,
}

/// One key and what it is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key as it is written.
    pub key: String,
    /// Where the key stands.
    pub position: Position,
    /// What it is set to.
    pub value: Value,
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `true` or `false`.
    Switch(bool),
    /// A text or a whole number.
    Word(Word),
    /// Texts or whole numbers.
    List(Vec<Word>),
    /// Names with a text or a whole number each, in the order of names.
    Table(Vec<(String, Word)>),
}

/// A text or a whole number, as it would be written on a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The text.
    pub text: String,
    /// Where it stands.
    pub position: Position,
}

/// What is wrong with a manifest, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{position}: {message}")]
pub struct Error {
    /// Where it stands.
    pub position: Position,
    /// What is wrong, with which value, and what to do; one line.
    pub message: String,
}

impl Error {
    /// An error in one line.
    pub fn new(position: Position, message: impl AsRef<str>) -> Self {
        let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
        Self { position, message: message.as_ref().chars().map(plain).collect() }
    }
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// It is no TOML, or says something that no key could be set to.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let places = Places::new(text);
        if text.len() > SIZE_LIMIT {
            return Err(Error::new(
                places.position(0),
                format!("{} bytes are too many; write at most {SIZE_LIMIT}", text.len()),
            ));
        }
        let document = DeTable::parse(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            Error::new(places.position(start), error.message())
        })?;
        let mut reader = Reader { places, values: 0 };
        let mut manifest = Self { common: BTreeMap::new(), of_architecture: BTreeMap::new() };
        for (key, value) in document.get_ref() {
            if key.get_ref() == ARCHITECTURES_KEY {
                manifest.of_architecture = reader.architectures(value)?;
            } else {
                let entry = reader.entry(key.get_ref(), key.span().start, value)?;
                manifest.common.insert(entry.key.clone(), entry);
            }
        }
        Ok(manifest)
    }

    /// What holds for guests of this architecture, in the order of keys.
    pub fn entries(&self, architecture: &str) -> Vec<&Entry> {
        let mut entries: BTreeMap<&str, &Entry> = BTreeMap::new();
        let special = self.of_architecture.get(architecture).into_iter().flatten();
        for (key, entry) in self.common.iter().chain(special) {
            entries.insert(key, entry);
        }
        entries.into_values().collect()
    }

    /// All that is said for any guest, so that a mistake is found on every host.
    pub fn all_entries(&self) -> impl Iterator<Item = &Entry> {
        self.common.values().chain(self.of_architecture.values().flat_map(BTreeMap::values))
    }
}

struct Reader<'t> {
    places: Places<'t>,
    values: usize,
}

impl Reader<'_> {
    fn architectures(
        &mut self,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<BTreeMap<String, BTreeMap<String, Entry>>, Error> {
        let hint = "write tables [arch.aarch64] and [arch.x86_64]";
        let table = value.get_ref().as_table().ok_or_else(|| self.error(value.span().start, hint))?;
        let mut of_architecture = BTreeMap::new();
        for (name, value) in table {
            let start = name.span().start;
            if !ARCHITECTURES.contains(&name.get_ref().as_ref()) {
                let message = format!("architecture `{}` is not known; {hint}", shown(name.get_ref()));
                return Err(self.error(start, message));
            }
            let table = value.get_ref().as_table().ok_or_else(|| self.error(value.span().start, hint))?;
            let mut entries = BTreeMap::new();
            for (key, value) in table {
                let entry = self.entry(key.get_ref(), key.span().start, value)?;
                entries.insert(entry.key.clone(), entry);
            }
            of_architecture.insert(name.get_ref().to_string(), entries);
        }
        Ok(of_architecture)
    }

    fn entry(&mut self, key: &str, start: usize, value: &Spanned<DeValue<'_>>) -> Result<Entry, Error> {
        let value = match value.get_ref() {
            DeValue::Boolean(is_on) => Value::Switch(*is_on),
            DeValue::Array(values) => {
                Value::List(values.iter().map(|value| self.word(key, value)).collect::<Result<_, _>>()?)
            }
            DeValue::Table(table) => {
                let pair = |(name, value): (&Spanned<_>, _)| -> Result<_, Error> {
                    let name: &std::borrow::Cow<'_, str> = name.get_ref();
                    Ok((name.to_string(), self.word(key, value)?))
                };
                Value::Table(table.iter().map(pair).collect::<Result<_, _>>()?)
            }
            _ => Value::Word(self.word(key, value)?),
        };
        Ok(Entry { key: key.to_owned(), position: self.places.position(start), value })
    }

    fn word(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<Word, Error> {
        let start = value.span().start;
        self.values += 1;
        if self.values > VALUES_LIMIT {
            return Err(self.error(start, format!("more than {VALUES_LIMIT} values; write fewer")));
        }
        let text = match value.get_ref() {
            DeValue::String(text) if text.contains('\0') => {
                return Err(
                    self.error(start, format!("`{}` holds a NUL character; leave it out", shown(key)))
                );
            }
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_err(|_| self.error(start, format!("{number} is too large; write a smaller number")))?
                .to_string(),
            other => {
                let message = format!(
                    "`{}` has a value of type {}; write a text in quotes or a whole number",
                    shown(key),
                    other.type_str()
                );
                return Err(self.error(start, message));
            }
        };
        Ok(Word { text, position: self.places.position(start) })
    }

    fn error(&self, start: usize, message: impl AsRef<str>) -> Error {
        Error::new(self.places.position(start), message)
    }
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests;
