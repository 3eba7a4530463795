//! The server with a guest that is made up.

use std::{
    net::Shutdown,
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicU64},
};

use super::*;
use crate::{Client, ClientError, LINE_LIMIT, State};

#[derive(Default)]
struct Guest {
    tap: ConsoleTap,
    orders: Mutex<Vec<Order>>,
    typed: Mutex<Vec<u8>>,
    /// Takes no input.
    is_deaf: AtomicBool,
    waits: AtomicU64,
}

impl Handle for Guest {
    fn status(&self) -> Status {
        Status { name: "guest".to_owned(), state: State::Running, pid: 1 }
    }

    fn inspect(&self) -> Value {
        serde_json::json!({ "name": "guest" })
    }

    fn order(&self, order: Order) -> Answer {
        self.orders.lock().unwrap().push(order);
        match order {
            Order::Resume => Answer::error("the guest is not paused"),
            Order::PowerButton => Answer::PowerButton { listens: false },
            _ => Answer::Done,
        }
    }

    fn tap(&self) -> &ConsoleTap {
        &self.tap
    }

    fn type_in(&self, bytes: &[u8]) -> usize {
        if self.is_deaf.load(Ordering::SeqCst) {
            return 0;
        }
        // One at a time, as a guest with little room.
        self.typed.lock().unwrap().extend(bytes.first());
        bytes.len().min(1)
    }

    fn wait_for_room(&self, _: Duration) {
        self.waits.fetch_add(1, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(1));
    }
}

struct Rig {
    _folder: tempfile::TempDir,
    path: PathBuf,
    guest: Arc<Guest>,
    server: Server,
}

fn rig() -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    let guest = Arc::new(Guest::default());
    let server = serve(UnixListener::bind(&path).unwrap(), guest.clone()).unwrap();
    Rig { _folder: folder, path, guest, server }
}

impl Rig {
    fn client(&self) -> Client {
        Client::connect(&self.path).unwrap()
    }

