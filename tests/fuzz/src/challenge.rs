//! How a registry wants to be told who asks: the `WWW-Authenticate` header.

use hv_images::registry::challenge::{Challenge, parse};

/// The bytes as a header.
///
/// What is read is bounded, made of the header's own characters, and read the same when it is written down again.
///
/// # Panics
/// One of these is not so.
pub fn challenge(data: &[u8]) {
    let header = String::from_utf8_lossy(data);
    let challenges = parse(&header);
    assert!(challenges.len() <= 8);
    let mut length = 0;
    for challenge in &challenges {
        assert!(!challenge.scheme.is_empty() && challenge.is(&challenge.scheme.to_ascii_lowercase()));
        assert!(challenge.parameters.len() <= 16);
        length += challenge.scheme.len();
        for (name, value) in &challenge.parameters {
            assert_eq!(*name, name.to_ascii_lowercase());
            assert!(challenge.parameter(name).is_some());
            length += name.len() + value.len();
        }
    }
    assert!(length <= header.len(), "more than the header has");
    let written = challenges.iter().map(write).collect::<Vec<_>>().join(", ");
    assert_eq!(parse(&written), challenges, "{written:?}");
}

fn write(challenge: &Challenge) -> String {
    let parameters = challenge.parameters.iter().map(|(name, value)| {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"");
        format!("{name}=\"{value}\"")
    });
    format!("{} {}", challenge.scheme, parameters.collect::<Vec<_>>().join(", "))
}
