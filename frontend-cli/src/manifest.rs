//! `hv.toml` on the command line of `hv run`: its keys are the long options, its values go through their parsers.
//!
//! The file becomes words of a command line, so that both agree on what is right, on defaults and on what goes together.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use clap::{
    Arg, ArgAction, ArgMatches, Command, CommandFactory, Id, builder::Resettable, error::ErrorKind,
    parser::ValueSource,
};
use hv_manifest::{Entry, Error, Manifest, Position, SIZE_LIMIT, Value, Word};

use crate::{
    args::{self, Arguments},
    backend,
};

/// The file in the current folder.
const FILE: &str = "hv.toml";
/// The command that it is for.
const RUN: &str = "run";
/// What is run. Where the command line says one of them, the file in the current folder is not asked.
const SOURCES: [&str; 2] = ["image", "kernel"];
/// What runs in the guest.
const COMMAND: &str = "command";
/// Variables: those of the command line come after those of the file.
const VARIABLES: &str = "env";
/// Options that a file cannot set.
const NOT_IN_A_FILE: [&str; 3] = ["config", "help", "version"];

/// The words of the command line with those of the manifest, if it asks for one.
///
/// # Errors
/// The manifest cannot be read, or is wrong: one line with the place.
pub(crate) fn complete(words: Vec<OsString>) -> Result<Vec<OsString>, String> {
    // Most command lines have nothing to do with a manifest, and are not looked at twice.
    let asks = words.iter().any(|word| word.as_encoded_bytes().starts_with(b"--config"));
    let has_run = words.iter().any(|word| word == RUN);
    if !has_run || !(asks || Path::new(FILE).exists()) {
        return Ok(words);
    }
    let command = lenient();
    let Some(given) = given(&command, &words) else { return Ok(words) };
    let named: Option<&PathBuf> = is_given(&given, "config").then(|| given.get_one("config")).flatten();
    if named.is_none() && (SOURCES.iter().any(|id| is_given(&given, id)) || !Path::new(FILE).exists()) {
        return Ok(words);
    }
    let path = named.map_or(Path::new(FILE), PathBuf::as_path);
    let at = |error: Error| format!("{}:{error}", path.display());
    let manifest = read(path).and_then(|text| Manifest::parse(&text).map_err(at))?;
    let run = Run::new(&command);
    manifest.all_entries().try_for_each(|entry| run.check(entry)).map_err(at)?;
    let entries = manifest.entries(architecture(&given, &manifest));
    Ok(run.merge(words, &given, &entries))
}

/// The command line as it is, but for what must be there: the manifest may have it.
fn lenient() -> Command {
    let nothing = Resettable::<Id>::Reset;
    Arguments::command().mut_subcommand(RUN, |run| {
        run.mut_args(|argument| {
            argument.required(false).required_unless_present(nothing.clone()).requires(nothing.clone())
        })
    })
}

/// What the command line says to `hv run`; nothing where it is not understood, or says something to another command.
fn given(command: &Command, words: &[OsString]) -> Option<ArgMatches> {
    let mut matches = command.clone().try_get_matches_from(words).ok()?;
    matches.remove_subcommand().filter(|(name, _)| name == RUN).map(|(_, matches)| matches)
}

fn is_given(given: &ArgMatches, id: &str) -> bool {
    given.ids().any(|known| known == id) && given.value_source(id) == Some(ValueSource::CommandLine)
}

fn read(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let most = u64::try_from(SIZE_LIMIT).unwrap_or(u64::MAX);
        File::open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes =
        read().map_err(|error| format!("manifest {shown} cannot be read: {error}; check the path"))?;
    String::from_utf8(bytes).map_err(|error| {
        let line =
            error.as_bytes().iter().take(error.utf8_error().valid_up_to()).filter(|byte| **byte == b'\n');
        format!("{shown}:{}:1: the line is not UTF-8; write it as UTF-8", line.count() + 1)
    })
}

/// The architecture of the guest: this host's, or that of the emulated machine.
fn architecture(given: &ArgMatches, manifest: &Manifest) -> &'static str {
    let said =
        given.get_raw("accel").and_then(|mut values| values.next()).filter(|_| is_given(given, "accel"));
    let in_file =
        manifest.all_entries().find(|entry| entry.key == "accel").and_then(|entry| match &entry.value {
            Value::Word(word) => Some(OsStr::new(&word.text)),
            _ => None,
        });
    match said.or(in_file).and_then(OsStr::to_str) {
        Some("emulated") => "aarch64",
        None | Some("auto") if backend::emulates_by_itself() => "aarch64",
        _ => env::consts::ARCH,
    }
}

/// `hv run` as clap knows it.
struct Run<'c> {
    command: &'c Command,
}

impl<'c> Run<'c> {
    fn new(command: &'c Command) -> Self {
        Self { command: command.find_subcommand(RUN).unwrap_or(command) }
    }

