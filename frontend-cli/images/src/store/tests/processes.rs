//! Several processes at once, and killed ones.

use std::{
    fs,
    io::{self, BufRead, BufReader, Cursor, Read, Write},
    path::Path,
    process::{Child, Command, Stdio},
};

use super::*;
use crate::{
    Descriptor, Document, Progress, Source,
    testing::{extract, tar},
};

/// A source that stops in the middle of its layer, says so, and goes on when it is told to.
struct Stopping(Remote);

impl Source for Stopping {
    fn top(&mut self) -> Result<Document> {
        self.0.top()
    }

    fn manifest(&mut self, descriptor: &Descriptor) -> Result<Document> {
        self.0.manifest(descriptor)
    }

    fn blob(&mut self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + Send + '_>> {
        let mut bytes = Vec::new();
        self.0.blob(descriptor, offset)?.read_to_end(&mut bytes)?;
        if descriptor.media_type.contains("config") {
            return Ok(Box::new(Cursor::new(bytes)));
        }
        let rest = bytes.split_off(bytes.len() / 2);
        Ok(Box::new(Cursor::new(bytes).chain(Stop { rest: Cursor::new(rest), stopped: false })))
    }

    fn resumable(&self) -> bool {
        true
    }
}

struct Stop {
    rest: Cursor<Vec<u8>>,
    stopped: bool,
}

impl Read for Stop {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.stopped {
            self.stopped = true;
            println!("\nhalf");
            io::stdin().read_line(&mut String::new())?;
        }
        self.rest.read(buffer)
    }
}

/// Says on standard output when it waits for another process.
struct Speaking;

impl Progress for Speaking {
    fn begin(&mut self, what: &str, _: Option<u64>) {
        println!("\n{what}");
    }
    fn advance(&mut self, _: u64) {}
    fn end(&mut self) {}
}

const CHILD: &str = "HV_IMAGES_TEST_STORE";

/// Noise that does not pack, so that half of a layer is half of a file.
fn noise() -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_le_bytes()[7]
    };
    let noise: Vec<u8> = (0..4 << 20).map(|_| next()).collect();
    tar(|tar| drop(tar.file("noise", &noise).file("end", b"end").finish()))
}

/// No test: the process that [`child`] starts.
#[test]
#[ignore = "run by other tests"]
fn process() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    let store = Store::open(Path::new(&folder)).unwrap();
    let mut source = Stopping(Remote::new(&[noise()]));
    let image = store.pull("test", &mut source, ARCHITECTURE, &mut Speaking).unwrap();
    println!("\ndone {} {}", image.digest, source.0.offsets.len());
}

struct Process {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Process {
    fn start(store: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "store::tests::processes::process", "--ignored", "--nocapture"])
            .env(CHILD, store);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    /// Reads up to a line that begins so; the line.
    fn wait_for(&mut self, start: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "the process ended before {start}");
            if line.starts_with(start) {
                return line;
            }
        }
    }

    fn go_on(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_killed_process_leaves_only_garbage_and_what_can_be_gone_on_with() {
    let place = Place::new();
    let folder = place.path("store");
    let mut killed = Process::start(&folder);
    killed.wait_for("half");
    // It lives: what it works on is nobody's garbage.
    assert_eq!(place.store.collect_garbage().unwrap(), Freed::default());
    let at_work = place.files();
    assert_eq!(at_work.len(), 3, "{at_work:?}");
    drop(killed);
    assert_eq!(place.files(), at_work, "nobody cleans up");
    // Another goes on with it.
    let mut source = Remote::new(&[noise()]);
    let image = place.store.pull("test", &mut source, ARCHITECTURE, &mut Quiet).unwrap();
    assert!(source.offsets[0] > 1 << 20, "{:?}", source.offsets);
    if let Some(folder) = extract(image.root()) {
        assert_eq!(fs::read(folder.path().join("noise")).unwrap().len(), 4 << 20);
        assert_eq!(fs::read(folder.path().join("end")).unwrap(), b"end");
    }
    assert!(place.files().iter().all(|name| !name.contains("part") && !name.contains("tmp")));
    // Killed once more, and nobody wants the image: all of it goes.
    let place = Place::new();
    let mut killed = Process::start(&place.path("store"));
    killed.wait_for("half");
    drop(killed);
    let freed = place.store.collect_garbage().unwrap();
    assert!(freed.count == 3 && freed.bytes > 1 << 20, "{freed:?}");
    assert_eq!(place.files(), Vec::<String>::new());
}

#[test]
fn processes_that_want_the_same_image_do_the_work_once() {
    let place = Place::new();
    let folder = place.path("store");
    let mut first = Process::start(&folder);
    first.wait_for("half");
    let mut second = Process::start(&folder);
    second.wait_for("waiting for another process that unpacks it");
    first.go_on();
    let first = first.wait_for("done");
    let second = second.wait_for("done");
    assert!(first.trim().ends_with(" 1") && second.trim().ends_with(" 0"), "{first} {second}");
    // And if the first is killed, the second does it.
    let place = Place::new();
    let folder = place.path("store");
    let mut first = Process::start(&folder);
    first.wait_for("half");
    let mut second = Process::start(&folder);
    second.wait_for("waiting for another process that unpacks it");
    drop(first);
    second.wait_for("half");
    second.go_on();
    assert!(second.wait_for("done").trim().ends_with(" 1"));
    assert!(place.store.find("test", ARCHITECTURE).unwrap().is_some());
}
