//! Unpacking an image's layers into the cache, against tar on the same file system.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use hv_boot_tests::Host;

use crate::{
    Figures,
    images::{Place, images, succeed},
};

pub(crate) fn measure(runs: usize, arch: &str) -> Result<()> {
    let layer = first_layer(arch)?;
    let folder = tempfile::tempdir()?;
    let plain = folder.path().join("root.tar");
    let zstd = folder.path().join("root.tar.zst");
    let script = r#"gzip -dc "$1" >"$2" && zstd -q -3 "$2" -o "$3""#;
    succeed(Command::new("bash").args(["-c", script, "pack"]).arg(&layer).arg(&plain).arg(&zstd))?;
    println!("| unpack | `hv image import`, s (range) | unpacked by `tar -x`, s (range) | speed of tar's |");
    println!("| --- | --- | --- | --- |");
    let image = format!("debian-{arch}");
    let whole = [images()?.join("layout").into_os_string(), image.into()];
    let archive = |path: &Path| [path.as_os_str().to_owned(), "debian".into()];
    for (form, import, file, unpack) in [
        ("gzip, an OCI layout", whole, &layer, "gzip -dc"),
        ("zstd -3, one archive", archive(&zstd), &zstd, "zstd -dcq"),
        ("not packed, one archive", archive(&plain), &plain, "cat"),
    ] {
        let (mut ours, mut tar) = (Figures::default(), Figures::default());
        for _ in 0..runs {
            let place = Place::empty(Host::Native)?;
            let mut command = place.hv();
            ours.push(
                succeed(command.args(["image", "import"]).args(&import).args(["--arch", arch]))?
                    .as_secs_f64(),
            );
            let root = place.path().join("root");
            fs::create_dir(&root)?;
            let script =
                format!(r#"set -o pipefail; {unpack} "$1" | tar -x --xattrs --numeric-owner -C "$2""#);
            let mut command = Command::new("bash");
            command.args(["-c", &script, "tar"]).arg(file).arg(&root);
            tar.push(succeed(&mut command)?.as_secs_f64());
        }
        let ((low, high), (tar_low, tar_high)) = (ours.range(), tar.range());
        println!(
            "| Debian, {arch}: {form} | {:.2} ({low:.2}–{high:.2}) | {:.2} ({tar_low:.2}–{tar_high:.2}) | {:.2} |",
            ours.median(),
            tar.median(),
            tar.median() / ours.median()
        );
    }
    Ok(())
}

/// The file of the image's first layer, by the layout's own index and manifest. The others hold one small file each, and lack the
/// end of an archive, which tar insists on.
fn first_layer(arch: &str) -> Result<PathBuf> {
    let layout = images()?.join("layout");
    let blob = |digest: &str| layout.join("blobs/sha256").join(digest);
    let index = fs::read_to_string(layout.join("index.json"))?;
    let name = format!("\"debian-{arch}\"");
    let (before, _) = index.split_once(&name).with_context(|| format!("the layout has no {name}"))?;
    let manifest = fs::read_to_string(blob(digests(before).last().context("no manifest")?))?;
    let (_, layers) = manifest.split_once("\"layers\"").context("the manifest has no layers")?;
    digests(layers).next().map(blob).context("the image has no layers")
}

/// The digests in a text, in order.
fn digests(text: &str) -> impl Iterator<Item = &str> {
    text.split("sha256:").skip(1).filter_map(|rest| rest.get(..64))
}
