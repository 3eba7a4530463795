//! What the framework's error codes mean to a person (`hv_error.h`).

use std::{env, io};

pub(super) const HV_BUSY: u32 = 0xfae9_4002;
const HV_BAD_ARGUMENT: u32 = 0xfae9_4003;
const HV_DENIED: u32 = 0xfae9_4007;
const HV_UNSUPPORTED: u32 = 0xfae9_400f;

/// The refusal as an error whose text says what to do, where that is known.
pub(super) fn explain(code: u32) -> io::Error {
    use io::ErrorKind as Kind;
    match code {
        0xfae9_4001 => io::Error::other("HV_ERROR: the framework does not say why"),
        HV_BUSY => io::Error::new(
            Kind::ResourceBusy,
            "HV_BUSY: this process has a virtual machine already; Hypervisor.framework allows one at a time",
        ),
        HV_BAD_ARGUMENT => io::Error::new(Kind::InvalidInput, "HV_BAD_ARGUMENT: an argument is invalid"),
        0xfae9_4004 => io::Error::other("HV_ILLEGAL_GUEST_STATE: the guest's state is invalid"),
        0xfae9_4005 => {
            io::Error::new(Kind::OutOfMemory, "HV_NO_RESOURCES: the host has no resources left for it")
        }
        0xfae9_4006 => io::Error::new(Kind::NotFound, "HV_NO_DEVICE: there is no such VM or vCPU"),
        HV_DENIED => io::Error::new(Kind::PermissionDenied, unsigned(&own_path())),
        0xfae9_4008 => io::Error::other("HV_FAULT: an address is invalid"),
        HV_UNSUPPORTED => io::Error::new(
            Kind::Unsupported,
            "this host has no virtualization (HV_UNSUPPORTED): it is itself a virtual machine without nested \
             virtualization, or older than the request needs",
        ),
        code => io::Error::other(format!("error {code:#x}")),
    }
}

fn unsigned(path: &str) -> String {
    format!(
        "this binary lacks the entitlement com.apple.security.hypervisor; sign it: \
         codesign --sign - --entitlements backend-hvf/entitlements.plist --force {path}"
    )
}

fn own_path() -> String {
    env::current_exe().map_or_else(|_| "PATH".into(), |path| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_to_do() {
        let denied = explain(HV_DENIED);
        assert_eq!(denied.kind(), io::ErrorKind::PermissionDenied);
        assert!(
            denied.to_string().ends_with(&own_path()) && denied.to_string().contains("codesign --sign -")
        );
        assert!(explain(HV_UNSUPPORTED).to_string().starts_with("this host has no virtualization"));
        assert!(explain(HV_BUSY).to_string().contains("one at a time"));
        assert_eq!(explain(0x1234).to_string(), "error 0x1234");
        for code in (0xfae9_4001..=0xfae9_4008).chain([HV_UNSUPPORTED]) {
            assert!(!explain(code).to_string().contains('\n'));
        }
    }
}
