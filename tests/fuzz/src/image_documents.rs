//! The JSON documents of images: manifests, indexes, configurations, and what `docker save` writes.

use std::fmt::{Debug, Display};

use hv_images::{
    config,
    manifest::{self, MOST_LAYERS, OCI_INDEX, OCI_MANIFEST, Parsed},
    source::parse_manifest,
};

/// One document; the first byte says which it should be.
///
/// # Panics
/// One that is refused is so in more than one line; one that is not breaks a bound, or is another when it was written
/// and read again.
pub fn image_documents(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    match kind % 5 {
        0 => check(manifest::parse(OCI_MANIFEST, bytes).inspect(again)),
        1 => check(manifest::parse(OCI_INDEX, bytes).inspect(again)),
        2 => check(manifest::parse("", bytes).inspect(again)),
        3 => check(config::parse(bytes).inspect(|parsed| {
            let mut words = parsed.config.environment.iter().chain(&parsed.config.command);
            assert!(words.all(|word| !word.contains('\0') && word.len() <= config::MOST_WORD));
        })),
        _ => check(parse_manifest(bytes).inspect(|images| {
            assert!(images.iter().flat_map(|image| &image.layers).all(|layers| layers.len() <= MOST_LAYERS));
        })),
    }
}

fn again(parsed: &Parsed) {
    let written = match parsed {
        Parsed::Manifest(manifest) => serde_json::to_vec(manifest),
        Parsed::Index(index) => serde_json::to_vec(index),
    };
    // What says nothing of its kind is known by what is in it.
    let read = manifest::parse("", &written.expect("a document is written"));
    match (parsed, read.expect("and read again")) {
        (Parsed::Manifest(one), Parsed::Manifest(two)) => {
            assert!(two.layers.len() <= MOST_LAYERS);
            assert_eq!((&one.config, &one.layers), (&two.config, &two.layers));
        }
        (Parsed::Index(one), Parsed::Index(two)) => assert_eq!(one.manifests, two.manifests),
        _ => panic!("another kind"),
    }
}

fn check<T>(result: Result<T, impl Debug + Display>) {
    if let Err(error) = result {
        let message = format!("{error:#}");
        assert!(!message.contains('\n') && message.len() < 2000, "{message}");
    }
}
