//! What of the process itself is made ready before anything is opened: no descriptor of others, an allocator that reads no files.
#![expect(unsafe_code, reason = "descriptors are closed by their number; mallopt has no safe form")]

/// Closes every descriptor above standard error: whoever started this process may have left some open by mistake. Call it
/// before anything is opened, and before there are threads.
pub fn ready() {
    close_inherited();
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    settle_allocator();
    #[cfg(target_os = "linux")]
    find_clock();
}

/// Finds the kernel's clock, which is in the auxiliary vector, and that in a file before Linux 6.4.
#[cfg(target_os = "linux")]
fn find_clock() {
    let _ = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let _ = rustix::param::page_size();
}

/// The first descriptor that is nobody's.
const FIRST: libc::c_int = 3;

fn close_inherited() {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: at this point nothing in this process has a descriptor above standard error, so none is closed under its owner.
        let closed = unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, 0) };
        if closed == 0 {
            return;
        }
    }
    close_listed();
}

/// For hosts without a call for it (Linux before 5.9, macOS).
fn close_listed() {
    let folder = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let numbers: Vec<libc::c_int> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for number in numbers.into_iter().filter(|number| *number >= FIRST) {
        // SAFETY: as above. The folder's own descriptor is closed already, and closing a number that is not open does nothing.
        unsafe { libc::close(number) };
    }
}

/// Has glibc's allocator read now what it reads of files, as a vCPU's thread may open none.
///
/// When many threads allocate it counts the processors (before 2.35, by a file): it is told what it would come to. When a thread
/// other than the first gives memory back for the first time it reads `vm.overcommit_memory`, and remembers it.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn settle_allocator() {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let arenas = libc::c_int::try_from(processors).unwrap_or(libc::c_int::MAX).saturating_mul(8);
    // SAFETY: two numbers; no memory of the allocator's users changes.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, arenas) };
    let take_and_give_back = || {
        let blocks: Vec<Vec<u8>> = (0..16).map(|_| Vec::with_capacity(64 << 10)).collect();
        drop(std::hint::black_box(blocks));
    };
    // Where there can be no thread there will be no guest.
    let _ = std::thread::Builder::new().spawn(take_and_give_back).map(std::thread::JoinHandle::join);
}
