//! Names of images, as people write them.

use hv_images::{Digest, Reference};

/// A name of any bytes.
///
/// # Panics
/// What was completed is not complete, has letters that a registry's address could not have, or is refused in more
/// than one line.
pub fn image_reference(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match text.parse::<Reference>() {
        Ok(reference) => {
            let whole = reference.to_string();
            assert_eq!(whole.parse::<Reference>().expect("a complete name"), reference);
            assert!(reference.tag.is_some() || reference.digest.is_some(), "{whole}");
            assert!(reference.repository.split('/').all(|part| !matches!(part, "" | "." | "..")), "{whole}");
            assert!(whole.bytes().all(|byte| byte.is_ascii_graphic()), "{whole}");
        }
        Err(error) => {
            let message = format!("{error:#}");
            assert!(!message.contains('\n') && message.len() < 5000, "{message}");
        }
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
    }
}