    /// The arguments that a file may have.
    fn arguments(&self) -> impl Iterator<Item = &'c Arg> {
        let is_hidden =
            |argument: &&Arg| argument.is_hide_set() || NOT_IN_A_FILE.contains(&argument.get_id().as_str());
        self.command.get_arguments().filter(move |argument| !is_hidden(argument))
    }

    fn argument(&self, key: &str) -> Option<&'c Arg> {
        self.arguments().find(|argument| name(argument) == key)
    }

    /// Checks that there is such a key, and that its values are such values.
    fn check(&self, entry: &Entry) -> Result<(), Error> {
        let key = &entry.key;
        let Some(argument) = self.argument(key) else {
            let near = self.arguments().map(name).max_by(|one, other| {
                strsim::jaro_winkler(key, one).total_cmp(&strsim::jaro_winkler(key, other))
            });
            let near = near.filter(|near| strsim::jaro_winkler(key, near) > 0.7);
            let cure = near.map_or("see `hv run --help` for the words".to_owned(), |near| {
                format!("did you mean `{near}`?")
            });
            return Err(Error::new(entry.position, format!("unknown key `{key}`; {cure}")));
        };
        let wrong = |position: Position, cure: &str| Err(Error::new(position, format!("`{key}` {cure}")));
        let takes_many = matches!(argument.get_action(), ArgAction::Append);
        match &entry.value {
            Value::Switch(_) if is_switch(argument) => Ok(()),
            _ if is_switch(argument) => wrong(entry.position, "is on or off; write true or false"),
            Value::Switch(_) => wrong(entry.position, "has a value; write it in quotes, or a whole number"),
            Value::Table(_) if key != VARIABLES => {
                wrong(entry.position, "is no table; write its value in quotes")
            }
            Value::List(_) if !takes_many => wrong(entry.position, "has one value; write it without [ ]"),
            value => words_of(value).iter().try_for_each(|word| self.check_word(argument, word)),
        }
    }

    /// Lets the command line's own parser look at one value.
    fn check_word(&self, argument: &Arg, word: &Word) -> Result<(), Error> {
        if argument.get_id() == COMMAND {
            return Ok(());
        }
        let alone =
            self.command.clone().no_binary_name(true).try_get_matches_from([self.word(argument, &word.text)]);
        match alone {
            Err(error) if !goes_with_others(error.kind()) => {
                Err(Error::new(word.position, args::told(&error)))
            }
            _ => Ok(()),
        }
    }

    /// A value as a word of the command line.
    fn word(&self, argument: &Arg, text: &str) -> OsString {
        match argument.get_long() {
            Some(long) => format!("--{long}={text}").into(),
            None => text.into(),
        }
    }

    /// The command line with what the file has and the command line has not.
    fn merge(&self, words: Vec<OsString>, given: &ArgMatches, entries: &[&Entry]) -> Vec<OsString> {
        let (mut options, mut source, mut command) = (Vec::new(), Vec::new(), Vec::new());
        for entry in entries {
            let Some(argument) = self.argument(&entry.key) else { continue };
            if is_given(given, argument.get_id().as_str()) && entry.key != VARIABLES {
                continue;
            }
            let place = match argument.get_id().as_str() {
                COMMAND => &mut command,
                _ if argument.is_positional() => &mut source,
                _ => &mut options,
            };
            match &entry.value {
                Value::Switch(true) => {
                    place.extend(argument.get_long().map(|long| format!("--{long}").into()));
                }
                Value::Switch(false) => {}
                value => place.extend(words_of(value).iter().map(|word| self.word(argument, &word.text))),
            }
        }
        let run = words.iter().position(|word| word == RUN).map_or(words.len(), |at| at + 1);
        let mut merged: Vec<OsString> = words.iter().take(run).cloned().collect();
        merged.extend(options);
        let mut rest = words.into_iter().skip(run);
        // What is run stands before the words of its command.
        merged.extend(rest.by_ref().take_while(|word| word != "--"));
        merged.extend(source);
        let own: Vec<OsString> = rest.collect();
        let command = if own.is_empty() { command } else { own };
        if !command.is_empty() {
            merged.push("--".into());
            merged.extend(command);
        }
        merged
    }
}

/// The word for an argument: its long option, or what it is called.
fn name(argument: &Arg) -> &str {
    argument.get_long().unwrap_or(argument.get_id().as_str())
}

fn is_switch(argument: &Arg) -> bool {
    matches!(argument.get_action(), ArgAction::SetTrue | ArgAction::SetFalse | ArgAction::Count)
}

/// Whether an error is one of what is there beside a value, which the whole command line will show.
fn goes_with_others(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::MissingRequiredArgument | ErrorKind::ArgumentConflict | ErrorKind::MissingSubcommand
    )
}

fn words_of(value: &Value) -> Vec<Word> {
    match value {
        Value::Switch(_) => Vec::new(),
        Value::Word(word) => vec![word.clone()],
        Value::List(words) => words.clone(),
        Value::Table(pairs) => pairs
            .iter()
            .map(|(name, word)| Word { text: format!("{name}={}", word.text), position: word.position })
            .collect(),
    }
}

#[cfg(test)]
mod tests;
