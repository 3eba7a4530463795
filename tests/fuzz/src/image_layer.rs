//! Layers of images: tar archives of any bytes.

use hv_images::{Limits, erofs::Writer, layer::Root, tar::Archive};

/// Bytes in a block of a tar archive.
const BLOCK: usize = 512;

/// Any bytes, with checksums made right wherever there seems to be a header, as two layers one on top of the other.
///
/// # Panics
/// A layer that is refused is so in more than one line, or the image of one that is not cannot be written.
pub fn image_layer(data: &[u8]) {
    let mut bytes = data.to_vec();
    bytes.chunks_exact_mut(BLOCK).filter(|block| block[257..].starts_with(b"ustar")).for_each(sign);
    let limits = Limits { entries: 256, ..Limits::default() };
    let file = tempfile::tempfile().expect("a temporary file");
    let mut root = Root::new(Writer::new(file).expect("an empty image"), &limits);
    for _ in 0..2 {
        if let Err(error) = root.apply(&mut Archive::new(&bytes[..])) {
            let message = format!("{error:#}");
            assert!(!message.contains('\n') && message.len() < 2000, "{message}");
            return;
        }
    }
    let size = root.finish([7; 16]).expect("the image is written");
    assert!(size.is_multiple_of(4096), "{size} bytes");
}

/// Makes a header's checksum right.
fn sign(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}
