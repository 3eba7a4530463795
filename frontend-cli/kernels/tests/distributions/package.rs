//! Packages made of a fetched kernel by the distributions' own tools.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::Fetched;

/// Folders of modules that a package of the test has: all would take long to pack.
const FOLDERS: &[&str] = &[
    "arch",
    "crypto",
    "drivers/acpi",
    "drivers/block",
    "drivers/char",
    "drivers/input",
    "drivers/net/net_failover.ko*",
    "drivers/net/virtio_net.ko*",
    "drivers/virtio",
    "fs",
    "lib",
    "net/core",
    "net/vmw_vsock",
];

/// Where a program is, also one for administrators.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Which of `names` is not installed.
pub(crate) fn why_not(names: &[&str]) -> Option<String> {
    let absent = names.iter().find(|name| program(name).is_none());
    absent.map(|name| format!("{name} is not installed"))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Puts the kernel's files, without what depmod makes, below `root` as a package has them.
fn stage(kernel: &Fetched, root: &Path) -> Result<()> {
    let release = format!("lib/modules/{}", kernel.release);
    let from = kernel.folder.join("modules").join(&release);
    let to = root.join(&release);
    fs::create_dir_all(to.join("kernel"))?;
    fs::create_dir_all(root.join("boot"))?;
    fs::copy(kernel.folder.join("vmlinuz"), root.join(format!("boot/vmlinuz-{}", kernel.release)))?;
    fs::copy(kernel.folder.join("config"), root.join(format!("boot/config-{}", kernel.release)))?;
    fs::copy(from.join("modules.builtin"), to.join("modules.builtin"))?;
    // The shell finds out which of them there are.
    let folders = FOLDERS.iter().map(|folder| format!("{folder} ")).collect::<String>();
    let script = format!(
        "cd \"$0/kernel\" && for path in {folders}; do [ ! -e $path ] || cp -r --parents $path \"$1\"; done"
    );
    run(Command::new("sh").args(["-c", &script]).arg(&from).arg(to.join("kernel")))
}

/// Two Debian packages: one of the image and its configuration, one of the modules.
pub(crate) fn debian(kernel: &Fetched, place: &Path) -> Result<Vec<PathBuf>> {
    let root = place.join("root");
    stage(kernel, &root)?;
    fs::write(place.join("debian-binary"), "2.0\n")?;
    let mut packages = Vec::new();
    for (name, part, packing) in [("image", "./boot", ".xz"), ("modules", "./lib", ".gz")] {
        let data = format!("data.tar{packing}");
        run(Command::new("tar")
            .args(["--auto-compress", "-cf"])
            .env("XZ_OPT", "-0")
            .arg(place.join(&data))
            .arg("-C")
            .arg(&root)
            .arg(part))?;
        run(Command::new("tar").args(["-cf", "control.tar", "debian-binary"]).current_dir(place))?;
        let package = place.join(format!("{name}.deb"));
        let members = ["debian-binary", "control.tar", &data];
        run(Command::new("ar").arg("rcS").arg(&package).args(members).current_dir(place))?;
        packages.push(package);
    }
    Ok(packages)
}

/// An RPM package of all, packed by `payload`.
pub(crate) fn rpm(kernel: &Fetched, place: &Path, payload: &str) -> Result<PathBuf> {
    let root = place.join(format!("root-{payload}"));
    stage(kernel, &root)?;
    let spec = place.join("kernel.spec");
    let text = "Name: kernel-core\nVersion: 1\nRelease: 1\nSummary: Kernel\nLicense: GPL-2.0\nBuildArch: noarch\n\
                %description\nA kernel.\n%install\nmkdir -p %{buildroot}\ncp -r %{staged}/. %{buildroot}\n\
                %files\n/boot\n/lib\n";
    fs::write(&spec, text)?;
    let top = place.join(format!("rpm-{payload}"));
    let mut command = Command::new(program("rpmbuild").context("no rpmbuild")?);
    for (name, value) in [
        ("_topdir", top.display().to_string()),
        ("staged", root.display().to_string()),
        ("_binary_payload", payload.to_owned()),
        ("__os_install_post", String::from("%{nil}")),
        ("_build_id_links", String::from("none")),
    ] {
        command.arg("--define").arg(format!("{name} {value}"));
    }
    run(command.arg("-bb").arg(&spec))?;
    fs::remove_dir_all(&root)?;
    let package = top.join("RPMS/noarch/kernel-core-1-1.noarch.rpm");
    ensure!(package.is_file(), "rpmbuild made no {}", package.display());
    Ok(package)
}
