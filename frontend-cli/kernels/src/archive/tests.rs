//! Tests of the archives: whole, truncated at each byte, and hostile.

use super::*;
use crate::testing::{Entry, ar, cpio, deb, gzip, rpm, tar, visited, xz, zstd};

fn files() -> Vec<Entry> {
    let long = format!("{}file", "long/".repeat(40));
    vec![(String::from("a"), b"one".to_vec()), (long, vec![7; 10]), (String::from("b"), Vec::new())]
}

/// A member of a Debian package for each way to pack it.
fn packings(bytes: &[u8]) -> Vec<Vec<u8>> {
    vec![bytes.to_vec(), gzip(bytes), xz(bytes), zstd(bytes)]
}

#[test]
fn debian_packages_are_read_however_they_are_packed() {
    for data in packings(&tar(&files())) {
        let package = ar(&[("debian-binary", b"2.0\n"), ("control.tar", b"odd"), ("data.tar.xx", &data)]);
        assert_eq!(visited(&package, deb::visit).unwrap(), files());
    }
}

#[test]
fn rpm_packages_are_read_however_they_are_packed() {
    let mut expected = files();
    expected.retain(|file| !file.1.is_empty());
    for payload in packings(&cpio(&files())) {
        assert_eq!(visited(&rpm(&payload), rpm::visit).unwrap(), expected);
    }
}

#[test]
fn a_truncated_package_is_refused_wherever_it_ends() {
    let package = deb(&files());
    for end in 0..package.len() - 1 {
        assert!(visited(&package[..end], deb::visit).is_err(), "{end} bytes of a .deb");
    }
    for payload in packings(&cpio(&files())) {
        let package = rpm(&payload);
        for end in 0..package.len() {
            assert!(visited(&package[..end], rpm::visit).is_err(), "{end} bytes of an .rpm");
        }
    }
}

#[test]
fn damage_is_found_by_the_checksum() {
    let mut package = deb(&files());
    let at = package.len() - 200;
    package[at] ^= 1;
    assert!(visited(&package, deb::visit).is_err());
}

#[test]
fn a_package_of_another_kind_is_refused() {
    for (bytes, says) in [
        (ar(&[("debian-binary", b"3.0\n")]), "is no Debian package of format 2"),
        (ar(&[("data.tar", b"")]), "is no Debian package of format 2"),
        (ar(&[("debian-binary", b"2.0\n"), ("control.tar", b"")]), "is a Debian package without data"),
        (ar(&[("debian-binary", b"2.0\n"), ("data.tar.bz2", b"BZh91AY")]), "is packed by bzip2"),
        (b"!<arch>\nx".to_vec(), "is truncated"),
    ] {
        let error = format!("{:#}", visited(&bytes, deb::visit).unwrap_err());
        assert!(error.contains(says), "{error}");
    }
    let stripped = rpm(&[b"07070X".to_vec(), vec![0; 200]].concat());
    let error = format!("{:#}", visited(&stripped, rpm::visit).unwrap_err());
    assert!(error.contains("RPM 6"), "{error}");
}

#[test]
fn a_name_without_end_is_refused_and_not_kept() {
    let mut header = ::tar::Header::new_gnu();
    header.set_entry_type(::tar::EntryType::GNULongName);
    header.set_size(1 << 33);
    header.set_cksum();
    let archive = header.as_bytes().as_slice().chain(io::repeat(b'x'));
    let error = tar::visit(&mut { archive }, &mut |_, _, _| Ok(())).unwrap_err();
    assert!(format!("{error:#}").contains("larger than 4096 bytes"), "{error:#}");

    let mut archive = cpio(&files());
    set_field(&mut archive, 11, "ffffffff");
    let error = visited(&archive, cpio::visit).unwrap_err();
    assert!(error.to_string().contains("a name of 4294967295 bytes"), "{error}");
}

fn set_field(archive: &mut [u8], index: usize, digits: &str) {
    archive[6 + 8 * index..14 + 8 * index].copy_from_slice(digits.as_bytes());
}

#[test]
fn what_unpacks_without_end_is_refused() {
    let mut source = crate::unpack::Bounded::new(io::repeat(0), 1 << 20);
    assert!(io::copy(&mut source, &mut io::sink()).is_err());
}

#[test]
fn long_names_of_pax_are_used_and_large_files_refused() {
    let archive = |extension: &str| {
        let mut builder = ::tar::Builder::new(Vec::new());
        let mut header = ::tar::Header::new_ustar();
        header.set_entry_type(::tar::EntryType::XHeader);
        header.set_size(extension.len() as u64);
        builder.append_data(&mut header, "pax", extension.as_bytes()).unwrap();
        let mut header = ::tar::Header::new_ustar();
        header.set_size(2);
        builder.append_data(&mut header, "short", b"hi".as_slice()).unwrap();
        builder.into_inner().unwrap()
    };
    let named = visited(&archive("18 path=boot/file\n"), tar::visit).unwrap();
    assert_eq!(named, [(String::from("boot/file"), b"hi".to_vec())]);
    let error = visited(&archive("19 size=9999999999\n"), tar::visit).unwrap_err();
    assert!(error.to_string().contains("more than 8 GiB"), "{error}");
}

#[test]
fn links_and_devices_are_passed_over() {
    let mut builder = ::tar::Builder::new(Vec::new());
    for kind in [::tar::EntryType::Symlink, ::tar::EntryType::Link, ::tar::EntryType::Char] {
        let mut header = ::tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        builder.append_link(&mut header, "boot/vmlinuz-1", "/etc/passwd").unwrap();
    }
    let archive = builder.into_inner().unwrap();
    assert_eq!(visited(&archive, tar::visit).unwrap(), []);
}
