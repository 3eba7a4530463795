//! Guests that come, go and die.

use std::{fs, os::unix::fs::PermissionsExt};

use super::*;
use crate::guests::{Guests, LOCK, Life, RECORD};

struct Rig {
    _root: tempfile::TempDir,
    places: Places,
}

fn rig() -> Rig {
    let root = tempfile::tempdir().unwrap();
    let places = Places { runtime: root.path().join("run"), kept: Some(root.path().join("data/guests")) };
    folders::make_private(&places.runtime).unwrap();
    Rig { _root: root, places }
}

fn kept(name: &str) -> Wish<'_> {
    Wish { name: Some(name), keep: true, log: true, image: Some("image") }
}

impl Rig {
    fn create(&self, wish: Wish<'_>) -> anyhow::Result<Registration> {
        let mut guest = Registration::create(&self.places, wish)?;
        guest.describe(|record| record.cpus = 2)?;
        Ok(guest)
    }

    fn refused(&self, wish: Wish<'_>) -> String {
        format!("{:#}", self.create(wish).unwrap_err())
    }

    fn list(&self) -> Vec<(String, Life)> {
        let guests = Guests::find_all(&self.places).unwrap();
        guests.iter().map(|guest| (guest.name.clone(), guest.life)).collect()
    }

    /// A guest that died without a word: its files are there, its locks are free.
    fn dead(&self, wish: Wish<'_>) {
        let guest = self.create(wish).unwrap();
        let copy = self.places.runtime.join(".copy");
        let folder = guest.folder.clone();
        let command = |from: &Path, to: &Path| {
            assert!(process::Command::new("cp").arg("-r").args([from, to]).status().unwrap().success());
        };
        command(&folder, &copy);
        drop(guest);
        fs::rename(copy, folder).unwrap();
    }
}

#[test]
fn a_guest_is_listed_while_it_runs() {
    let rig = rig();
    let guest = rig.create(Wish { name: Some("web"), ..Wish::default() }).unwrap();
    assert_eq!(rig.list(), [("web".to_owned(), Life::Running)]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&guest.folder), 0o700);
    assert_eq!(mode(&guest.folder.join("guest.json")), 0o600);
    let pid = fs::read_to_string(guest.folder.join(PID)).unwrap();
    assert_eq!(pid.trim(), process::id().to_string());
    guest.end(0);
    assert_eq!(rig.list(), []);
    let left = fs::read_dir(&rig.places.runtime).unwrap().count();
    assert_eq!(left, 1, "the lock alone stays");
}

#[test]
fn names_are_taken_once() {
    let rig = rig();
    let guest = rig.create(Wish { name: Some("web"), ..Wish::default() }).unwrap();
    assert!(rig.refused(Wish { name: Some("web"), ..Wish::default() }).contains("runs already"));
    let [one, two] = [rig.create(Wish::default()).unwrap(), rig.create(Wish::default()).unwrap()];
    assert_ne!(one.name(), two.name());
    assert_eq!(rig.list().len(), 3);
    drop(guest);
    rig.create(Wish { name: Some("web"), ..Wish::default() }).unwrap();
}

#[test]
fn a_kept_guest_stays_with_its_end_and_goes_on() {
    let rig = rig();
    let guest = rig.create(kept("web")).unwrap();
    fs::write(guest.kept().unwrap().join("upper.img"), "layer").unwrap();
    guest.end(42);
    let guests = Guests::find_all(&rig.places).unwrap();
    let stopped = guests.named("web").unwrap();
    assert_eq!((stopped.life, stopped.record.ended.unwrap().code), (Life::Stopped, Some(42)));
    assert!(guests.running("web").unwrap_err().to_string().contains("does not run"));
    let again = rig.create(kept("web")).unwrap();
    assert_eq!(fs::read_to_string(again.kept().unwrap().join("upper.img")).unwrap(), "layer");
    assert!(guests.remove("web").unwrap_err().to_string().contains("runs"));
    again.end(0);
    let other = Wish { image: Some("other"), ..kept("web") };
    assert!(rig.refused(other).contains("made from image"));
    Registration::create(&rig.places, kept("web")).unwrap().end(125);
    let guests = Guests::find_all(&rig.places).unwrap();
    let record = &guests.named("web").unwrap().record;
    assert_eq!(
        (record.cpus, record.ended.unwrap().code),
        (2, Some(0)),
        "a run that never began changes nothing"
    );
    guests.remove("web").unwrap();
    assert_eq!(rig.list(), []);
    rig.create(other).unwrap();
}

