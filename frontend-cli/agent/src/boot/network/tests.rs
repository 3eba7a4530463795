//! Network cards that are set up in a network namespace, as ip(8) sees them.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, UdpSocket},
    process::{Command, Output, Stdio},
};

use hv_agent_protocol::Address;

use super::*;

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x0a, 0x0b, 0x0c];

/// Set where this process is alone in a network namespace.
const INSIDE: &str = "HV_INIT_TEST_NAMESPACE";

fn ip(words: &str) -> Output {
    Command::new("ip").args(words.split_whitespace()).output().unwrap()
}

fn shown(words: &str) -> String {
    let output = ip(words);
    assert!(output.status.success(), "{words}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs the test of this name in a network namespace with a card and a peer. True in there.
fn is_inside(test: &str) -> bool {
    if env::var_os(INSIDE).is_some() {
        return true;
    }
    let unshare = |words: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--net"]).args(words);
        command
    };
    if !unshare(&["ip", "link"]).output().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: unshare(1) and ip(8) cannot make a network namespace here");
        return false;
    }
    let this = env::current_exe().unwrap();
    let output =
        unshare(&[this.to_str().unwrap(), "--exact", test, "--nocapture"]).env(INSIDE, "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
    false
}

fn network() -> Network {
    let address = |address: &str, prefix| Address { address: address.parse().unwrap(), prefix };
    Network {
        mac: MAC,
        mtu: Some(1400),
        addresses: vec![address("10.0.2.15", 24), address("fd00:6876::15", 64)],
        gateways: vec!["10.0.2.2".parse().unwrap(), "fe80::2".parse().unwrap()],
        name_servers: vec!["10.0.2.3".parse().unwrap()],
        ..Network::default()
    }
}

#[test]
fn a_card_gets_its_addresses_and_routes() {
    if !is_inside("boot::network::tests::a_card_gets_its_addresses_and_routes") {
        return;
    }
    let made = ip(&format!("link add eth7 address {} type veth peer name far", mac(MAC)));
    if !made.status.success() {
        eprintln!("skipped: no veth here: {made:?}");
        return;
    }
    let netlink = Netlink::open().unwrap();
    let absent = Network { mac: [2, 0, 0, 0, 0, 1], ..network() };
    let name_servers = interfaces(&netlink, &[absent, network()], "web");
    assert_eq!(name_servers, network().name_servers, "a card that is not there has none");
    assert!(shown("link show lo").contains("UP"));
    let link = shown("link show eth7");
    assert!(link.contains("UP") && link.contains("mtu 1400"), "{link}");
    let addresses = shown("-o addr show eth7");
    assert!(addresses.contains("inet 10.0.2.15/24 brd 10.0.2.255"), "{addresses}");
    let routes = shown("route");
    assert!(routes.contains("default via 10.0.2.2 dev eth7"), "{routes}");
    if fs::exists("/proc/sys/net/ipv6").unwrap() {
        assert!(addresses.contains("inet6 fd00:6876::15/64"), "{addresses}");
        let tentative = shown("-o -6 addr show dev eth7 tentative");
        assert!(!tentative.contains("fd00"), "it can be used at once: {tentative}");
        let routes = shown("-6 route");
        assert!(routes.contains("default via fe80::2 dev eth7"), "{routes}");
        let accept = fs::read_to_string("/proc/sys/net/ipv6/conf/eth7/accept_ra").unwrap();
        assert_eq!(accept.trim(), "0");
    }
    // Once more is no harm: the image's own network service may have been there.
    interfaces(&netlink, &[network()], "web");
    assert_eq!(shown("-o -4 addr show eth7").lines().count(), 1);
}

/// Set where this process is the DHCP server in a namespace beside.
const SERVER: &str = "HV_INIT_TEST_SERVER";

#[test]
fn a_card_gets_what_a_dhcp_server_gives() {
    const TEST: &str = "boot::network::tests::a_card_gets_what_a_dhcp_server_gives";
    if env::var_os(SERVER).is_some() {
        return serve_leases();
    }
    if !is_inside(TEST) {
        return;
    }
    let made = ip(&format!("link add eth7 address {} type veth peer name far", mac(MAC)));
    if !made.status.success() {
        eprintln!("skipped: no veth here: {made:?}");
        return;
    }
    let this = env::current_exe().unwrap();
    let mut server = Command::new("unshare");
    server.arg("--net").arg(this).args(["--exact", TEST, "--nocapture"]).env(SERVER, "1");
    let mut server = server.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(server.stdout.take().unwrap());
    let mut wait_for = |word: &str| {
        let mut line = String::new();
        while !line.contains(word) {
            line.clear();
            assert_ne!(told.read_line(&mut line).unwrap(), 0, "the server ended before {word}");
        }
    };
    wait_for("in its namespace");
    shown(&format!("link set far netns {}", server.id()));
    let mut go_on = server.stdin.take().unwrap();
    go_on.write_all(b"\n").unwrap();
    wait_for("listening");
    let asks = Network { mac: MAC, dhcp: true, router_advertisements: true, ..Network::default() };
    let netlink = Netlink::open().unwrap();
    let name_servers = interfaces(&netlink, &[asks], "web");
    assert_eq!(name_servers, [IpAddr::from([192, 0, 2, 53])]);
    let addresses = shown("-o addr show eth7");
    assert!(addresses.contains("inet 192.0.2.77/26 brd 192.0.2.127"), "{addresses}");
    let routes = shown("route");
    assert!(routes.contains("default via 192.0.2.66 dev eth7"), "{routes}");
    assert!(!routes.contains("255.255.255.255"), "it was for asking only: {routes}");
    assert!(shown("link show eth7").contains("mtu 1400"));
    // Its namespace takes the link along when it ends.
    drop(go_on);
    assert!(server.wait().unwrap().success());
}

/// Gives one lease, after a question that it does not hear.
fn serve_leases() {
    println!("in its namespace");
    io::stdin().read_line(&mut String::new()).unwrap();
    for words in ["addr add 192.0.2.65/26 dev far", "link set far up", "route add 255.255.255.255 dev far"] {
        shown(words);
    }
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 67)).unwrap();
    socket.set_broadcast(true).unwrap();
    println!("listening");
    let mut message = [0; 1500];
    socket.recv(&mut message).unwrap();
    for (question, kind) in [(1, 2), (3, 5)] {
        loop {
            let (_, from) = socket.recv_from(&mut message).unwrap();
            assert_eq!(from.port(), 68);
            assert_eq!(message[240..242], [53, 1]);
            if message[242] == question {
                break;
            }
        }
        message[0] = 2;
        message[16..20].copy_from_slice(&[192, 0, 2, 77]);
        let options = [
            &[53, 1, kind, 54, 4, 192, 0, 2, 65, 1, 4, 255, 255, 255, 192][..],
            &[3, 4, 192, 0, 2, 66, 6, 4, 192, 0, 2, 53, 26, 2, 5, 120, 255],
        ]
        .concat();
        message[240..240 + options.len()].copy_from_slice(&options);
        socket.send_to(&message[..300], (Ipv4Addr::BROADCAST, 68)).unwrap();
    }
    io::stdin().read_line(&mut String::new()).unwrap();
}

#[test]
fn name_servers_are_lines() {
    let servers = ["10.0.2.3", "fd00:6876::3"].map(|server| server.parse().unwrap());
    assert_eq!(resolv_conf(&servers), "nameserver 10.0.2.3\nnameserver fd00:6876::3\n");
}
