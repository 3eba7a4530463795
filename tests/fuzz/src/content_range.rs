//! Which bytes of a blob an answer has: the `Content-Range` header.

use hv_images::registry::content_range::ContentRange;

/// The bytes as a header, by themselves and behind `bytes `.
///
/// A range that is read lies within its total, and is read the same when it is written down again.
///
/// # Panics
/// One of these is not so.
pub fn content_range(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for header in [text.to_string(), format!("bytes {text}")] {
        let Some(range) = ContentRange::parse(&header) else { continue };
        let ContentRange { first, last, total } = range;
        assert!(first <= last && total.is_none_or(|total| last < total));
        let total = total.map_or("*".to_owned(), |total| total.to_string());
        assert_eq!(ContentRange::parse(&format!("bytes {first}-{last}/{total}")), Some(range));
    }
}
