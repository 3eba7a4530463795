//! The network on the command line: words, ports, taps and sockets that are wrong, and what is told of those that are not.

use std::{
    fs,
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::net::UnixListener,
    path::Path,
};

use crate::{
    child::{FAILED, Folder, USAGE, hv, refusal},
    guest::{GREET, SPIN, with_kvm},
    guests::Home,
    harness::{Case, Outcome},
};

pub(crate) const CASES: &[Case] = &[
    ("networks_that_are_not_understood_are_usage_errors", words),
    ("ports_that_cannot_be_had_are_refused", ports),
    ("a_tap_that_is_not_there_is_refused", taps),
    ("a_socket_that_nobody_listens_on_is_refused", sockets),
    ("vmnet_is_refused_where_it_is_not_given", vmnet),
    ("a_manifest_says_what_the_network_is", manifest),
    ("a_capture_that_cannot_be_written_is_refused", || with_kvm(captures)),
    ("the_network_of_a_guest_is_told", || with_kvm(told)),
];

fn words() -> Outcome {
    for (words, expected) in [
        (&["--net", "bridge"][..], "`bridge`"),
        (&["--net", ""], "tap=NAME"),
        (&["--net", "none,mtu=1500"], "none alone"),
        (&["--net", "user,mac=52:54:00:12:34"], "52:54:00:12:34:56"),
        (&["--net", "user,mac=53:54:00:12:34:56"], "first byte is odd"),
        (&["--net", "user,mtu=9000"], "1280 to 1500"),
        (&["--net", "tap=averyveryverylongname"], "1 to 15"),
        (&["--net", "user,bw=50"], "bw `50`"),
        (&["-p", "80"], "8080:80"),
        (&["-p", "8080:70000"], "1 to 65535"),
        (&["-p", "8080:80/sctp"], "tcp or udp"),
        (&["-p", "localhost:8080:80"], "127.0.0.1"),
        (&["-p", "::1:8080:80"], "[::1]:8080:80"),
        (&["-p", "8080:80", "--net", "none"], "--net none"),
        (&["-p", "8080:80", "--net", "tap=tap0"], "--net user"),
    ] {
        let line = refusal(hv(&["run", "--kernel", "k"]).args(words), USAGE);
        assert!(line.contains(expected) && line.contains("--help"), "{words:?}: {line}");
    }
    Outcome::Passed
}

/// Checks that a network is refused with these words, and that nothing is left behind.
fn refused(words: &[&str], expected: &[&str]) {
    let (folder, runtime) = (Folder::new(), tempfile::tempdir().unwrap());
    let before = folder.fingerprints();
    let mut command = hv(&["run", "--kernel", "kernel"]);
    command.args(words).current_dir(folder.path(".")).env("XDG_RUNTIME_DIR", runtime.path());
    let line = refusal(&mut command, FAILED);
    assert!(expected.iter().all(|word| line.contains(word)), "{words:?}: {line}");
    assert!(folder.fingerprints() == before, "something changed on disk");
    let left = fs::read_dir(runtime.path().join("hv")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(left.filter(|name| name != ".lock").count(), 0, "the guest is on the list");
}

fn ports() -> Outcome {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = tcp.local_addr().unwrap().port().to_string();
    let taken_udp = udp.local_addr().unwrap().port().to_string();
    // Nobody listens where somebody just did.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let free_port = format!("{free}:81");
    refused(&["-p", &free_port, "-p", &format!("{taken}:80")], &["127.0.0.1", &taken]);
    assert!(TcpListener::bind(("127.0.0.1", free)).is_ok(), "the other port is free again");
    refused(&["-p", &format!("{taken_udp}:53/udp")], &["127.0.0.1", &taken_udp]);
    refused(&["-p", &free_port, "-p", &free_port], &[&free.to_string()]);
    refused(&["-p", "192.0.2.1:0:80"], &["192.0.2.1"]);
    refused(&["--net", "user,capture=frames", "-p", &format!("{taken}:80")], &[&taken]);
    Outcome::Passed
}

fn taps() -> Outcome {
    refused(&["--net", "tap=hv-none-such"], &["hv-none-such"]);
    refused(&["--net", "tap=hv-none-such,queues=2,capture=frames"], &["hv-none-such"]);
    Outcome::Passed
}

fn sockets() -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    // Its file stays.
    drop(UnixListener::bind(path("left")).unwrap());
    fs::write(path("file"), "").unwrap();
    for name in ["left", "file", "none", "none/below"] {
        refused(&["--net", &format!("socket={}", path(name))], &[&path(name)]);
    }
    let long = path(&"x".repeat(200));
    refused(&["--net", &format!("socket={long}")], &[&long]);
    Outcome::Passed
}

