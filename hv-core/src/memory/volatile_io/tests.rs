//! Guest RAM and file exchange bytes, whatever the pieces and the host's calls.

use std::{
    io::{Read, Write},
    os::{
        fd::AsFd,
        unix::{fs::FileExt, net::UnixStream},
    },
};

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::*;
use crate::memory::Segment;

/// RAM in two regions that touch, so that a segment may cross from one to the other.
fn ram() -> GuestMemoryMmap {
    GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x10000), (GuestAddress(0x10000), 0x10000)]).unwrap()
}

fn segment(address: u64, len: u32) -> Segment {
    Segment { address: GuestAddress(address), len }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

#[test]
fn bytes_land_where_they_belong_across_regions_and_empty_segments() {
    let ram = ram();
    let file = tempfile::tempfile().unwrap();
    let written = pattern(0x1234);
    ram.write_slice(&written[..0x1000], GuestAddress(0xf800)).unwrap();
    ram.write_slice(&written[0x1000..], GuestAddress(0x100)).unwrap();
    let segments = [segment(0xf800, 0x1000), segment(0x500, 0), segment(0x100, 0x234)];
    write_at(&file, 1000, GuestBuffer { ram: &ram, segments: &segments }).unwrap();

    let mut on_disk = vec![0; written.len()];
    file.read_exact_at(&mut on_disk, 1000).unwrap();
    assert_eq!(on_disk, written);

    let back = [segment(0x4000, 1), segment(0x6000, 0x1233)];
    read_at(&file, 1000, GuestBuffer { ram: &ram, segments: &back }).unwrap();
    let mut read = vec![0; written.len()];
    ram.read_slice(&mut read[..1], GuestAddress(0x4000)).unwrap();
    ram.read_slice(&mut read[1..], GuestAddress(0x6000)).unwrap();
    assert_eq!(read, written);
}

#[test]
fn more_pieces_than_one_call_takes_are_split() {
    let ram = ram();
    let file = tempfile::tempfile().unwrap();
    let written = pattern(3 * 2 * MAX_PIECES + 3);
    ram.write_slice(&written, GuestAddress(0)).unwrap();
    let segments: Vec<_> = (0..written.len() as u64 / 3).map(|at| segment(at * 3, 3)).collect();
    write_at(&file, 0, GuestBuffer { ram: &ram, segments: &segments }).unwrap();
    let mut on_disk = vec![0; written.len()];
    file.read_exact_at(&mut on_disk, 0).unwrap();
    assert_eq!(on_disk, written);
}

#[test]
fn a_file_that_ends_early_is_an_error_and_not_a_loop() {
    let ram = ram();
    let file = tempfile::tempfile().unwrap();
    file.set_len(512).unwrap();
    let segments = [segment(0, 1024)];
    let error = read_at(&file, 0, GuestBuffer { ram: &ram, segments: &segments }).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn what_is_not_ram_is_refused_before_the_host_sees_it() {
    let ram = ram();
    let file = tempfile::tempfile().unwrap();
    let segments = [segment(0x1f000, 0x1001)];
    assert!(write_at(&file, 0, GuestBuffer { ram: &ram, segments: &segments }).is_err());
    assert_eq!(file.metadata().unwrap().len(), 0);
}

#[test]
fn a_short_transfer_goes_on_where_it_stopped() {
    let mut bytes = [0_u8; 12];
    let base: *mut u8 = bytes.as_mut_ptr();
    let piece = |at: usize, len| libc::iovec { iov_base: base.wrapping_add(at).cast(), iov_len: len };
    let mut pieces = [piece(0, 4), piece(4, 4), piece(8, 4)];
    advance(&mut pieces, 6);
    let left: Vec<_> =
        pieces.iter().map(|piece| (piece.iov_base.addr() - base.addr(), piece.iov_len)).collect();
    assert_eq!(left, [(4, 0), (6, 2), (8, 4)]);
}

#[test]
fn a_head_and_ram_go_in_one_call_each_way() {
    let ram = ram();
    let (here, mut there) = UnixStream::pair().unwrap();
    let sent = pattern(1000);
    ram.write_slice(&sent[..600], GuestAddress(0xff00)).unwrap();
    ram.write_slice(&sent[600..], GuestAddress(0x200)).unwrap();
    // The first piece crosses from one region to the next.
    let segments = [segment(0xff00, 600), segment(0x200, 400)];
    let buffer = GuestBuffer { ram: &ram, segments: &segments };
    for skip in [0, 1, 599, 600, 601, 1000, usize::MAX] {
        let expected = [b"head", &sent[skip.min(1000)..]].concat();
        assert_eq!(gather(here.as_fd(), b"head", buffer, skip).unwrap(), expected.len());
        let mut got = vec![0; expected.len()];
        there.read_exact(&mut got).unwrap();
        assert_eq!(got, expected, "{skip}");
    }

    let back = pattern(504);
    there.write_all(&back).unwrap();
    let mut head = [0; 4];
    let into = [segment(0xfff0, 100), segment(0x700, 3000)];
    let buffer = GuestBuffer { ram: &ram, segments: &into };
    assert_eq!(scatter(here.as_fd(), &mut head, buffer).unwrap(), 504);
    let mut got = vec![0; 500];
    buffer.copy_to(&mut got).unwrap();
    assert_eq!([&head, &got[..]].concat(), back);

    here.set_nonblocking(true).unwrap();
    let error = scatter(here.as_fd(), &mut head, buffer).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    drop(there);
    assert_eq!(scatter(here.as_fd(), &mut head, buffer).unwrap(), 0);
}

#[test]
fn more_pieces_than_one_call_takes_are_refused_whole() {
    let ram = ram();
    let (here, mut there) = UnixStream::pair().unwrap();
    let segments: Vec<_> = (0..MOST_PIECES as u64).map(|at| segment(at, 1)).collect();
    let few = GuestBuffer { ram: &ram, segments: &segments[1..] };
    assert_eq!(gather(here.as_fd(), b"h", few, 0).unwrap(), MOST_PIECES);
    there.read_exact(&mut vec![0; MOST_PIECES]).unwrap();
    let many = GuestBuffer { ram: &ram, segments: &segments };
    assert_eq!(gather(here.as_fd(), b"h", many, 0).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    let outside = [segment(0x1fffe, 3)];
    assert!(gather(here.as_fd(), b"h", GuestBuffer { ram: &ram, segments: &outside }, 0).is_err());
    there.set_nonblocking(true).unwrap();
    assert_eq!(there.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
}
