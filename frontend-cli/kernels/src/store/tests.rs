//! Tests of the store: names, defaults, removal, writers at once, writers that are killed.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    thread,
};

use super::*;
use crate::{
    Feature,
    testing::{RELEASE, bzimage, config, deb, file, kernel_files, parts},
};

/// A kernel of one file, with all built in; `padding` makes its image another one.
fn small(folder: &Path, release: &str, padding: usize) -> Vec<PathBuf> {
    let all: Vec<_> = parts().into_iter().map(|part| part.0).collect();
    let image = [bzimage(release), vec![1; padding]].concat();
    vec![
        file(folder, &format!("sources/vmlinuz-{release}-{padding}"), &image),
        file(folder, "sources/my.config", &config(&all, &[])),
    ]
}

fn names_of(store: &Store) -> Vec<String> {
    store.list().unwrap().into_iter().map(|kernel| kernel.name).collect()
}

#[test]
fn the_first_import_is_the_default_until_another_is_chosen_or_it_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("kernels")).unwrap();
    let default = || store.default(Architecture::X86_64).unwrap().map(|kernel| kernel.name);
    assert_eq!(default(), None);
    for release in ["6.2", "6.1", "6.10"] {
        let kernel = store.import(&small(folder.path(), release, 0), None, None).unwrap();
        assert_eq!((kernel.name.clone(), kernel.default), (format!("{release}-x86_64"), release == "6.2"));
    }
    assert_eq!(names_of(&store), ["6.1-x86_64", "6.10-x86_64", "6.2-x86_64"]);
    assert_eq!(default().unwrap(), "6.2-x86_64");
    assert!(store.default(Architecture::Aarch64).unwrap().is_none());
    store.set_default("6.1-x86_64").unwrap();
    assert_eq!(default().unwrap(), "6.1-x86_64");
    let defaults = store.list().unwrap().into_iter().filter(|kernel| kernel.default);
    assert_eq!(defaults.count(), 1);
    // The newest takes its place.
    store.remove("6.1-x86_64").unwrap();
    assert_eq!(default().unwrap(), "6.10-x86_64");
    store.import(&small(folder.path(), "6.11", 0), None, None).unwrap();
    assert_eq!(default().unwrap(), "6.10-x86_64");
    store.remove("6.11-x86_64").unwrap();
    store.remove("6.10-x86_64").unwrap();
    store.remove("6.2-x86_64").unwrap();
    assert_eq!(default(), None);
    assert!(names_of(&store).is_empty());
    let left = fs::read_dir(folder.path().join("kernels")).unwrap();
    assert!(left.flatten().all(|entry| !entry.file_name().to_string_lossy().starts_with(".work")));
}

#[test]
fn a_kernel_is_shown_to_scripts() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let kernel = store.import(&small(folder.path(), "6.2", 0), None, Some("mine")).unwrap();
    let size = fs::metadata(kernel.image()).unwrap().len()
        + fs::metadata(kernel.image().with_file_name("config")).unwrap().len();
    let expected = serde_json::json!(
        { "name": "mine", "architecture": "x86_64", "release": "6.2", "size": size, "default": true }
    );
    assert_eq!(serde_json::to_value(&store.list().unwrap()[0]).unwrap(), expected);
}

#[test]
fn the_same_kernel_is_imported_twice_and_another_of_its_name_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("kernels")).unwrap();
    let sources = small(folder.path(), "6.2", 0);
    store.import(&sources, None, None).unwrap();
    store.import(&sources, None, None).unwrap();
    let others = small(folder.path(), "6.2", 1);
    let error = store.import(&others, None, None).unwrap_err().to_string();
    assert!(error.contains("there is another kernel 6.2-x86_64: choose a name by --name"), "{error}");
    store.import(&others, None, Some("other")).unwrap();
    assert_eq!(names_of(&store), ["6.2-x86_64", "other"]);
    // Same size, other bytes.
    let changed = store.find("other").unwrap().image();
    let mut bytes = fs::read(&changed).unwrap();
    *bytes.last_mut().unwrap() = 2;
    fs::write(&changed, bytes).unwrap();
    assert!(store.import(&others, None, Some("other")).is_err());
}

#[test]
fn names_stay_in_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("kernels")).unwrap();
    let sources = small(folder.path(), "6.2", 0);
    for name in ["", ".", "..", "../x", "a/b", "-x", ".lock", "a b", "a\n", &"x".repeat(129)] {
        assert!(store.import(&sources, None, Some(name)).is_err(), "{name:?}");
        assert!(store.find(name).is_err() && store.remove(name).is_err() && store.set_default(name).is_err());
    }
    let error = store.find("nothing").unwrap_err().to_string();
    assert!(error.contains("there is no kernel nothing"), "{error}");
    assert!(store.remove("nothing").is_err() && store.set_default("nothing").is_err());
}