fn vmnet() -> Outcome {
    if cfg!(target_os = "macos") {
        return Outcome::Skipped("whether macOS gives vmnet depends on who runs this".to_owned());
    }
    refused(&["--net", "vmnet"], &["macOS only", "--net user"]);
    refused(&["--net", "vmnet,mode=host,capture=frames"], &["macOS only", "--net user"]);
    Outcome::Passed
}

fn manifest() -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let run = |text: &str, code| {
        fs::write(folder.path().join("hv.toml"), text).unwrap();
        refusal(hv(&["run"]).current_dir(folder.path()), code)
    };
    let line = run("kernel = 'k'\nnet = 'bridge'\n", USAGE);
    assert!(line.starts_with("hv: hv.toml:2:7: ") && line.contains("`bridge`"), "{line}");
    let line = run("kernel = 'k'\npublish = ['8080:80',\n '80']\n", USAGE);
    assert!(line.starts_with("hv: hv.toml:3:2: ") && line.contains("8080:80"), "{line}");
    let line = run("kernel = 'k'\nnet = 'none'\npublish = ['8080:80']\n", USAGE);
    assert!(line.contains("--publish 8080:80") && line.contains("--net none"), "{line}");
    let line = run("kernel = 'k'\nnet = 'tap=hv-none-such'\n", FAILED);
    assert!(line.contains("hv-none-such"), "{line}");
    Outcome::Passed
}

fn captures(folder: &Path) {
    let home = Home::new(folder);
    let place = folder.join("none/frames").display().to_string();
    let net = format!("user,capture={place}");
    let line = refusal(&mut home.run(&[GREET, SPIN], &["--net", &net]), FAILED);
    assert!(line.contains(&place) && line.contains("check the path"), "{line}");
    assert!(home.leftovers().is_empty());
}

fn told(folder: &Path) {
    let home = Home::new(folder);
    let ports = ["-p", "0:80", "-p", "0.0.0.0:0:53/udp", "--net", "user,mac=52:54:00:aa:bb:cc"];
    let mut child = home.start(&[GREET, SPIN], &[&["--name", "web"], &ports[..]].concat());
    let inspected = home.json(&["inspect", "web"]);
    let network = &inspected["network"];
    assert_eq!(network["kind"], "user");
    assert_eq!(network["mac"], "52:54:00:aa:bb:cc");
    assert_eq!(network["addresses"][0], "10.0.2.15/24");
    assert_eq!(network["counts"]["sent"]["frames"], 0, "{inspected}");
    let taken = inspected["ports"][0].as_str().unwrap().strip_suffix(":80").unwrap().to_owned();
    TcpStream::connect(("127.0.0.1", taken.parse().unwrap())).expect("somebody listens there");
    let udp = inspected["ports"][1].as_str().unwrap();
    assert!(udp.starts_with("0.0.0.0:") && udp.ends_with(":53/udp") && !udp.contains(":0:"), "{udp}");
    assert!(home.ask(&["ps"]).contains(&format!("{taken}:80")));
    let again = format!("{taken}:80");
    let line = refusal(&mut home.run(&[GREET, SPIN], &["-p", &again]), FAILED);
    assert!(line.contains(&taken), "{line}");
    home.ask(&["kill", "web"]);
    child.wait().unwrap();
    assert!(TcpListener::bind(("127.0.0.1", taken.parse().unwrap())).is_ok(), "the port is free again");
    assert!(home.json(&["inspect", "web"])["network"]["counts"].is_null(), "it does not run");

    let address = |home: &Home| home.json(&["inspect", "db"])["network"]["mac"].clone();
    let again = |words: &[&str]| {
        let child = home.start(&[GREET, SPIN], &[&["--name", "db"], words].concat());
        let address = address(&home);
        home.ask(&["kill", "db"]);
        finish(child);
        address
    };
    let first = again(&[]);
    assert!(first.as_str().unwrap().starts_with("52:54:00:"), "{first}");
    assert_eq!(again(&[]), first, "a name keeps its address");
    assert!(again(&["--net", "none"]).is_null());
}

fn finish(mut child: std::process::Child) {
    child.wait().unwrap();
}
