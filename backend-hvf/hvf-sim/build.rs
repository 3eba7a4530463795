//! Compiles `src/engine.c` against Unicorn's private headers, which its own build leaves in the registry and its build folder.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

fn main() {
    println!("cargo::rerun-if-changed=src/engine.c");
    // Set by unicorn-engine-sys (`links = "unicorn"`) for those who depend on it directly.
    let root = env::var("DEP_UNICORN_ROOT").expect("unicorn-engine-sys tells where it is built");
    let built = Path::new(&root).join("build");
    let source = source_folder(&built);
    // The code generator is chosen by the machine that runs it.
    let generator = match env::var("CARGO_CFG_TARGET_ARCH").as_deref() {
        Ok("aarch64") => "qemu/tcg/aarch64",
        _ => "qemu/tcg/i386",
    };
    let mut build = cc::Build::new();
    build
        .file("src/engine.c")
        .include(&built)
        .include(built.join("aarch64-softmmu"))
        .includes(
            ["glib_compat", "qemu", "qemu/include", "include", "qemu/tcg", generator, "qemu/target/arm"]
                .map(|folder| source.join(folder)),
        )
        // As Unicorn compiles its own target code.
        .define("NEED_CPU_H", None)
        .define("_GNU_SOURCE", None)
        .define("_FILE_OFFSET_BITS", "64")
        .flag("-include")
        .flag("aarch64.h")
        .flag("-std=gnu11")
        .flag_if_supported("-mcx16")
        .opt_level(2)
        // The headers are not ours to correct.
        .warnings(false)
        .flag("-w");
    build.compile("hvf_sim_engine");
}

/// The folder that CMake was started on: Unicorn's sources.
fn source_folder(built: &Path) -> PathBuf {
    let cache = fs::read_to_string(built.join("CMakeCache.txt")).expect("CMake leaves its cache");
    let line = cache.lines().find_map(|line| line.strip_prefix("CMAKE_HOME_DIRECTORY:INTERNAL="));
    PathBuf::from(line.expect("CMake's cache names its source folder"))
}
