//! Kernels as Debian packages them, of two releases and both architectures.

use std::{fs, process::Command};

use anyhow::{Context, Result, ensure};
use hv_boot_tests::{
    Kernel,
    images::{Home, said},
};

/// Packs real kernels with their modules as Debian does, imports each package, and runs a guest on one.
pub(super) fn packages_of_debians_kernels_are_imported(home: &Home) -> Result<()> {
    for (name, packing, architecture) in [
        ("bookworm", "zstd", "x86_64"),
        ("trixie-backports-cloud", "xz", "x86_64"),
        ("arm64-bookworm", "zstd", "aarch64"),
        ("arm64-trixie-backports-cloud", "xz", "aarch64"),
    ] {
        let (release, package) = package(&Kernel::named(name)?, packing)?;
        let import = ["kernel", "import", "--name", "packaged"];
        home.say(home.hv(import).arg(package.path().join("kernel.deb")))?.code(0).context(name)?;
        let listed = home.json(&["kernel", "ls", "--json"])?;
        let kernel = listed.as_array().into_iter().flatten().find(|kernel| kernel["name"] == "packaged");
        let kernel = kernel.with_context(|| format!("{name} is not among {listed}"))?;
        ensure!(
            kernel["release"] == release && kernel["architecture"] == architecture,
            "{name}, which is {release} for {architecture}, is listed as {kernel}"
        );
        if architecture == home.architecture() {
            let said = home.say(&mut home.run_script(&["--kernel", "packaged"], "uname -r; exit 42"))?;
            let said = said.code(42).context(name)?;
            ensure!(said.text() == release, "the guest runs {} and not {release}", said.text());
        }
        home.say(&mut home.hv(["kernel", "rm", "packaged"]))?.code(0)?;
    }
    Ok(())
}

/// Its release, and a folder with `kernel.deb`.
fn package(kernel: &Kernel, packing: &str) -> Result<(String, tempfile::TempDir)> {
    let folder = tempfile::tempdir()?;
    let script = "set -e; kernel=$1 packing=$2 release=$3
        mkdir -p tree/DEBIAN tree/boot tree/usr/lib/modules
        cp \"$kernel/vmlinuz\" \"tree/boot/vmlinuz-$release\"
        cp \"$kernel/config\" \"tree/boot/config-$release\"
        cp -a \"$(find \"$kernel/modules\" -type d -name \"$release\" | head -n 1)\" tree/usr/lib/modules/
        printf 'Package: linux-image-test\\nVersion: 1\\nArchitecture: all\\nMaintainer: nobody\\nDescription: a kernel\\n' >tree/DEBIAN/control
        dpkg-deb --root-owner-group \"-Z$packing\" -z1 --build tree kernel.deb >/dev/null
        rm -r tree";
    let release = fs::read_to_string(kernel.folder().join("release"))?.trim().to_owned();
    let mut build = Command::new("sh");
    build.args(["-c", script, "package"]).arg(kernel.folder()).args([packing, &release]);
    said(build.current_dir(folder.path()), b"")?.code(0).context("the package is not built")?;
    Ok((release, folder))
}
