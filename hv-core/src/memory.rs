//! Guest RAM: where it lies and how it is shared between the machine and its devices.

mod buffer;
mod layout;
mod segment;
pub mod volatile_io;

use std::sync::Arc;

use vm_memory::{
    GuestMemoryBackend, GuestMemoryRegion, GuestRegionMmap, MmapRegion,
    mmap::{MmapRegionBuilder, MmapRegionError},
};

pub use buffer::GuestBuffer;
pub use layout::{GRANULE, LayoutError, RamLayout};
pub use segment::{Segment, parts};
pub use vm_memory::{GuestAddress, GuestMemoryMmap};

/// All of a guest's RAM, mapped in this process and shared by everything that reads or writes it.
pub type GuestRam = Arc<GuestMemoryMmap>;

/// Size of the large pages of x86_64 and, with pages of 4 KiB, of aarch64.
const LARGE_PAGE: usize = 2 << 20;

/// The host does not give the guest its RAM.
#[derive(Debug, thiserror::Error)]
#[error("cannot map {} MiB of guest memory: {reason}; give less by --memory", size >> 20)]
pub struct AllocateError {
    size: u64,
    reason: String,
}

/// Maps the RAM of `layout`: private to this process, zeroed, and given by the host page by page when the
/// guest first touches it.
///
/// # Errors
/// The host has not so much address space to give.
pub fn allocate(layout: &RamLayout) -> Result<GuestRam, AllocateError> {
    let error = |reason: String| AllocateError { size: layout.size(), reason };
    let map = |range: &std::ops::Range<u64>| {
        let size = usize::try_from(range.end - range.start).map_err(|e| error(e.to_string()))?;
        let mapping = map_aligned(size).map_err(|e| error(e.to_string()))?;
        GuestRegionMmap::new(mapping, GuestAddress(range.start)).ok_or_else(|| error("it wraps".to_owned()))
    };
    let regions = layout.ranges().iter().map(map).collect::<Result<Vec<_>, _>>()?;
    let ram = GuestMemoryMmap::from_regions(regions).map_err(|e| error(e.to_string()))?;
    Ok(Arc::new(ram))
}

/// Maps `size` bytes, if it can at a multiple of [`LARGE_PAGE`]: only there can a large page of the host be one of the guest's.
fn map_aligned(size: usize) -> Result<MmapRegion, MmapRegionError> {
    let mapping = map(size)?;
    let astray = mapping.as_ptr().addr() % LARGE_PAGE;
    if astray == 0 || size < LARGE_PAGE {
        return Ok(mapping);
    }
    drop(mapping);
    // Hosts place a mapping right below the one before, so one of this size makes the next one begin where it should.
    let _above = map(astray)?;
    map(size)
}

fn map(size: usize) -> Result<MmapRegion, MmapRegionError> {
    MmapRegionBuilder::new(size)
        .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
        .with_mmap_flags(libc::MAP_ANONYMOUS | libc::MAP_PRIVATE | libc::MAP_NORESERVE)
        .build()
}

/// The regions of `ram`, for a virtual machine to show to its guest.
pub fn regions(ram: &GuestRam) -> impl Iterator<Item = Arc<GuestRegionMmap>> {
    // A region that was made before has an end, so it can be made again.
    ram.iter()
        .filter_map(|region| GuestRegionMmap::with_arc(region.get_mmap(), region.start_addr()).map(Arc::new))
}

#[cfg(test)]
mod tests {
    use vm_memory::{Bytes, GuestMemoryBackend, GuestMemoryRegion};

    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn the_guest_gets_zeroed_ram_where_the_layout_says() {
        let layout = RamLayout::new(4 * GIB, 3 * GIB..4 * GIB, 448 * GIB).unwrap();
        let ram = allocate(&layout).unwrap();
        let got: Vec<_> = ram.iter().map(|region| region.start_addr().0..region.last_addr().0 + 1).collect();
        assert_eq!(got, layout.ranges());
        let last = GuestAddress(5 * GIB - 1);
        assert_eq!(ram.read_obj::<u8>(last).unwrap(), 0);
        ram.write_obj(0x55_u8, last).unwrap();
        assert_eq!(ram.read_obj::<u8>(last).unwrap(), 0x55);
        assert!(ram.read_obj::<u8>(GuestAddress(3 * GIB)).is_err());
    }

    #[test]
    fn a_second_try_is_still_all_of_the_ram() {
        // Whatever lies above, the size is kept and every byte is there.
        let _crooked = map(12 << 10).unwrap();
        let mapping = map_aligned(8 << 20).unwrap();
        assert_eq!(mapping.size(), 8 << 20);
        let small = map_aligned(64 << 10).unwrap();
        assert_eq!(small.size(), 64 << 10);
    }

    #[test]
    fn a_size_beyond_the_host_is_refused_in_one_line() {
        let layout = RamLayout::new(1 << 60, 3 * GIB..4 * GIB, 1 << 62).unwrap();
        let line = allocate(&layout).unwrap_err().to_string();
        assert!(line.starts_with("cannot map 1099511627776 MiB of guest memory: "), "{line}");
        assert!(!line.contains('\n'));
    }
}
