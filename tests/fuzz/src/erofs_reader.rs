//! A reader of EROFS as small as can be, for images that our own writer made.

use std::{fs::File, os::unix::fs::FileExt};

const BLOCK: u64 = 4096;

/// An image.
pub(crate) struct Image<'a> {
    file: &'a File,
    /// Where inodes begin.
    inodes: u64,
    build_time: i64,
    root: u64,
}

/// An inode.
#[derive(Debug)]
pub(crate) struct Inode {
    pub(crate) mode: u16,
    pub(crate) size: u64,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) time: i64,
    layout: u16,
    place: u32,
    /// Where what stands behind it begins.
    behind: u64,
}

impl<'a> Image<'a> {
    pub(crate) fn new(file: &'a File) -> Self {
        let mut image = Self { file, inodes: 0, build_time: 0, root: 0 };
        assert_eq!(image.number::<4>(1024), 0xe0f5_e1e2);
        image.inodes = image.number::<4>(1024 + 40) * BLOCK;
        image.build_time = image.number::<8>(1024 + 24).cast_signed();
        image.root = image.number::<2>(1024 + 14);
        image
    }

    pub(crate) fn root(&self) -> u64 {
        self.root
    }

    pub(crate) fn inode(&self, number: u64) -> Inode {
        let at = self.inodes + number * 32;
        let short = |offset| u16::try_from(self.number::<2>(at + offset)).unwrap_or_default();
        let word = |offset| u32::try_from(self.number::<4>(at + offset)).unwrap_or_default();
        let (format, xattrs) = (short(0), u64::from(short(2)));
        let behind = at + if xattrs == 0 { 0 } else { 12 + (xattrs - 1) * 4 };
        let (mode, layout) = (short(4), format >> 1);
        if format & 1 == 0 {
            let (uid, gid) = (short(24).into(), short(26).into());
            let (size, place) = (word(8).into(), word(16));
            Inode { mode, size, uid, gid, time: self.build_time, layout, place, behind: behind + 32 }
        } else {
            let (size, time) = (self.number::<8>(at + 8), self.number::<8>(at + 32).cast_signed());
            Inode {
                mode,
                size,
                uid: word(24),
                gid: word(28),
                time,
                layout,
                place: word(16),
                behind: behind + 64,
            }
        }
    }

    /// Where a byte of a file is.
    pub(crate) fn place(&self, inode: &Inode, offset: u64) -> Option<u64> {
        assert!(offset < inode.size);
        let (block, inside) = match inode.layout {
            0 => (inode.place.into(), offset),
            2 => return Some(inode.behind + offset),
            4 => {
                let chunk = BLOCK << inode.place;
                (self.number::<4>(inode.behind + offset / chunk * 4), offset % chunk)
            }
            layout => panic!("layout {layout}"),
        };
        (block != u64::from(u32::MAX)).then_some(block * BLOCK + inside)
    }

    /// All bytes of a file without holes.
    pub(crate) fn bytes(&self, inode: &Inode) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(inode.size).expect("a small file")];
        if inode.size > 0 {
            let at = self.place(inode, 0).expect("no hole");
            assert!(
                inode.layout == 0 || at / BLOCK == (at + inode.size - 1) / BLOCK,
                "it crosses a block's end"
            );
            self.file.read_exact_at(&mut bytes, at).expect("the bytes of a file");
        }
        bytes
    }

    /// Names and node numbers of a directory.
    pub(crate) fn entries(&self, inode: &Inode) -> Vec<(Vec<u8>, u64)> {
        let bytes = self.bytes(inode);
        let mut entries = Vec::new();
        for block in bytes.chunks(4096) {
            let name_at = |entry: usize| {
                usize::from(u16::from_le_bytes([block[entry * 12 + 8], block[entry * 12 + 9]]))
            };
            let count = name_at(0) / 12;
            for entry in 0..count {
                let end = if entry + 1 < count { name_at(entry + 1) } else { block.len() };
                let name = block[name_at(entry)..end].split(|byte| *byte == 0).next().unwrap_or_default();
                let number = block[entry * 12..].first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
                entries.push((name.to_vec(), number.expect("an entry")));
            }
        }
        entries
    }

    /// `N` bytes as a number.
    fn number<const N: usize>(&self, at: u64) -> u64 {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes[..N], at).expect("inside the image");
        u64::from_le_bytes(bytes)
    }
}
