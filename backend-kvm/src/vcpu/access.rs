//! `Access`: what an exit of KVM asks for, taken apart into accesses of 1, 2, 4 or 8 bytes.

use hv_core::hypervisor::Exit;

use crate::run_page::{RawAccess, RunPage};

/// Loads or stores that the guest waits for, one after the other.
#[derive(Debug)]
pub(super) struct Access {
    ports: bool,
    write: bool,
    /// Of the element that is next.
    address: u64,
    /// Where the element lies in the run pages.
    offset: usize,
    /// Where the last one ends.
    end: usize,
    /// Size of this element; for memory, the next may have another.
    width: usize,
    buffer: [u8; 8],
}

impl Access {
    /// `IN`, `OUT`, or as many elements of `INS`, `OUTS` as KVM took together: each is an access to the same port.
    pub(super) fn ports(raw: RawAccess) -> Self {
        Self::new(true, raw, raw.width.clamp(1, 4))
    }

    /// A load or store. KVM divides what crosses a page or is wider than 8 bytes; a piece can be of any size up to 8.
    pub(super) fn memory(raw: RawAccess) -> Self {
        Self::new(false, raw, piece(raw.address, raw.width))
    }

    fn new(ports: bool, raw: RawAccess, width: usize) -> Self {
        let RawAccess { write, address, offset, .. } = raw;
        let end = offset.saturating_add(raw.width.saturating_mul(raw.count));
        Self { ports, write, address, offset, end, width, buffer: [0; 8] }
    }

    /// Shows the machine the element that is next.
    pub(super) fn show(&mut self, page: &RunPage) -> Exit<'_> {
        let (address, width) = (self.address, self.width);
        let data = self.buffer.split_at_mut(width).0;
        if self.write {
            page.read(self.offset, data);
        } else {
            data.fill(0);
        }
        let port = u16::try_from(address).unwrap_or(u16::MAX);
        match (self.ports, self.write) {
            (false, false) => Exit::MmioRead { address, data },
            (false, true) => Exit::MmioWrite { address, data },
            (true, false) => Exit::PioRead { port, data },
            (true, true) => Exit::PioWrite { port, data },
        }
    }

    /// Takes the answer and goes to the next element, if there is one.
    pub(super) fn advance(&mut self, page: &RunPage) -> bool {
        if !self.write {
            page.write(self.offset, self.buffer.split_at(self.width).0);
        }
        self.offset += self.width;
        if !self.ports {
            self.address = self.address.wrapping_add(self.width as u64);
            self.width = piece(self.address, self.end.saturating_sub(self.offset));
        }
        self.offset < self.end
    }

    /// Answers all that is left with ones.
    pub(super) fn abandon(&mut self, page: &RunPage) {
        self.buffer = [0xff; 8];
        while self.advance(page) {}
    }
}

/// The widest access that `size` bytes at `address` can begin with: whole if 1, 2, 4 or 8, else aligned parts.
fn piece(address: u64, size: usize) -> usize {
    match size {
        0 => 1,
        1 | 2 | 4 => size,
        8.. => 8,
        _ => [4, 2, 1]
            .into_iter()
            .find(|part| *part <= size && address.is_multiple_of(*part as u64))
            .unwrap_or(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> RunPage {
        let file = tempfile::tempfile().unwrap();
        file.set_len(0x3000).unwrap();
        RunPage::map(file, 0x3000).unwrap()
    }

    fn raw(write: bool, address: u64, width: usize, count: usize) -> RawAccess {
        RawAccess { write, address, offset: 0x1000, width, count }
    }

    #[test]
    fn string_output_is_one_access_for_each_element() {
        let page = page();
        page.write(0x1000, &[1, 2, 3, 4, 5, 6]);
        let mut access = Access::ports(raw(true, 0x3f8, 2, 3));
        for (last, bytes) in [(false, [1, 2]), (false, [3, 4]), (true, [5, 6])] {
            assert_eq!(access.show(&page), Exit::PioWrite { port: 0x3f8, data: &bytes });
            assert_eq!(access.advance(&page), !last);
        }
    }

    #[test]
    fn string_input_takes_an_answer_for_each_element() {
        let page = page();
        let mut access = Access::ports(raw(false, 0x60, 1, 3));
        for answer in 7..10 {
            match access.show(&page) {
                Exit::PioRead { port: 0x60, data: [byte] } => *byte = answer,
                other => panic!("{other:?}"),
            }
            assert_eq!(access.advance(&page), answer < 9);
        }
        let mut stored = [0; 4];
        page.read(0x1000, &mut stored);
        assert_eq!(stored, [7, 8, 9, 0]);
    }

    #[test]
    fn an_odd_piece_of_a_store_is_divided_at_natural_boundaries() {
        let page = page();
        page.write(0x1000, &[1, 2, 3, 4, 5, 6, 7]);
        let mut access = Access::memory(raw(true, 0xffd, 3, 1));
        assert_eq!(access.show(&page), Exit::MmioWrite { address: 0xffd, data: &[1] });
        assert!(access.advance(&page));
        assert_eq!(access.show(&page), Exit::MmioWrite { address: 0xffe, data: &[2, 3] });
        assert!(!access.advance(&page));
        let mut access = Access::memory(raw(true, 0xff9, 4, 1));
        assert_eq!(access.show(&page), Exit::MmioWrite { address: 0xff9, data: &[1, 2, 3, 4] });
        assert!(!access.advance(&page));
    }

    #[test]
    fn what_is_abandoned_reads_as_ones() {
        let page = page();
        Access::ports(raw(false, 0x60, 4, 5)).abandon(&page);
        let mut stored = [0; 21];
        page.read(0x1000, &mut stored);
        assert_eq!((&stored[..20], stored[20]), ([0xff; 20].as_slice(), 0));
    }
}
