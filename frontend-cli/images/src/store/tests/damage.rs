//! What is damaged, forged or too large.

use std::{fs, path::Path};

use super::*;
use crate::testing::{TestImage, blob, gzip, index, tar, zstd};

/// Makes a layout that `change` breaks, and says what is wrong with it.
fn broken(change: impl FnOnce(&Path, &mut TestImage)) -> String {
    let place = Place::new();
    let path = place.path("layout");
    let mut image = TestImage::new("amd64", &layers());
    change(&path, &mut image);
    if !path.join("index.json").exists() {
        index(&path, &[image.write(&path)]);
        let before = image.layers[0].0.clone();
        fs::write(path.join("blobs/sha256").join(Digest::of(&before).hex()), before).unwrap();
    }
    let error = place.error("layout");
    assert_eq!(place.files(), Vec::<String>::new(), "an image that failed leaves nothing");
    assert!(!error.contains('\n') && error.len() < 1000, "{error}");
    error
}

#[test]
fn damaged_and_forged_layers_are_named() {
    let forged = |change: fn(&mut Vec<u8>)| {
        broken(|path, image| {
            index(path, &[image.write(path)]);
            let name = path.join("blobs/sha256").join(Digest::of(&image.layers[0].0).hex());
            let mut bytes = image.layers[0].0.clone();
            change(&mut bytes);
            fs::write(name, bytes).unwrap();
        })
    };
    let size = TestImage::new("amd64", &layers()).layers[0].0.len();
    assert!(forged(|bytes| bytes.truncate(100)).contains(&format!("ends after 100 bytes of {size}")));
    assert!(forged(|bytes| bytes.push(0)).contains(&format!("goes on after its {size} bytes")));
    let error = forged(|bytes| *bytes.last_mut().unwrap() ^= 1);
    assert_eq!(error.matches("sha256:").count(), 3, "{error}");
    assert!(error.contains("damaged or forged"), "{error}");
    let error = forged(|bytes| bytes[20] ^= 1);
    assert!(error.contains("damaged or forged"), "{error}");
    let error = broken(|_, image| image.layers[0].0.truncate(100));
    assert!(error.contains("layer sha256:"), "{error}");
    let error = broken(|_, image| image.layers[1].1[0] ^= 1);
    assert!(error.contains("unpacked") && error.contains("damaged or forged"), "{error}");
    let error = broken(|_, image| image.layers[0].0 = zstd(&image.layers[0].1)[..50].to_vec());
    assert!(error.contains("zstd"), "{error}");
}

#[test]
fn forged_documents_are_named() {
    let text = |name: &'static str, change: fn(&str) -> String| {
        broken(move |path, image| {
            let descriptor = image.write(path);
            index(path, std::slice::from_ref(&descriptor));
            let digest = match name {
                "manifest" => descriptor.digest,
                _ => Digest::of(&image.config()),
            };
            let file = path.join("blobs/sha256").join(digest.hex());
            fs::write(&file, change(&fs::read_to_string(&file).unwrap())).unwrap();
        })
    };
    for name in ["manifest", "config"] {
        let error = text(name, |text| text.replacen('2', "3", 1));
        assert!(error.contains("damaged or forged"), "{error}");
        let error = text(name, |text| format!("{text} "));
        assert!(error.contains("goes on after"), "{error}");
    }
    let index_json = |bytes: &'static [u8]| {
        broken(move |path, image| {
            index(path, &[image.write(path), blob(path, "", b"abc")]);
            fs::write(path.join("index.json"), bytes).unwrap();
        })
    };
    assert!(index_json(b"{").contains("index.json"));
    assert!(index_json(b"{\"schemaVersion\": 1}").contains("schema version 1"));
    assert!(index_json(b"{\"schemaVersion\": 2, \"manifests\": []}").contains("no image"));
    let huge = br#"{"schemaVersion": 2, "manifests": [{"size": 99999999999, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}]}"#;
    assert!(index_json(huge).contains("99999999999"), "{}", index_json(huge));
    let error = broken(|path, image| {
        let layers: Vec<_> = (0..501).map(|_| blob(path, "x", b"")).collect();
        let config = blob(path, crate::manifest::OCI_CONFIG, &image.config());
        let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": layers});
        let media_type = crate::manifest::OCI_MANIFEST;
        index(path, &[blob(path, media_type, &serde_json::to_vec(&manifest).unwrap())]);
    });
    assert!(error.contains("an image of 501 layers"), "{error}");
}

#[test]
fn bombs_stop_at_the_limits() {
    let place = Place::new();
    let limits = Limits { layer_bytes: 1 << 20, image_bytes: 3 << 19, ..Limits::default() };
    let store = Store::open(&place.path("store")).unwrap().with_limits(limits);
    let path = place.path("layout");
    let big = |size: usize, name: &str| tar(|tar| drop(tar.file(name, &vec![0; size]).finish()));
    let error = |layers: &[Vec<u8>]| {
        index(&path, &[TestImage::new("amd64", layers).write(&path)]);
        let result = store.import(&path, None, ARCHITECTURE, &mut Quiet);
        format!("{:#}", result.expect_err("a limit"))
    };
    assert!(error(&[big(1 << 20, "a")]).contains("larger than the limit of 1048576 bytes"));
    let text = error(&[big(1 << 19, "a"), big(1 << 19, "b"), big(1 << 19, "c")]);
    assert!(text.contains("larger than the limit of"), "{text}");
    // Behind the archive's end it is packed data all the same.
    let mut behind = big(10, "a");
    behind.resize(2 << 20, 0);
    assert!(error(&[behind.clone()]).contains("larger than the limit of 1048576 bytes"));
    fs::write(place.path("bomb.gz"), gzip(&behind)).unwrap();
    let text = store.import(&place.path("bomb.gz"), None, ARCHITECTURE, &mut Quiet).unwrap_err();
    assert!(format!("{text:#}").contains("larger than the limit"), "{text:#}");
    assert_eq!(place.files(), Vec::<String>::new());
}