#[test]
fn a_guest_that_never_was_described_leaves_nothing() {
    let rig = rig();
    drop(Registration::create(&rig.places, kept("web")).unwrap());
    assert_eq!(rig.list(), []);
    assert!(!rig.places.kept("web").unwrap().exists());
}

#[test]
fn what_dead_guests_left_is_cleaned() {
    let rig = rig();
    rig.dead(Wish { name: Some("gone"), ..Wish::default() });
    rig.dead(kept("web"));
    assert_eq!(rig.list(), [("web".to_owned(), Life::Stopped)]);
    let guests = Guests::find_all(&rig.places).unwrap();
    assert_eq!(guests.named("web").unwrap().record.ended.unwrap().code, None);
    rig.dead(Wish { name: Some("gone"), ..Wish::default() });
    let guest = rig.create(Wish { name: Some("gone"), ..Wish::default() }).unwrap();
    assert!(!guest.folder.join(CONTROL_SOCKET).exists());
}

#[test]
fn what_was_killed_before_it_was_described_leaves_nothing() {
    let rig = rig();
    let folder = rig.places.kept("web").unwrap();
    let make = |names: &[&str]| {
        fs::create_dir_all(&folder).unwrap();
        names.iter().for_each(|name| fs::write(folder.join(name), "{").unwrap());
    };
    make(&[LOCK, LAYER, LOG, ".guest.json.new", "lower.erofs"]);
    let held = lock::take(&folder).unwrap();
    assert_eq!(rig.list(), []);
    assert!(folder.join(LAYER).exists(), "its process lives");
    drop(held);
    assert_eq!(rig.list(), []);
    assert!(!folder.exists());

    // A record that cannot be read, and a folder of somebody else's.
    for names in [[LOCK, RECORD], [LAYER, "mine"]] {
        make(&names);
        assert_eq!(rig.list(), []);
        assert!(names.iter().all(|name| folder.join(name).exists()), "{names:?}");
        fs::remove_dir_all(&folder).unwrap();
    }
}

#[test]
fn a_kept_guest_of_another_session_is_seen() {
    let rig = rig();
    let guest = rig.create(kept("web")).unwrap();
    let other = Places { runtime: rig.places.runtime.with_file_name("other"), ..rig.places.clone() };
    folders::make_private(&other.runtime).unwrap();
    let guests = Guests::find_all(&other).unwrap();
    assert_eq!(guests.named("web").unwrap().life, Life::Elsewhere);
    let line = Registration::create(&other, kept("web")).unwrap_err().to_string();
    assert!(line.contains("another XDG_RUNTIME_DIR"), "{line}");
    guest.end(0);
}

#[test]
fn folders_too_deep_for_sockets_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let length = folders::SOCKET_PATH_LIMIT - root.path().as_os_str().len() - "//name/control.sock".len();
    let runtime = root.path().join("x".repeat(length));
    folders::make_private(&runtime).unwrap();
    let places = Places { runtime, kept: None };
    Registration::create(&places, Wish { name: Some("name"), ..Wish::default() }).unwrap();
    let line = Registration::create(&places, Wish { name: Some("names"), ..Wish::default() }).unwrap_err();
    assert!(line.to_string().contains("at most 4 characters"), "{line}");
}

#[test]
fn unknown_names_are_answered_with_near_ones() {
    let rig = rig();
    let _guest = rig.create(Wish { name: Some("database"), ..Wish::default() }).unwrap();
    let guests = Guests::find_all(&rig.places).unwrap();
    assert!(guests.named("databse").unwrap_err().to_string().contains("did you mean database?"));
    assert!(guests.named("zzz").unwrap_err().to_string().contains("hv ps -a"));
}
