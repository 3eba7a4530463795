//! Archives whole, damaged and hostile.

use super::*;
use crate::testing::{TarWriter, tar};

fn entries(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>> {
    let mut archive = Archive::new(bytes);
    let mut found = Vec::new();
    while let Some(entry) = archive.advance()? {
        let mut data = Vec::new();
        archive.read_to_end(&mut data)?;
        found.push((entry, data));
    }
    Ok(found)
}

fn error(bytes: &[u8]) -> String {
    format!("{:#}", entries(bytes).unwrap_err())
}

#[test]
fn an_archive_may_end_without_its_zeroes_but_not_inside_an_entry() {
    let whole = tar(|tar| drop(tar.file("a", &[1; 700]).file("b", b"2").finish()));
    let names = |bytes: &[u8]| {
        entries(bytes).unwrap().iter().map(|(entry, _)| entry.path.clone()).collect::<Vec<_>>()
    };
    for length in [whole.len(), whole.len() - 512, whole.len() - 1024, 2048 + 1, 2048 + 511] {
        assert_eq!(names(&whole[..length]), [b"a", b"b"]);
    }
    assert_eq!(names(b""), [b""; 0]);
    for length in [1, 511, 513, 512 + 699, 1536 + 100, 1536 + 512] {
        assert!(error(&whole[..length]).contains("truncated"), "{length}: {}", error(&whole[..length]));
    }
}

#[test]
fn what_is_no_archive_is_told_from_one_that_is_damaged() {
    assert!(error(&[b'x'; 2048]).contains("not a tar header"));
    let mut damaged = tar(|tar| drop(tar.file("a", b"1").file("b", b"2").finish()));
    damaged[1024] ^= 1;
    assert!(
        error(&damaged).contains("at byte 1024: not a tar header: its checksum is wrong"),
        "{}",
        error(&damaged)
    );
}

#[test]
fn long_names_are_read_and_bounded() {
    let long = "l".repeat(3000);
    let mut name = long.clone().into_bytes();
    name.push(0);
    let found = entries(&tar(|tar| {
        tar.entry(b'L', b"././@LongLink", "", &name, |_| {}).entry(b'K', b"././@LongLink", "", &name, |_| {});
        tar.symlink("short", "short").file("next", b"");
    }))
    .unwrap();
    assert_eq!((&found[0].0.path, &found[0].0.link), (&long.clone().into_bytes(), &long.into_bytes()));
    assert_eq!(found[1].0.path, b"next");
    for (kind, size) in [(b'L', 1 << 40), (b'K', 100_000), (b'x', 1 << 33), (b'g', 1 << 33)] {
        let error =
            error(&tar(|tar| drop(tar.entry(kind, b"x", "", b"", |header| header.set_size(size)).finish())));
        assert!(error.contains(&format!("of {size} bytes")), "{error}");
    }
    let many = tar(|tar| {
        for _ in 0..20 {
            tar.entry(b'V', b"label", "", b"", |_| {});
        }
        tar.file("a", b"");
    });
    assert!(error(&many).contains("headers in front of one entry"));
    let alone = tar(|tar| drop(tar.entry(b'L', b"x", "", &name, |_| {}).finish()));
    assert!(error(&alone).contains("ends before the file"), "{}", error(&alone));
}

#[test]
fn pax_records_are_read_by_their_lengths() {
    let found = entries(&tar(|tar| {
        tar.entry(b'g', b"global", "", b"20 path=not-for-all\n", |_| {});
        tar.pax(&[("path", b"a\nb"), ("size", b"3"), ("mtime", b"1.123456789012"), ("gid", b"4294967295")]);
        tar.entry(b'0', b"x", "", b"abc", |header| header.set_size(0));
        tar.pax(&[("path", b"z"), ("path", b"")]).file("kept", b"");
    }))
    .unwrap();
    let (entry, data) = &found[0];
    assert_eq!((&*entry.path, &data[..], entry.gid), (&b"a\nb"[..], &b"abc"[..], u32::MAX));
    assert_eq!((entry.mtime, entry.mtime_nanos), (1, 123_456_789));
    assert_eq!(found[1].0.path, b"kept");
    for (records, cause) in [
        (&b"5 a=b\n"[..], "damaged pax header"),
        (b"99 a=b\n", "damaged pax header"),
        (b"99999999999999999999 a=b\n", "damaged pax header"),
        (b"0 a=b\n", "damaged pax header"),
        (b"-6 a=b\n", "damaged pax header"),
        (b"6 a=b\n6 a", "damaged pax header"),
        (b"5 ab\n", "without ="),
        (b"x", "damaged pax header"),
    ] {
        let bytes = tar(|tar| drop(tar.entry(b'x', b"x", "", records, |_| {}).file("a", b"").finish()));
        assert!(error(&bytes).contains(cause), "{:?}: {}", records.escape_ascii().to_string(), error(&bytes));
    }
}

#[test]
fn numbers_of_all_forms_are_read() {
    let with = |change: &dyn Fn(&mut ::tar::Header)| {
        let found = entries(&tar(|tar| drop(tar.entry(b'0', b"a", "", b"", change).finish())));
        found.map(|found| found[0].0.clone())
    };
    let blank = with(&|header: &mut ::tar::Header| header.as_old_mut().uid = *b"        ").unwrap();
    assert_eq!(blank.uid, 0);
    let spaces = with(&|header: &mut ::tar::Header| header.as_old_mut().uid = *b"   755 \0").unwrap();
    assert_eq!(spaces.uid, 0o755);
    let negative = with(&|header: &mut ::tar::Header| header.as_old_mut().mtime = [0xff; 12]).unwrap();
    assert_eq!(negative.mtime, -1);
    let big =
        with(&|header: &mut ::tar::Header| header.as_old_mut().uid = [0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xfe])
            .unwrap();
    assert_eq!(big.uid, u32::MAX - 1);
    for (name, change) in [
        (
            "owner",
            &(|header: &mut ::tar::Header| header.as_old_mut().uid = *b"89\0\0\0\0\0\0") as &dyn Fn(&mut _),
        ),
        ("owner", &|header: &mut ::tar::Header| header.as_old_mut().uid = [0xff; 8]),
        ("size", &|header: &mut ::tar::Header| header.as_old_mut().size = [0xff; 12]),
        ("size", &|header: &mut ::tar::Header| header.as_old_mut().size = [0xbf; 12]),
        ("size", &|header: &mut ::tar::Header| {
            header.as_old_mut().size = [0x80, 0, 0, 0, 0xff, 0, 0, 0, 0, 0, 0, 0];
        }),
        ("time", &|header: &mut ::tar::Header| header.as_old_mut().mtime = [0xbf; 12]),
    ] {
        let error = format!("{:#}", with(change).unwrap_err());
        assert!(error.contains(name), "{error}");
    }
}

fn sparse(map: &str, size: &str, data: &[u8]) -> Vec<u8> {
    tar(|tar| {
        tar.pax(&[("GNU.sparse.map", map.as_bytes()), ("GNU.sparse.size", size.as_bytes())]);
        tar.file("sparse", data);
    })
}

#[test]
fn maps_of_sparse_files_are_checked() {
    let found = entries(&sparse("0,2,10,3,20,0", "20", b"12345")).unwrap();
    assert_eq!((found[0].0.size, &*found[0].1), (20, &b"12345"[..]));
    for (map, size, cause) in [
        ("0,2,1,3", "20", "overlap"),
        ("10,3,0,2", "20", "overlap"),
        ("0,2,18,3", "20", "a piece at 18"),
        ("0,2,18446744073709551615,3", "20", "a piece at"),
        ("0,2", "20", "5 bytes of data"),
        ("0,5,8", "20", "odd number"),
        ("0,x", "20", "not a number"),
        ("0,5", "99999999999999999999", "not a number"),
        ("0,5", "18446744073709551615", "a size of"),
    ] {
        let error = error(&sparse(map, size, b"12345"));
        assert!(error.contains(cause), "{map}: {error}");
    }
    let version_one = |map: &[u8]| {
        tar(|tar| {
            tar.pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.realsize", b"100")]);
            tar.file("sparse", map);
        })
    };
    let many = [&b"99999999\n"[..], &[0; 503]].concat();
    for (map, cause) in [
        (&b"1\n0\n"[..], "truncated in the map"),
        (&many, "pieces"),
        (&[b'1'; 600], "damaged map"),
        (&[b'\n'; 512], "damaged map"),
    ] {
        let error = error(&version_one(map));
        assert!(error.contains(cause), "{error}");
    }
}

#[test]
fn a_chain_of_old_sparse_blocks_is_bounded() {
    let mut tar = TarWriter::default();
    tar.entry(b'S', b"bomb", "", b"", |header| header.as_gnu_mut().unwrap().set_is_extended(true));
    let mut block = [b'0'; 512];
    block[504] = 1;
    for _ in 0..60_000 {
        tar.data(&block);
    }
    assert!(error(&tar.finish()).contains("pieces"));
}
