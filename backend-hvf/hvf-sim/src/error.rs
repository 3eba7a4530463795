//! The framework's error codes (header: `arm64/hv_kern_types.h`, `hv_error.h`).

/// Why a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Error {
    /// `HV_ERROR`.
    Failed,
    /// `HV_BUSY`.
    Busy,
    /// `HV_BAD_ARGUMENT`.
    BadArgument,
    /// `HV_ILLEGAL_GUEST_STATE`.
    IllegalGuestState,
    /// `HV_NO_RESOURCES`.
    NoResources,
    /// `HV_NO_DEVICE`.
    NoDevice,
    /// `HV_UNSUPPORTED`.
    Unsupported,
}

pub(crate) type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// `hv_return_t`.
    fn code(self) -> i32 {
        let code: u32 = match self {
            Self::Failed => 0xfae9_4001,
            Self::Busy => 0xfae9_4002,
            Self::BadArgument => 0xfae9_4003,
            Self::IllegalGuestState => 0xfae9_4004,
            Self::NoResources => 0xfae9_4005,
            Self::NoDevice => 0xfae9_4006,
            Self::Unsupported => 0xfae9_400f,
        };
        code.cast_signed()
    }
}

/// `hv_return_t` of a result.
pub(crate) fn code(result: Result<()>) -> i32 {
    result.map_or_else(Error::code, |()| 0)
}
