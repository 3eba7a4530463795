//! What a kernel's image says of itself.

use hv_kernels::image;

use crate::{Input, kernels, payload::mutate};

/// A valid kernel with changes, or the bytes as they are.
///
/// # Panics
/// A release is told that is not safe as a name.
pub fn kernel_image(data: &[u8]) {
    let mut input = Input::new(data);
    let bytes = match input.u8() {
        0..=0x3f => input.bytes(data.len()).to_vec(),
        0x40..=0x5f => mutate(kernels::arm64_image(), &kernels::ARM64_FIELDS, &mut input),
        0x60..=0x9f => mutate(kernels::zboot("gzip", &[0; 64]), &kernels::ZBOOT_FIELDS, &mut input),
        _ => mutate(kernels::bzimage(), &[(0x20e, 2), (0x206, 2), (0x236, 2), (0x400, 8)], &mut input),
    };
    match image::identify(&bytes) {
        Ok(image) => {
            if let Some(release) = image.release {
                assert!(
                    !release.is_empty() && release.len() <= 128 && !release.starts_with('.'),
                    "{release:?}"
                );
                assert!(release.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/'), "{release:?}");
            }
        }
        Err(error) => assert!(!format!("{error:#}").contains('\n'), "{error:#}"),
    }
}
