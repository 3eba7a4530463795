//! The framework's C symbols.

mod gic;
mod vcpu;
mod vm;

use crate::error::{Error, Result};

/// A place that the caller has for an answer. NULL is refused (model).
///
/// # Safety
/// A pointer that is not NULL is valid for a write.
#[expect(unsafe_code, reason = "writes where C says")]
unsafe fn answer<T>(place: *mut T, value: Result<T>) -> i32 {
    crate::error::code(value.and_then(|value| {
        if place.is_null() {
            return Err(Error::BadArgument);
        }
        // SAFETY: not NULL, and valid as the caller says.
        unsafe { place.write(value) };
        Ok(())
    }))
}