    fn raw(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// Waits until no client has a thread.
    fn wait_for_nobody(&self) {
        while self.server.0.clients.load(Ordering::SeqCst) != 0 {
            thread::yield_now();
        }
    }
}

#[test]
fn requests_are_answered_in_order_on_one_connection() {
    let rig = rig();
    let mut client = rig.client();
    let Answer::Status(status) = client.request(&Request::Status).unwrap() else { panic!("no status") };
    assert_eq!((status.name.as_str(), status.state), ("guest", State::Running));
    let Answer::Inspect { guest } = client.request(&Request::Inspect).unwrap() else { panic!("no record") };
    assert_eq!(guest["name"], "guest");
    assert_eq!(client.request(&Request::Pause).unwrap(), Answer::Done);
    let refused = client.request(&Request::Resume).unwrap_err();
    assert!(matches!(refused, ClientError::Refused(message) if message == "the guest is not paused"));
    assert_eq!(client.request(&Request::PowerButton).unwrap(), Answer::PowerButton { listens: false });
    client.request(&Request::Resize { columns: 80, rows: 24 }).unwrap();
    client.request(&Request::Signal { number: 10 }).unwrap();
    client.request(&Request::End).unwrap();
    let resize = Order::Resize { columns: 80, rows: 24 };
    assert_eq!(
        *rig.guest.orders.lock().unwrap(),
        [Order::Pause, Order::Resume, Order::PowerButton, resize, Order::Signal(10), Order::End]
    );
}

#[test]
fn nonsense_is_answered_and_the_connection_goes_on() {
    let rig = rig();
    let mut stream = rig.raw();
    stream.write_all(b"nonsense\n\n{\"request\":\"status\"}\n").unwrap();
    let mut lines = Lines::new(stream);
    for expected in ["error", "error", "status"] {
        let line = String::from_utf8(lines.next_line().unwrap().unwrap()).unwrap();
        assert!(line.contains(&format!("\"answer\":\"{expected}\"")), "{line}");
    }
}

#[test]
fn a_line_without_end_is_refused_and_left() {
    let rig = rig();
    let mut stream = rig.raw();
    // The server may leave before all is written.
    let _ = stream.write_all(&vec![b'x'; LINE_LIMIT + 1]);
    let mut lines = Lines::new(stream);
    if let Ok(Some(line)) = lines.next_line() {
        assert!(String::from_utf8(line).unwrap().contains("longer"));
    }
    rig.wait_for_nobody();
}

#[test]
fn all_who_wait_hear_the_end_and_who_comes_later_too() {
    let rig = rig();
    let waiters: Vec<_> = (0..3)
        .map(|_| {
            let client = rig.client();
            thread::spawn(move || client.wait(None).unwrap())
        })
        .collect();
    while rig.server.0.waiters().streams.len() < 3 {
        thread::yield_now();
    }
    // Waiting costs no thread.
    rig.wait_for_nobody();
    rig.server.end(42);
    rig.server.end(7);
    for waiter in waiters {
        assert_eq!(waiter.join().unwrap(), Some(42));
    }
    assert_eq!(rig.client().wait(None).unwrap(), Some(42));
}

#[test]
fn waiting_can_be_given_up() {
    assert_eq!(rig().client().wait(Some(Duration::from_millis(10))).unwrap(), None);
}

#[test]
fn who_waits_and_leaves_is_forgotten_with_the_next_client() {
    let rig = rig();
    let waiting = || rig.server.0.waiters().streams.len();
    let left: Vec<_> = (0..3).map(|_| rig.raw()).collect();
    left.iter().for_each(|mut stream| stream.write_all(b"{\"request\":\"wait\"}\n").unwrap());
    while waiting() < 3 {
        thread::yield_now();
    }
    drop(left);
    rig.client().request(&Request::Status).unwrap();
    assert_eq!(waiting(), 0);
}

#[test]
fn several_consoles_show_the_history_and_type() {
    let rig = rig();
    rig.guest.tap.show(b"boot ");
    let [one, two] = [rig.client().console().unwrap(), rig.client().console().unwrap()];
    assert_eq!((one.history, two.history), (5, 5));
    rig.guest.tap.show(b"login:");
    for mut console in [one, two] {
        let mut shown = console.shown.clone();
        while shown.len() < 11 {
            let mut buffer = [0; 64];
            let count = console.stream.read(&mut buffer).unwrap();
            shown.extend(&buffer[..count]);
        }
        assert_eq!(shown, b"boot login:");
        console.stream.write_all(b"ab").unwrap();
    }
    while rig.guest.typed.lock().unwrap().len() < 4 {
        thread::yield_now();
    }
    let mut typed = rig.guest.typed.lock().unwrap().clone();
    typed.sort_unstable();
    assert_eq!(typed, b"aabb");
    rig.wait_for_nobody();
}

#[test]
fn keys_may_follow_the_request_at_once() {
    let rig = rig();
    let mut stream = rig.raw();
    stream.write_all(b"{\"request\":\"console\"}\nhello").unwrap();
    while rig.guest.typed.lock().unwrap().as_slice() != b"hello" {
        thread::yield_now();
    }
}

#[test]
fn a_console_that_only_looks_stays_until_the_guest_ends() {
    let rig = rig();
    let mut console = rig.client().console().unwrap();
    console.stream.shutdown(Shutdown::Write).unwrap();
    rig.guest.tap.show(b"last words");
    rig.guest.tap.finish(Duration::from_secs(60));
    let mut shown = console.shown;
    console.stream.read_to_end(&mut shown).unwrap();
    assert_eq!(shown, b"last words");
    rig.wait_for_nobody();
}

#[test]
fn a_client_that_left_frees_its_thread_though_the_guest_reads_nothing() {
    let rig = rig();
    rig.guest.is_deaf.store(true, Ordering::SeqCst);
    let mut console = rig.client().console().unwrap();
    console.stream.write_all(b"x").unwrap();
    while rig.guest.waits.load(Ordering::SeqCst) == 0 {
        thread::yield_now();
    }
    drop(console);
    rig.wait_for_nobody();
}

#[test]
fn silent_clients_keep_nobody_out_until_there_are_too_many() {
    let rig = rig();
    let silent: Vec<_> = (0..MOST_CLIENTS - 1).map(|_| rig.raw()).collect();
    while rig.server.0.clients.load(Ordering::SeqCst) < silent.len() {
        thread::yield_now();
    }
    rig.client().request(&Request::Status).unwrap();
    let more: Vec<_> = (0..8).map(|_| rig.raw()).collect();
    let refused = more.last().unwrap();
    let line = Lines::new(refused).next_line().unwrap().unwrap();
    assert!(String::from_utf8(line).unwrap().contains("too many"));
    drop((silent, more));
    rig.wait_for_nobody();
    rig.client().request(&Request::Status).unwrap();
}

#[test]
fn too_many_consoles_are_refused() {
    let rig = rig();
    let consoles: Vec<_> = (0..MOST_CONSOLES).map(|_| rig.client().console().unwrap()).collect();
    let refused = rig.client().console().unwrap_err();
    assert!(refused.to_string().contains("too many"), "{refused}");
    drop(consoles);
}
