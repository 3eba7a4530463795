//! macOS's own network for guests, vmnet.framework: a NAT with DHCP, or a network of this Mac and its guests alone.

#[cfg(any(target_os = "macos", test))]
mod cable;
#[cfg(any(target_os = "macos", test))]
mod events;
#[cfg(target_os = "macos")]
mod framework;
#[cfg(any(target_os = "macos", test))]
mod status;

use hv_core::net::NetBackend;

use crate::NetError;

/// What vmnet makes of the guest's network (`operating_modes_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// The guest reaches this Mac, other guests and by NAT what this Mac reaches.
    #[default]
    Shared,
    /// The guest reaches this Mac and other guests.
    Host,
}

/// Starts an interface of vmnet. macOS gives it to root, and to programs that Apple has given the entitlement
/// `com.apple.vm.networking`.
///
/// # Errors
/// This is no Mac, or macOS refuses it.
#[cfg(target_os = "macos")]
pub fn open(mode: Mode) -> Result<Box<dyn NetBackend>, NetError> {
    Ok(Box::new(cable::Cable::new(framework::Framework::start(mode)?)))
}

/// Refuses: vmnet is macOS's.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "macos"))]
pub fn open(_: Mode) -> Result<Box<dyn NetBackend>, NetError> {
    Err(NetError::VmnetElsewhere)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_given_or_refused_with_a_cure() {
        // Root has it on a Mac, and there is none elsewhere.
        match open(Mode::Host) {
            Ok(cable) => assert!(cfg!(target_os = "macos") && cable.is_up()),
            Err(error) => assert!(error.to_string().contains("; "), "{error}"),
        }
    }
}
