//! The lists that come with a kernel: `modules.builtin`, `modules.alias`, and its configuration.

use std::collections::{BTreeMap, BTreeSet};

use crate::names;

/// The modules that are built in, by `modules.builtin`: a path of a file that is not there on each line.
pub fn built_in(text: &[u8]) -> BTreeSet<String> {
    lines(text).filter_map(|line| names::module_of_file(line.rsplit('/').next()?)).collect()
}

/// Which modules have an alias, by `modules.alias`: lines `alias NAME MODULE`. Patterns are left out; names are as the
/// kernel has them: `-` is `_`.
pub fn aliases(text: &[u8]) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in lines(text) {
        let mut words = line.split_ascii_whitespace();
        let (Some("alias"), Some(alias), Some(module)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        if !alias.contains(['*', '?', '[']) {
            found.entry(names::module(alias)).or_default().push(names::module(module));
        }
    }
    found
}

/// A kernel's configuration: options that are not `n`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configuration(BTreeMap<String, String>);

impl Configuration {
    /// Reads lines `CONFIG_NAME=VALUE`.
    pub fn parse(text: &[u8]) -> Self {
        let options = lines(text).filter(|line| line.starts_with("CONFIG_"));
        let options = options.filter_map(|line| line.split_once('='));
        Self(options.map(|(option, value)| (option.to_owned(), value.trim_end().to_owned())).collect())
    }

    /// The value of an option, such as `y` or `m`.
    pub fn value(&self, option: &str) -> Option<&str> {
        self.0.get(option).map(String::as_str)
    }

    /// Whether it has no option at all: the text was none of a configuration.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn lines(text: &[u8]) -> impl Iterator<Item = &str> {
    text.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok())
}

#[cfg(test)]
mod tests;
