//! `sandbox_init` (`sandbox.h`), made safe. It is marked as deprecated since macOS 10.8 and is what browsers go on to use.
#![expect(unsafe_code, reason = "sandbox_init is a C function that hands out a string")]

use std::{
    ffi::{CStr, CString, c_char, c_int},
    ptr,
};

use crate::Error;

unsafe extern "C" {
    fn sandbox_init(profile: *const c_char, flags: u64, error: *mut *mut c_char) -> c_int;
    fn sandbox_free_error(error: *mut c_char);
}

/// Puts the process into a sandbox with the profile `text`, for good.
pub(super) fn enter(text: &str) -> Result<(), Error> {
    let text = CString::new(text).map_err(|error| Error::new("sandbox_init", error))?;
    let mut error = ptr::null_mut();
    // SAFETY: `text` ends with a NUL and lives on; flags of 0 say that it is a profile and not the name of one; `error` is written
    // before the call returns.
    let result = unsafe { sandbox_init(text.as_ptr(), 0, &raw mut error) };
    if result == 0 {
        return Ok(());
    }
    if error.is_null() {
        return Err(Error::new("sandbox_init", "no reason is told"));
    }
    // SAFETY: a failed call leaves a string that ends with a NUL, until it is freed.
    let reason = unsafe { CStr::from_ptr(error) }.to_string_lossy().into_owned();
    // SAFETY: the string is that of the call, and is not used any more.
    unsafe { sandbox_free_error(error) };
    Err(Error::new("sandbox_init", reason))
}
