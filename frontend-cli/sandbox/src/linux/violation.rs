//! What happens when a thread calls what it may not: one line that names the call and the thread, and the end of the process.
//!
//! It runs as the handler of SIGSYS, at any moment of any thread: it takes no memory and no lock.
#![expect(
    unsafe_code,
    reason = "a handler of signals reads what the kernel hands it, and may call little that is safe"
)]

use std::{ffi::c_void, io, sync::OnceLock};

use super::names;
use crate::Error;

/// `siginfo_t` of a system call that seccomp trapped (`sigaction(2)`, `si_code` `SYS_SECCOMP`).
#[repr(C)]
struct Trapped {
    signal: i32,
    error: i32,
    code: i32,
    #[cfg(target_pointer_width = "64")]
    _padding: i32,
    address: *const c_void,
    call: i32,
    architecture: u32,
}

const SYS_SECCOMP: i32 = 1;

/// What is called before the end, and the exit code.
static END: OnceLock<(fn(), i32)> = OnceLock::new();

/// Handles violations of this process from now on; `last` is called before it ends with `code`.
pub(super) fn handle(last: fn(), code: i32) -> Result<(), Error> {
    END.get_or_init(|| (last, code));
    // SAFETY: all of it is plain numbers, and zero is a value of each.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(i32, *const libc::siginfo_t, *mut c_void) = report;
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER;
    // SAFETY: `action` is whole, and `report` is of the form that SA_SIGINFO asks for and keeps to what a handler may do.
    let done = unsafe { libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut()) };
    if done == 0 { Ok(()) } else { Err(Error::new("SIGSYS", io::Error::last_os_error())) }
}

extern "C" fn report(_: i32, info: *const libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel hands a `siginfo_t`, which is longer than `Trapped` and aligned as it.
    let trapped = unsafe { &*info.cast::<Trapped>() };
    if trapped.code != SYS_SECCOMP {
        // Another process sent the signal.
        return;
    }
    let mut line = Line::default();
    let mut name = [0_u8; 16];
    // SAFETY: PR_GET_NAME writes at most 16 bytes.
    let named = unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) } == 0;
    let name = if named { name.split(|byte| *byte == 0).next().unwrap_or_default() } else { b"?" };
    let code = END.get().map_or(1, |(last, code)| {
        last();
        *code
    });
    line.add(b"hv: the sandbox ends this guest: its thread `");
    line.add(name);
    line.add(b"` called ");
    match names::of(i64::from(trapped.call)) {
        Some(call) => line.add(call.as_bytes()),
        None => line.add(b"a system call"),
    }
    line.add(b" (number ");
    line.number(trapped.call.unsigned_abs());
    line.add(b"), which it never needs; run `hv run --sandbox log` to see more, and report it\n");
    // SAFETY: the bytes are those of `line`; the process ends without running anything else of its own.
    unsafe {
        libc::write(libc::STDERR_FILENO, line.bytes.as_ptr().cast(), line.length);
        libc::_exit(code);
    }
}

/// A line of text that takes no memory; what has no room is cut.
struct Line {
    bytes: [u8; 256],
    length: usize,
}

impl Default for Line {
    fn default() -> Self {
        Self { bytes: [0; 256], length: 0 }
    }
}

impl Line {
    fn add(&mut self, text: &[u8]) {
        for byte in text {
            if let Some(place) = self.bytes.get_mut(self.length) {
                *place = *byte;
                self.length += 1;
            }
        }
    }

    fn number(&mut self, number: u32) {
        let mut divisor = 1_000_000_000;
        while divisor > 1 && number < divisor {
            divisor /= 10;
        }
        while divisor > 0 {
            let digit = u8::try_from(number / divisor % 10).unwrap_or_default();
            self.add(&[b'0' + digit]);
            divisor /= 10;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_without_help() {
        for number in [0, 7, 10, 59, 257, 4_294_967_295] {
            let mut line = Line::default();
            line.number(number);
            assert_eq!(std::str::from_utf8(&line.bytes[..line.length]).unwrap(), number.to_string());
        }
    }

    #[test]
    fn a_long_line_is_cut() {
        let mut line = Line::default();
        line.add(&[b'x'; 1000]);
        line.number(5);
        assert_eq!(line.length, line.bytes.len());
    }
}
