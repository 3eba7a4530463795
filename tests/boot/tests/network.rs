//! Guests on a network, with real clients and servers: what arrives, by hash; what must not; and what programs beside `hv` carry.

use std::{
    env,
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use hv_boot_tests::{
    Host, Kernel,
    images::{Home, Place, Said, images, said},
    until,
    world::{FAR, FAR_V6, FARTHER, HOST, World},
};
use libtest_mimic::{Arguments, Failed, Trial};

/// A home, a world, and the guest in it that tests share.
struct Scene {
    place: Place,
    home: Home,
    world: World,
}

/// The name of the guest that tests share, and the ports of its host that lead to its ports 22, 5201 and 5201 by UDP.
const SHARED: &str = "networked";
const SSH_PORT: &str = "2222";
const MEASURE_PORT: &str = "5301";

type Test = fn(&Scene) -> Result<()>;

const SHARING: &[(&str, Test)] = &[
    ("what_is_carried_is_whole", what_is_carried_is_whole),
    ("names_are_found_though_a_name_server_stalls", names_are_found_though_a_name_server_stalls),
    ("the_world_is_reached_by_ipv6_and_routes", the_world_is_reached_by_ipv6_and_routes),
    ("pings_come_back", pings_come_back),
    ("the_hosts_own_services_are_out_of_reach", the_hosts_own_services_are_out_of_reach),
    ("ssh_comes_in_by_a_published_port", ssh_comes_in_by_a_published_port),
    ("streams_and_datagrams_come_in", streams_and_datagrams_come_in),
    ("apt_fetches_packages", apt_fetches_packages),
    ("refusals_are_told_at_once", refusals_are_told_at_once),
    ("a_hundred_connections_at_once", a_hundred_connections_at_once),
];

const OWN: &[(&str, Test)] = &[
    ("the_host_is_reached_where_it_is_allowed", the_host_is_reached_where_it_is_allowed),
    ("without_a_network_there_is_no_card", without_a_network_there_is_no_card),
    ("a_limited_card_takes_its_time", a_limited_card_takes_its_time),
    ("what_is_captured_is_sound", what_is_captured_is_sound),
    ("passt_carries_a_guest_and_may_die", passt_carries_a_guest_and_may_die),
    ("gvproxy_carries_a_guest", gvproxy_carries_a_guest),
    ("a_tap_carries_a_guest", a_tap_carries_a_guest),
    ("guests_of_a_segment_reach_each_other", guests_of_a_segment_reach_each_other),
    ("an_unmodified_guest_gets_its_address_by_dhcp", an_unmodified_guest_gets_its_address_by_dhcp),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let scenes: [Arc<Mutex<Option<Arc<Scene>>>>; 2] = Default::default();
    let mut trials = Vec::new();
    for (name, place, scene) in
        [("native", Place::NATIVE, &scenes[0]), ("emulated", Place::EMULATED, &scenes[1])]
    {
        let reason = place.host.why_not().or_else(|| images().err().map(|error| error.to_string()));
        let reason = reason.or_else(World::why_not);
        for &(test, run) in SHARING.iter().chain(OWN) {
            let reason = reason.clone().or_else(|| why_not(test));
            if let Some(reason) = &reason {
                eprintln!("{name}::{test} is skipped: {reason}");
            }
            let scene = Arc::clone(scene);
            let run = move || run(&*at_scene(&scene, place)?);
            let run = move || run().map_err(|error| Failed::from(format!("{error:#}")));
            trials.push(Trial::test(format!("{name}::{test}"), run).with_ignored_flag(reason.is_some()));
        }
    }
    let code = libtest_mimic::run(&arguments, trials).exit_code();
    for scene in scenes {
        drop(scene.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
    code
}

/// Why one test cannot run on this machine, though others can.
fn why_not(test: &str) -> Option<String> {
    match test {
        "passt_carries_a_guest_and_may_die" if !World::has_user_namespaces() => {
            Some("passt isolates itself in a user namespace, which this machine forbids here".to_owned())
        }
        "a_tap_carries_a_guest" => {
            let tun = File::options().read(true).write(true).open("/dev/net/tun");
            tun.err().map(|error| format!("/dev/net/tun cannot be opened: {error}"))
        }
        _ => None,
    }
}

/// The first test makes the scene.
fn at_scene(scene: &Mutex<Option<Arc<Scene>>>, place: Place) -> Result<Arc<Scene>> {
    let mut scene = scene.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(scene) = &*scene {
        return Ok(Arc::clone(scene));
    }
    let home = Home::new(place)?;
    let world = World::new()?;
    world.ask(&["192.0.2.77", FAR])?;
    let made = Scene { place, home, world };
    let streams = format!("{MEASURE_PORT}:5201");
    let datagrams = format!("{MEASURE_PORT}:5201/udp");
    let ssh = format!("{SSH_PORT}:22");
    let options = [
        "--detach",
        "--rm",
        "--name",
        SHARED,
        "--timeout",
        "30m",
        "-p",
        &ssh,
        "-p",
        &streams,
        "-p",
        &datagrams,
    ];
    let run = made.home.run_script(&options, "exec sleep 100000");
    made.say(&run)?.code(0)?;
    Ok(Arc::clone(scene.insert(Arc::new(made))))
}

impl Scene {
    /// What a command says, run on the world's host.
    fn say(&self, command: &Command) -> Result<Said> {
        said(&mut self.world.on_host(command), b"")
    }

    /// What a script says in the guest that tests share.
    fn guest(&self, script: &str) -> Result<Said> {
        self.say(&self.home.exec_in(SHARED, &[], &["bash", "-c", script]))
    }

    /// What a script says in a guest of its own.
    fn own_guest(&self, options: &[&str], script: &str) -> Result<Said> {
        self.say(&self.home.run_script(options, script))
    }

    /// A server in the rest of the world that writes what one connection brings to `file`, and ends with it.
    fn sink(&self, port: u16, file: &Path) -> Result<Child> {
        let mut sink = self.world.far("busybox", &["nc", "-l", "-p", &port.to_string()]);
        let sink = sink.stdin(Stdio::null()).stdout(File::create(file)?).spawn()?;
        self.world.far_listens(port)?;
        Ok(sink)
    }

    /// A folder for a web server with a file `hello`.
    fn folder(&self, name: &str) -> Result<std::path::PathBuf> {
        let folder = self.world.folder().join(name);
        fs::create_dir(&folder)?;
        fs::write(folder.join("hello"), "hello from afar\n")?;
        Ok(folder)
    }
}

fn what_is_carried_is_whole(scene: &Scene) -> Result<()> {
    let folder = scene.folder("bulk")?;
    // The guest makes a sum of them. `HV_BULK_MIB` says another number of MiB.
    let bulk = match env::var("HV_BULK_MIB") {
        Ok(text) => text.parse::<u64>().with_context(|| format!("HV_BULK_MIB={text}: not a number"))? << 20,
        Err(_) if scene.place.host == Host::Emulated => 64 << 20,
        Err(_) => 128 << 20,
    };
    let (file, sum) = World::file(&folder, "file", bulk)?;
    let _web = scene.world.web(&folder, 8001)?;
    let said = scene.guest(&format!("curl -sS http://{FAR}:8001/file | sha256sum"))?.code(0)?;
    ensure!(said.text() == sum, "the guest got {} instead of {sum}", said.text());

    // And back.
    let back = scene.world.folder().join("back");
    let mut sink = scene.sink(8002, &back)?;
    let script = format!("set -o pipefail; curl -sS http://{FAR}:8001/file | cat >/dev/tcp/{FAR}/8002");
    scene.guest(&script)?.code(0)?;
    until("the server has it all", || Ok(sink.try_wait()?.is_some()))?;
    let same = said_of(Command::new("cmp").arg(&file).arg(&back))?.status.success();
    fs::remove_file(&file)?;
    fs::remove_file(&back)?;
    ensure!(same, "what came back is not what was sent");
    Ok(())
}

fn said_of(command: &mut Command) -> Result<Said> {
    said(command, b"")
}

/// The first name server of the host does not answer; the second is a real one.
fn names_are_found_though_a_name_server_stalls(scene: &Scene) -> Result<()> {
    let folder = scene.folder("named")?;
    let _web = scene.world.web(&folder, 8003)?;
    let address = format!("--address=/world.test/{FARTHER}");
    let words = [
        "-d",
        "-h",
        "-R",
        "--port=53",
        "--pid-file=",
        "--local=/test/",
        "--listen-address=192.0.2.2",
        &address,
    ];
    let _names = scene.world.serve(scene.world.far("dnsmasq", &words))?;
    scene.world.far_listens(53)?;
    let said = scene.guest("curl -sS http://www.world.test:8003/hello")?.code(0)?;
    ensure!(said.text() == "hello from afar", "the guest got {:?}", said.text());
    let said = scene.guest("getent ahostsv4 host.hv.internal | head -n 1")?.code(0)?;
    ensure!(said.text().starts_with("10.0.2.2 "), "the host's name is {:?}", said.text());
    let said = scene.guest("curl -sS http://no.such.name.test:8003/")?;
    ensure!(said.status.code() == Some(6), "an unknown name made curl end with {}", said.status);
    Ok(())
}

fn the_world_is_reached_by_ipv6_and_routes(scene: &Scene) -> Result<()> {
    let folder = scene.folder("v6")?;
    let _web = scene.world.web(&folder, 8004)?;
    for address in [format!("[{FAR_V6}]"), FARTHER.to_owned()] {
        let said = scene.guest(&format!("curl -gsS http://{address}:8004/hello"))?.code(0)?;
        ensure!(said.text() == "hello from afar", "{address} said {:?}", said.text());
    }
    Ok(())
}

fn pings_come_back(scene: &Scene) -> Result<()> {
    for address in ["10.0.2.2", FAR, FARTHER, FAR_V6] {
        let said = scene.guest(&format!("busybox ping -c 2 -W 5 {address}"))?.code(0).context(address)?;
        ensure!(said.text().contains(" 0% packet loss"), "{address}: {}", said.text());
    }
    Ok(())
}

fn the_hosts_own_services_are_out_of_reach(scene: &Scene) -> Result<()> {
    let folder = scene.folder("own")?;
    let _web = scene.world.web_on_host(&folder, 8005)?;
    // The server is there.
    let curl = scene.world.near("curl", &["-sS", &format!("http://{HOST}:8005/hello")]);
    said(&mut { curl }, b"")?.code(0)?;
    for address in ["10.0.2.2", "127.0.0.1", HOST, "[2001:db8::1]", "[fd00:6876::2]", "169.254.169.254"] {
        let script = format!("curl -gsS --max-time 10 http://{address}:8005/hello");
        let said = scene.guest(&script)?;
        // 7 is a connection that failed, 28 one that was not answered.
        ensure!(matches!(said.status.code(), Some(7 | 28)), "{address} ended with {}", said.status);
        ensure!(said.text().is_empty(), "{address} said {:?}", said.text());
    }
    Ok(())
}

fn ssh_comes_in_by_a_published_port(scene: &Scene) -> Result<()> {
    let key = scene.world.folder().join("key");
    let mut keygen = Command::new("ssh-keygen");
    said_of(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key))?.code(0)?;
    let public = fs::read_to_string(key.with_extension("pub"))?;
    let script = format!(
        "grep -qs bash /etc/shells || echo /bin/bash >>/etc/shells; umask 077; mkdir -p /root/.ssh /etc/dropbear;
        echo '{}' >/root/.ssh/authorized_keys;
        /usr/sbin/dropbear -R -E -p 22 2>/dev/null",
        public.trim()
    );
    scene.guest(&script)?.code(0)?;
    let key = key.to_str().context("the path is text")?;
    let words = [
        "-p",
        SSH_PORT,
        "-i",
        key,
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-o",
        "ConnectTimeout=20",
        "root@127.0.0.1",
        "cat; echo over; exit 42",
    ];
    let said = said(&mut scene.world.near("ssh", &words), b"words for the guest\n")?.code(42)?;
    ensure!(said.text() == "words for the guest\nover", "it said {:?}", said.text());
    Ok(())
}

/// iperf3 controls by TCP what it sends by either.
fn streams_and_datagrams_come_in(scene: &Scene) -> Result<()> {
    scene.guest("iperf3 -s -D")?.code(0)?;
    until("iperf3 serves", || {
        Ok(scene.guest("ss -ltn | grep -q :5201").is_ok_and(|said| said.status.success()))
    })?;
    let datagrams = ["-u", "-b", "4M", "-t", "2"];
    // iperf3 counts what had arrived when it stopped, of which some is on its way; datagrams may be lost on a busy machine.
    let (stream, some) = (1 << 20, 100_000);
    for (words, least) in [
        (vec!["-n", "8M"], stream),
        (vec!["-n", "8M", "-R"], stream),
        (datagrams.to_vec(), some),
        ([&datagrams[..], &["-R"]].concat(), some),
    ] {
        let mut told = String::new();
        // Its server is busy for a moment after each client, and the one datagram that begins a test may be lost.
        until(&format!("iperf3 {words:?} carries {least} bytes"), || {
            let bytes = carried(scene, &words);
            told = format!("{bytes:?}");
            Ok(bytes.is_ok_and(|bytes| bytes >= least))
        })
        .with_context(|| told.clone())?;
    }
    Ok(())
}

/// The bytes that an iperf3 on the host says arrived.
fn carried(scene: &Scene, more: &[&str]) -> Result<u64> {
    let mut words = vec!["-J", "-c", "127.0.0.1", "-p", MEASURE_PORT];
    words.extend(more);
    let said = said(&mut scene.world.near("iperf3", &words), b"")?.code(0)?;
    let report: serde_json::Value = serde_json::from_slice(&said.stdout)?;
    let sums = &report["end"];
    let bytes = sums["sum_received"]["bytes"].as_u64().or_else(|| sums["sum"]["bytes"].as_u64());
    bytes.with_context(|| format!("no sum in {report}"))
}

fn apt_fetches_packages(scene: &Scene) -> Result<()> {
    let folder = scene.folder("packages")?;
    let control = folder.join("root/DEBIAN/control");
    fs::create_dir_all(folder.join("root/DEBIAN"))?;
    fs::create_dir_all(folder.join("root/usr/share/greeting"))?;
    let fields = "Package: greeting\nVersion: 1.0\nArchitecture: all\nMaintainer: nobody <nobody@world.test>\nDescription: a word\n";
    fs::write(&control, fields)?;
    World::file(&folder.join("root/usr/share/greeting"), "word", 3 << 20)?;
    fs::set_permissions(folder.join("root"), fs::Permissions::from_mode(0o755))?;
    let package = folder.join("greeting_1.0_all.deb");
    said_of(Command::new("dpkg-deb").arg("--build").arg(folder.join("root")).arg(&package))?.code(0)?;
    let sum = said_of(Command::new("sha256sum").arg(&package))?.code(0)?.text();
    let sum = sum.split_whitespace().next().context("a sum")?.to_owned();
    let size = fs::metadata(&package)?.len();
    fs::write(
        folder.join("Packages"),
        format!("{fields}Filename: ./greeting_1.0_all.deb\nSize: {size}\nSHA256: {sum}\n"),
    )?;
    let _web = scene.world.web(&folder, 8006)?;
    let script = format!(
        "cd /tmp && echo 'deb [trusted=yes] http://{FAR}:8006/ ./' >/etc/apt/sources.list &&
        apt-get -qq update && apt-get -qq download greeting >&2 && sha256sum <greeting_1.0_all.deb"
    );
    let said = scene.guest(&script)?.code(0)?;
    ensure!(said.text().starts_with(&sum), "the guest got {}", said.text());
    Ok(())
}

/// A port that nobody listens on is refused, and what cannot be reached is said to be so: no client waits for nothing.
fn refusals_are_told_at_once(scene: &Scene) -> Result<()> {
    let said = scene.guest(&format!("curl -sS --max-time 20 http://{FAR}:9/"))?;
    ensure!(said.status.code() == Some(7), "curl ended with {}: {}", said.status, said.stderr);
    let said = scene.guest("curl -gsS --max-time 20 http://[fd00:6876::77]:80/")?;
    ensure!(matches!(said.status.code(), Some(7 | 28)), "curl ended with {}: {}", said.status, said.stderr);
    Ok(())
}

fn a_hundred_connections_at_once(scene: &Scene) -> Result<()> {
    let folder = scene.folder("many")?;
    World::file(&folder, "file", 100_000)?;
    let _web = scene.world.web(&folder, 8007)?;
    let script = format!(
        "for i in $(seq 100); do curl -sS http://{FAR}:8007/file | wc -c & done | sort | uniq -c; wait"
    );
    let said = scene.guest(&script)?.code(0)?;
    let words: Vec<_> =
        said.stdout.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty()).collect();
    ensure!(words == [&b"100"[..], b"100000"], "the guest got {:?}", said.text());
    Ok(())
}

// --- guests of their own ---

fn the_host_is_reached_where_it_is_allowed(scene: &Scene) -> Result<()> {
    let folder = scene.folder("allowed")?;
    let _web = scene.world.web_on_host(&folder, 8008)?;
    let script = format!(
        "curl -sS http://10.0.2.2:8008/hello; curl -sS http://host.hv.internal:8008/hello; curl -sS http://{HOST}:8008/hello"
    );
    let said = scene.own_guest(&["--net", "user,host"], &script)?.code(0)?;
    ensure!(said.text() == ["hello from afar"; 3].join("\n"), "the guest got {:?}", said.text());
    Ok(())
}

fn without_a_network_there_is_no_card(scene: &Scene) -> Result<()> {
    let said = scene.own_guest(&["--net", "none"], "ls /sys/class/net")?.code(0)?;
    ensure!(said.text() == "lo", "the guest has {:?}", said.text());
    Ok(())
}

/// `--net user,bw=2M`: no more in a second, both ways together, and nothing is lost. A slow host only makes it longer.
fn a_limited_card_takes_its_time(scene: &Scene) -> Result<()> {
    let folder = scene.folder("limited")?;
    let (file, sum) = World::file(&folder, "file", 4 << 20)?;
    let _web = scene.world.web(&folder, 8013)?;
    let back = scene.world.folder().join("limited-back");
    let mut sink = scene.sink(8014, &back)?;
    let options = ["--detach", "--rm", "--name", "limited", "--net", "user,bw=2M"];
    scene.own_guest(&options, "exec sleep 100000")?.code(0)?;
    let start = Instant::now();
    let script = format!(
        "curl -sS http://{FAR}:8013/file >/tmp/file && sha256sum </tmp/file && cat /tmp/file >/dev/tcp/{FAR}/8014"
    );
    let said = scene.say(&scene.home.exec_in("limited", &[], &["bash", "-c", &script]))?.code(0)?;
    until("the server has it all", || Ok(sink.try_wait()?.is_some()))?;
    let took = start.elapsed();
    ensure!(said.text().starts_with(&sum), "the guest got {} instead of {sum}", said.text());
    ensure!(fs::read(&back)? == fs::read(&file)?, "what came back is not what was sent");
    // 8 MiB, less what may pass at once.
    let least = Duration::from_millis(3700);
    ensure!(took >= least, "8 MiB took {took:?}, and the limit allows no less than {least:?}");
    scene.say(&scene.home.hv(["rm", "--force", "limited"]))?.code(0).map(drop)
}

/// tshark looks at every checksum and dissects every packet.
fn what_is_captured_is_sound(scene: &Scene) -> Result<()> {
    let folder = scene.folder("captured")?;
    World::file(&folder, "file", 2 << 20)?;
    let _web = scene.world.web(&folder, 8009)?;
    let file = scene.world.folder().join("capture.pcapng");
    let net = format!("user,capture={}", file.display());
    let script = format!(
        "curl -sS http://{FAR}:8009/file | wc -c; busybox ping -c 1 {FAR} >/dev/null; getent hosts host.hv.internal >/dev/null"
    );
    let said = scene.own_guest(&["--net", &net], &script)?.code(0)?;
    ensure!(said.text() == (2 << 20).to_string(), "the guest got {} bytes", said.text());
    let tshark = |filter: &str| -> Result<usize> {
        let checks = ["ip", "tcp", "udp"].map(|layer| format!("{layer}.check_checksum:TRUE"));
        let mut command = Command::new("tshark");
        for check in &checks {
            command.args(["-o", check]);
        }
        command.args(["-r"]).arg(&file).args(["-Y", filter]);
        Ok(said_of(&mut command)?.code(0)?.text().lines().count())
    };
    let all = tshark("frame")?;
    ensure!(all > 100, "only {all} packets were captured");
    for kind in ["tcp.port == 8009", "icmp", "dns"] {
        ensure!(tshark(kind)? > 0, "none of the packets is of {kind}");
    }
    let status = "checksum.status == \"Bad\"";
    let bad = format!("_ws.malformed || ip.{status} || tcp.{status} || udp.{status} || icmp.{status}");
    let bad = tshark(&bad)?;
    ensure!(bad == 0, "{bad} of {all} packets are not sound");
    Ok(())
}

/// passt takes the host's gateway for the host itself, so what the guest reaches is farther away.
fn passt_carries_a_guest_and_may_die(scene: &Scene) -> Result<()> {
    let folder = scene.folder("passt")?;
    World::file(&folder, "file", 8 << 20)?;
    let _web = scene.world.web(&folder, 8010)?;
    let path = scene.world.folder().join("passt.socket");
    let place = path.to_str().context("the path is text")?;
    let mut passt = scene.world.serve(scene.world.near("passt", &["-f", "-q", "-s", place]))?;
    until("passt listens", || Ok(path.exists()))?;
    let net = format!("socket={place}");
    let name = "by-passt";
    let options = ["--detach", "--rm", "--name", name, "--timeout", "10m", "--net", &net];
    scene.own_guest(&options, "exec sleep 100000")?.code(0)?;
    let inside = |script: &str| scene.say(&scene.home.exec_in(name, &[], &["bash", "-c", script]));
    let said = inside(&format!("curl -sS http://{FARTHER}:8010/file | wc -c"))?.code(0)?;
    ensure!(said.text() == (8 << 20).to_string(), "the guest got {} bytes", said.text());
    // In the middle of a stream.
    let mut stream = scene.world.on_host(&scene.home.exec_in(
        name,
        &[],
        &[
            "curl",
            "-sS",
            "--limit-rate",
            "100k",
            "--max-time",
            "20",
            "-o",
            "/dev/null",
            &format!("http://{FARTHER}:8010/file"),
        ],
    ));
    let mut stream = stream.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    passt.kill()?;
    let said = inside(
        "for i in $(seq 100); do [ \"$(cat /sys/class/net/e*/carrier)\" = 0 ] && exit 0; sleep 0.1; done; exit 1",
    )?;
    stream.kill()?;
    stream.wait()?;
    said.code(0).context("the guest's link did not go down with passt")?;
    scene.say(&scene.home.hv(["kill", name]))?.code(0)?;
    Ok(())
}

fn gvproxy_carries_a_guest(scene: &Scene) -> Result<()> {
    let folder = scene.folder("gvproxy")?;
    World::file(&folder, "file", 8 << 20)?;
    let _web = scene.world.web(&folder, 8011)?;
    let gvproxy = said_of(&mut Command::new(hv_boot_tests::repository().join("ci/gvproxy")))?.code(0)?.text();
    let path = scene.world.folder().join("gvproxy.socket");
    let listen = format!("unix://{}", path.display());
    let _gvproxy =
        scene.world.serve(scene.world.near(&gvproxy, &["-listen-qemu", &listen, "-ssh-port", "-1"]))?;
    until("gvproxy listens", || Ok(path.exists()))?;
    let net = format!("socket={}", path.display());
    let said =
        scene.own_guest(&["--net", &net], &format!("curl -sS http://{FAR}:8011/file | wc -c"))?.code(0)?;
    ensure!(said.text() == (8 << 20).to_string(), "the guest got {} bytes", said.text());
    Ok(())
}

fn a_tap_carries_a_guest(scene: &Scene) -> Result<()> {
    let folder = scene.folder("tap")?;
    World::file(&folder, "file", 8 << 20)?;
    let script =
        "ip tuntap add tap0 mode tap vnet_hdr && ip address add 10.99.0.1/24 dev tap0 && ip link set tap0 up";
    said(&mut scene.world.near("sh", &["-c", script]), b"")?.code(0)?;
    let words = [
        "-d",
        "-h",
        "-R",
        "--port=0",
        "--pid-file=",
        "--interface=tap0",
        "--bind-interfaces",
        "--dhcp-range=10.99.0.10,10.99.0.20",
        "--leasefile-ro",
    ];
    let _leases = scene.world.serve(scene.world.near("dnsmasq", &words))?;
    let _web = scene.world.web_on_host(&folder, 8012)?;
    let script = "curl -sS http://10.99.0.1:8012/file | wc -c";
    let said = scene.own_guest(&["--net", "tap=tap0"], script)?.code(0)?;
    ensure!(said.text() == (8 << 20).to_string(), "the guest got {} bytes", said.text());
    Ok(())
}

fn guests_of_a_segment_reach_each_other(scene: &Scene) -> Result<()> {
    let options =
        |name| ["--detach", "--rm", "--name", name, "--timeout", "10m", "--net", "user,segment=lab"];
    for name in ["left", "right"] {
        scene.own_guest(&options(name), "exec sleep 100000")?.code(0)?;
    }
    let inside =
        |name: &str, script: &str| scene.say(&scene.home.exec_in(name, &[], &["bash", "-c", script]));
    let address =
        inside("right", "ip -4 -o address show | grep -o '10[.]104[.][0-9.]*' | head -n 1")?.code(0)?.text();
    inside("right", "iperf3 -s -D")?.code(0)?;
    until("iperf3 serves", || {
        Ok(inside("right", "ss -ltn | grep -q :5201").is_ok_and(|said| said.status.success()))
    })?;
    let said = inside("left", &format!("busybox ping -c 2 -W 5 {address} && iperf3 -J -c {address} -n 4M"))?
        .code(0)?;
    ensure!(said.text().contains("sum_received"), "iperf3 said {}", said.text());
    // The shared guest is not on the segment.
    let said = scene.guest(&format!("busybox ping -c 1 -W 2 {address}"))?;
    ensure!(!said.status.success(), "a guest that is not on the segment reaches {address}");
    for name in ["left", "right"] {
        scene.say(&scene.home.hv(["kill", name]))?.code(0)?;
    }
    Ok(())
}

/// A kernel and an initrd that know nothing of hv: what a distribution does at its start, by busybox.
fn an_unmodified_guest_gets_its_address_by_dhcp(scene: &Scene) -> Result<()> {
    let folder = scene.folder("plain")?;
    let _web = scene.world.web(&folder, 8013)?;
    let kernel = Kernel::named(scene.place.new)?;
    let initrd = kernel.initrd("virtio_pci virtio_net")?;
    let append = format!("quiet hv.test=dhcp hv.from=http://{FAR}:8013/hello");
    let mut run = scene.home.hv(["run", "--memory", "256M"]);
    if scene.place.host == Host::Emulated {
        run.args(["--accel", "emulated"]);
    }
    run.arg("--kernel").arg(kernel.packaged()).arg("--initrd").arg(initrd).args(["--append", &append]);
    let said = scene.say(&run)?.code(0)?;
    let text = said.text();
    for line in ["address 10.0.2.15/24", "gateway 10.0.2.2", "name server 10.0.2.3", "got hello from afar"] {
        ensure!(text.contains(line), "the guest did not say {line:?}:\n{text}");
    }
    Ok(())
}