#[test]
fn a_damaged_kernel_hides_no_other_and_can_be_removed() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("kernels")).unwrap();
    store.import(&small(folder.path(), "6.2", 0), None, Some("good")).unwrap();
    for (name, text) in [("torn", "{"), ("future", r#"{"format":2}"#), ("empty", "")] {
        file(folder.path(), &format!("kernels/{name}/kernel.json"), text.as_bytes());
        let error = format!("{:#}", store.find(name).unwrap_err());
        assert!(error.contains("is damaged, or of another version of hv"), "{error}");
    }
    let manifest = fs::read_to_string(folder.path().join("kernels/good/kernel.json")).unwrap();
    let hostile =
        manifest.replace("\"modules\": [],\n  \"features\"", "\"modules\": [\"../x\"],\n  \"features\"");
    assert_ne!(hostile, manifest);
    file(folder.path(), "kernels/hostile/kernel.json", hostile.as_bytes());
    assert!(store.find("hostile").is_err());
    assert_eq!(names_of(&store), ["good"]);
    for name in ["torn", "future", "empty", "hostile"] {
        store.remove(name).unwrap();
    }
    fs::write(folder.path().join("kernels/.default.x86_64"), "../../etc\n").unwrap();
    assert_eq!(store.default(Architecture::X86_64).unwrap().unwrap().name, "good");
}

#[test]
fn several_at_once_make_one_kernel() {
    let folder = tempfile::tempdir().unwrap();
    let package = file(folder.path(), "kernel.deb", &deb(&kernel_files()));
    let place = folder.path().join("kernels");
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let store = Store::open(&place).unwrap();
                let kernel = store.import(std::slice::from_ref(&package), None, None).unwrap();
                assert!(kernel.default);
                assert!(!kernel.modules(&Feature::ALL).unwrap().is_empty());
            });
        }
    });
    let mut left: Vec<_> = fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, [".default.x86_64", ".lock", RELEASE]);
}

#[test]
fn what_a_killed_writer_left_is_removed_and_a_live_writers_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    file(folder.path(), ".work-dead/lock", b"");
    file(folder.path(), ".work-dead/kernel/image", b"x");
    file(folder.path(), ".work-early/kernel/image", b"x");
    let live = Work::begin(&store).unwrap();
    assert!(!folder.path().join(".work-dead").exists() && !folder.path().join(".work-early").exists());
    let other = Work::begin(&store).unwrap();
    assert!(live.folder().exists() && other.folder().exists());
}

/// Where the child of the next test works; it does nothing without.
const PLACE: &str = "HV_KERNELS_TEST_PLACE";

#[test]
fn child_that_imports_and_removes_until_it_is_killed() {
    let Some(place) = std::env::var_os(PLACE).map(PathBuf::from) else { return };
    let store = Store::open(place.join("kernels")).unwrap();
    loop {
        store.import(&[place.join("kernel.deb")], None, None).unwrap();
        println!("imported");
        store.remove(RELEASE).unwrap();
        println!("removed");
    }
}

#[test]
fn a_kernel_is_there_whole_or_not_at_all_whenever_its_writer_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    file(folder.path(), "kernel.deb", &deb(&kernel_files()));
    let place = folder.path().join("kernels");
    for round in 0..30_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "--nocapture",
                "store::tests::child_that_imports_and_removes_until_it_is_killed",
            ])
            .env(PLACE, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().ends_with("imported")), "the child works");
        // Any moment is a good one; a different one each round.
        thread::sleep(std::time::Duration::from_micros(round * 777));
        child.kill().unwrap();
        child.wait().unwrap();

        let store = Store::open(&place).unwrap();
        for entry in fs::read_dir(&place).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(name == RELEASE || name.starts_with('.'), "{name}");
        }
        if place.join(RELEASE).exists() {
            let kernel = store.find(RELEASE).unwrap();
            assert_eq!(fs::read(kernel.image()).unwrap(), bzimage(RELEASE));
            for module in kernel.modules(&Feature::ALL).unwrap() {
                assert!(fs::metadata(&module.path).unwrap().len() > 0);
            }
        }
    }
    let store = Store::open(&place).unwrap();
    store.import(&[folder.path().join("kernel.deb")], None, None).unwrap();
    let left = fs::read_dir(&place).unwrap().flatten();
    assert!(left.into_iter().all(|entry| !entry.file_name().to_string_lossy().starts_with(".work-")));
}
