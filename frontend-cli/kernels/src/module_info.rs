//! What a module says of itself in its `.modinfo` section: on what it depends, and what it is known as.

use anyhow::{Context, Result, ensure};

use crate::names;

/// Section headers that are looked at.
const MOST_SECTIONS: usize = 4096;
/// Names in a module's lists, taken together.
const MOST_NAMES: usize = 4096;
const SECTION_HEADER: usize = 64;

/// A module's own words. Names are as the kernel has them: `-` is `_`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModuleInfo {
    /// `e_machine` of the ELF file.
    pub machine: u16,
    /// The release it is built for: the first word of `vermagic=`.
    pub release: Option<String>,
    /// Modules that must be loaded before (`depends=`).
    pub depends: Vec<String>,
    /// Modules or aliases that are loaded before, if they are there (`softdep=pre:`).
    pub soft_before: Vec<String>,
    /// Modules or aliases that are loaded after, if they are there (`softdep=post:`).
    pub soft_after: Vec<String>,
    /// Its other names (`alias=`), without those that are patterns.
    pub aliases: Vec<String>,
}

/// Reads the `.modinfo` section of a module, a 64-bit little-endian ELF file.
///
/// # Errors
/// It is no such file, or damaged.
pub fn parse(module: &[u8]) -> Result<ModuleInfo> {
    ensure!(module.starts_with(b"\x7fELF\x02\x01"), "is no 64-bit little-endian ELF file");
    let machine = u16_at(module, 18).context("is a truncated ELF file")?;
    let text =
        section(module, b".modinfo").context("is a module without a .modinfo section, or truncated")?;
    let mut info = ModuleInfo { machine, ..ModuleInfo::default() };
    for entry in text.split(|byte| *byte == 0) {
        let Some((key, value)) = std::str::from_utf8(entry).ok().and_then(|entry| entry.split_once('='))
        else {
            continue;
        };
        match key {
            "vermagic" => info.release = value.split_ascii_whitespace().next().map(str::to_owned),
            "depends" => add(&mut info.depends, value.split(',')),
            "softdep" => {
                let (before, after) = soft(value);
                add(&mut info.soft_before, before);
                add(&mut info.soft_after, after);
            }
            "alias" if !value.contains(['*', '?', '[']) => add(&mut info.aliases, [value]),
            _ => {}
        }
    }
    let names = [&info.depends, &info.soft_before, &info.soft_after, &info.aliases];
    let names: usize = names.into_iter().map(Vec::len).sum();
    ensure!(names <= MOST_NAMES, "is a module with {names} names in its .modinfo section");
    Ok(info)
}

fn add<'a>(to: &mut Vec<String>, names: impl IntoIterator<Item = &'a str>) {
    to.extend(names.into_iter().filter(|name| !name.is_empty()).map(names::module));
}

/// The names after `pre:` and after `post:`; those before either are not used, as by modprobe.
fn soft(value: &str) -> (Vec<&str>, Vec<&str>) {
    let (mut before, mut after, mut nowhere) = (Vec::new(), Vec::new(), Vec::new());
    let mut to = &mut nowhere;
    for word in value.split_ascii_whitespace() {
        match word {
            "pre:" => to = &mut before,
            "post:" => to = &mut after,
            name => to.push(name),
        }
    }
    (before, after)
}

/// The bytes of the section that has this name.
fn section<'a>(elf: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let headers = usize::try_from(u64_at(elf, 40)?).ok()?;
    let [size, count, names] = [58, 60, 62].map(|offset| u16_at(elf, offset).map(usize::from));
    (size? == SECTION_HEADER).then_some(())?;
    let headers = elf.get(headers..)?.chunks_exact(SECTION_HEADER).take(count?.min(MOST_SECTIONS));
    let names = contents(elf, headers.clone().nth(names?)?)?;
    let found = headers.into_iter().find(|header| {
        let start = u32_at(header, 0).and_then(|offset| usize::try_from(offset).ok());
        let rest = start.and_then(|start| names.get(start..)).and_then(|rest| rest.strip_prefix(name));
        rest.is_some_and(|rest| rest.starts_with(b"\0"))
    })?;
    contents(elf, found)
}

fn contents<'a>(elf: &'a [u8], header: &[u8]) -> Option<&'a [u8]> {
    let start = usize::try_from(u64_at(header, 24)?).ok()?;
    let size = usize::try_from(u64_at(header, 32)?).ok()?;
    elf.get(start..start.checked_add(size)?)
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..)?.first_chunk().map(|field| u16::from_le_bytes(*field))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().map(|field| u32::from_le_bytes(*field))
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    bytes.get(offset..)?.first_chunk().map(|field| u64::from_le_bytes(*field))
}

#[cfg(test)]
mod tests;
