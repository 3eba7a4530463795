//! The program's own pages: those that only its start needed are given back once its guest runs.
//!
//! A host counts the pages of a program's file as the program's memory as long as they are mapped, and maps whole
//! neighbourhoods (64 KiB on Linux) around what is touched. Arguments, images, tables and TLS are used at the start alone.
#![expect(unsafe_code, reason = "madvise on pages of this program takes raw pointers")]

use std::{fs, ops::Range, ptr};

use rustix::mm::{Advice, madvise};

/// Unmaps all pages of this program and of its libraries that are as in their files. Those that are used again come
/// back from the host's cache of the file, one cheap fault for a neighbourhood.
pub(crate) fn give_back() {
    let Ok(mappings) = fs::read_to_string("/proc/self/smaps") else { return };
    for range in unchanged_files(&mappings) {
        let start = ptr::with_exposed_provenance_mut(range.start);
        // SAFETY: nothing may write to this private mapping of a file and no page of it differs from the file, so what
        // the next access of a page finds is what was there; the mapping itself stays.
        if let Err(error) = unsafe { madvise(start, range.len(), Advice::LinuxDontNeed) } {
            tracing::debug!("the host keeps {range:x?} of the program mapped: {error}");
        }
    }
}

/// The private, read-only mappings of files in the text of `/proc/PID/smaps` (proc_pid_smaps(5)) none of whose pages was
/// ever changed: pages with relocations are anonymous.
fn unchanged_files(smaps: &str) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut candidate = None;
    for line in smaps.lines() {
        if let Some(kib) = line.strip_prefix("Anonymous:") {
            if kib.trim() == "0 kB" {
                ranges.extend(candidate.take());
            }
            candidate = None;
        } else if let Some(mapping) = file_mapping(line) {
            candidate = Some(mapping);
        }
    }
    ranges
}

/// A mapping's first line if nothing may write to it, it is private, and its file has a path.
fn file_mapping(line: &str) -> Option<Range<usize>> {
    let mut words = line.split_ascii_whitespace();
    let (range, permissions) = (words.next()?, words.next()?);
    let path = words.nth(3)?;
    let (start, end) = range.split_once('-')?;
    let address = |digits| usize::from_str_radix(digits, 16).ok();
    let is_ours = matches!(permissions, "r--p" | "r-xp") && path.starts_with('/');
    is_ours.then_some(address(start)?..address(end)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Linux writes it, without the lines in between.
    const SMAPS: &str = "\
        1000-3000 r--p 00000000 fe:00 12                             /usr/bin/a program\n\
        Rss:                   8 kB\n\
        Anonymous:             0 kB\n\
        VmFlags: rd mr mw me\n\
        3000-8000 r-xp 00002000 fe:00 12                             /usr/bin/a program\n\
        Anonymous:             0 kB\n\
        8000-9000 r--p 00007000 fe:00 12                             /usr/bin/a program\n\
        Anonymous:             4 kB\n\
        9000-a000 rw-p 00008000 fe:00 12                             /usr/bin/a program\n\
        Anonymous:             0 kB\n\
        b000-c000 rw-p 00000000 00:00 0                              [heap]\n\
        Anonymous:             0 kB\n\
        c000-d000 r--s 00000000 fe:00 13                             /shared\n\
        Anonymous:             0 kB\n\
        d000-e000 r-xp 00000000 00:00 0                              [vdso]\n\
        Anonymous:             0 kB\n\
        e000-f000 r-xp 00000000 00:00 0 \n\
        Anonymous:             0 kB\n";

    #[test]
    fn only_unchanged_pages_of_files_are_given_back() {
        assert_eq!(unchanged_files(SMAPS), [0x1000..0x3000, 0x3000..0x8000]);
        assert!(unchanged_files("no\nmappings r--p\n-\n1-z r-xp 0 0 0 /x\nAnonymous: 0 kB").is_empty());
    }

    #[test]
    fn the_program_goes_on_without_its_pages() {
        give_back();
        assert_eq!(format!("{:?}", "still here".to_uppercase()), "\"STILL HERE\"");
    }
}
