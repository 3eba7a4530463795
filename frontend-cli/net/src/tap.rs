//! A tap: an interface of the host's kernel whose other end is the guest's card (Linux).

#[cfg(target_os = "linux")]
mod control;
#[cfg(target_os = "linux")]
mod linux;

use hv_core::net::NetBackend;

use crate::NetError;

/// The most queue pairs of a tap (`MAX_TAP_QUEUES`).
const MOST_QUEUES: u16 = 256;

/// Bytes of an interface's name: `IFNAMSIZ` less the zero that ends it.
const LONGEST_NAME: usize = 15;

/// Takes the tap `name`, which must be there and this user's, with `queues` queue pairs: a backend for each. It needs
/// no privilege, and never makes an interface.
///
/// # Errors
/// There is no such tap, it is not this user's, it is busy, or it was made for one queue.
pub fn open(name: &str, queues: u16) -> Result<Vec<Box<dyn NetBackend>>, NetError> {
    let is_name = |letter: u8| letter.is_ascii_graphic() && !b"/:%".contains(&letter);
    if !(1..=LONGEST_NAME).contains(&name.len()) || !name.bytes().all(is_name) || name.starts_with('.') {
        return Err(NetError::TapName { name: name.to_owned() });
    }
    if !(1..=MOST_QUEUES).contains(&queues) {
        return Err(NetError::Queues { queues });
    }
    attach(name, queues)
}

#[cfg(target_os = "linux")]
fn attach(name: &str, queues: u16) -> Result<Vec<Box<dyn NetBackend>>, NetError> {
    let taps = linux::attach(name, queues)?.into_iter();
    Ok(taps.map(|tap| -> Box<dyn NetBackend> { Box::new(tap) }).collect())
}

#[cfg(not(target_os = "linux"))]
fn attach(name: &str, _: u16) -> Result<Vec<Box<dyn NetBackend>>, NetError> {
    Err(NetError::TapElsewhere { name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_names_and_numbers_are_refused_before_the_host_is_asked() {
        for name in ["", "a b", "a/b", "sixteen-letters-", ".", "..", "tap%d", "täp", "a\nb", "eth0:1"] {
            let error = open(name, 1).err().unwrap();
            assert!(matches!(error, NetError::TapName { .. }), "{error}");
        }
        for queues in [0, 257] {
            assert!(matches!(open("hv-tap", queues).err().unwrap(), NetError::Queues { .. }));
        }
    }
}
