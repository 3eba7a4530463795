//! What of the network this host allows guests. Whatever it is, guests can run.

use std::{
    fs::{self, OpenOptions},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

use rustix::net::{AddressFamily, Protocol, SocketType, ipproto, socket};

use super::{Finding, Verdict};

/// The most bytes of the file with this host's name servers that are looked at.
const FILE_LIMIT: usize = 64 << 10;
/// Addresses for documentation (RFC 5737, RFC 3849): there is a route to them where there is one to everybody.
const FAR: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];
/// Any port: nothing is sent.
const PORT: u16 = 53;

/// What was found out, the most common first.
pub(super) fn examine() -> Vec<Finding> {
    let [ipv4, ipv6] = FAR.map(|far| has_route(far).is_ok());
    let resolver = fs::read("/etc/resolv.conf").map(|text| name_servers(&text)).unwrap_or_default();
    let mut findings = vec![
        Finding { subject: "network", verdict: routes(ipv4, ipv6) },
        Finding { subject: "names", verdict: names(&resolver) },
        Finding { subject: "ping", verdict: ping(may_ping()) },
    ];
    if cfg!(target_os = "linux") {
        let tun = OpenOptions::new().read(true).write(true).open("/dev/net/tun").map(drop);
        findings.push(Finding { subject: "taps", verdict: taps(tun) });
    }
    findings
}

/// Whether there is a way to an address: a datagram socket finds it when it is connected, and sends nothing.
fn has_route(far: IpAddr) -> io::Result<()> {
    let any: IpAddr = if far.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    UdpSocket::bind(SocketAddr::new(any, 0))?.connect(SocketAddr::new(far, PORT))
}

fn routes(ipv4: bool, ipv6: bool) -> Verdict {
    let user = "--net user works without any right";
    match (ipv4, ipv6) {
        (true, true) => Verdict::Sound(format!("{user}, and reaches IPv4 and IPv6")),
        (true, false) => Verdict::Sound(format!("{user}, and reaches IPv4; this host has no route for IPv6")),
        (false, true) => Verdict::Sound(format!("{user}, and reaches IPv6; this host has no route for IPv4")),
        (false, false) => Verdict::Note {
            what: format!("{user}, but this host has no route to anywhere"),
            cure: "connect this host for guests to reach others".to_owned(),
        },
    }
}

/// The servers in a file as resolv.conf(5) has it.
fn name_servers(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text.get(..FILE_LIMIT).unwrap_or(text)).into_owned();
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())?;
        // An address of a link has its interface behind it.
        let address = name.split('%').next().unwrap_or(name);
        address.parse::<IpAddr>().is_ok().then(|| name.to_owned())
    };
    text.lines().filter_map(server).collect()
}

fn names(servers: &[String]) -> Verdict {
    match servers {
        [] => Verdict::Note {
            what: "/etc/resolv.conf has no name server, so that guests find no names".to_owned(),
            cure: "name one there".to_owned(),
        },
        servers => Verdict::Sound(format!("guests ask this host's name servers: {}", servers.join(", "))),
    }
}

/// A socket for echoes, which needs no right where the host's administrator lets this group have one.
fn may_ping() -> bool {
    let icmp: Option<Protocol> = Some(ipproto::ICMP);
    socket(AddressFamily::INET, SocketType::DGRAM, icmp).is_ok()
}

fn ping(allowed: bool) -> Verdict {
    if allowed {
        Verdict::Sound("guests may ping beyond this host".to_owned())
    } else {
        Verdict::Note {
            what: "guests cannot ping beyond this host, which does not let this user do it".to_owned(),
            cure: "allow it: sudo sysctl net.ipv4.ping_group_range=\"0 2147483647\"".to_owned(),
        }
    }
}

fn taps(tun: io::Result<()>) -> Verdict {
    match tun {
        Ok(()) => Verdict::Sound(
            "--net tap=NAME works with a tap that was made for this user: sudo ip tuntap add NAME mode tap user USER"
                .to_owned(),
        ),
        Err(error) => Verdict::Note {
            what: format!("--net tap=NAME does not work, since /dev/net/tun cannot be opened: {error}"),
            cure: "load the module: sudo modprobe tun, and let this user open the device; or use --net user"
                .to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_network_keeps_guests_from_running() {
        assert!(examine().iter().all(Finding::is_sound));
        let refused = || Err(io::ErrorKind::NotFound.into());
        for verdict in [routes(false, false), names(&[]), ping(false), taps(refused())] {
            let finding = Finding { subject: "network", verdict };
            assert!(finding.is_sound() && finding.obstacle().is_none());
            assert!(matches!(finding.verdict, Verdict::Note { .. }), "but it is told: {finding:?}");
        }
    }

    #[test]
    fn what_the_host_reaches_is_told() {
        for (ipv4, ipv6, expected) in [
            (true, true, "IPv4 and IPv6"),
            (true, false, "no route for IPv6"),
            (false, true, "no route for IPv4"),
        ] {
            let Verdict::Sound(what) = routes(ipv4, ipv6) else { unreachable!("it reaches something") };
            assert!(what.contains(expected), "{what}");
        }
        assert!(has_route(Ipv4Addr::LOCALHOST.into()).is_ok());
    }

    #[test]
    fn name_servers_are_read_as_resolvers_read_them() {
        let text =
            b"# nameserver 1.1.1.1\nsearch lan\n nameserver\t10.0.0.1 # mine\nnameserver fe80::1%eth0\n\
            nameserver\nnameserver x\nnameservers 1.2.3.4\n\xff\nnameserver ::1";
        assert_eq!(name_servers(text), ["10.0.0.1", "fe80::1%eth0", "::1"]);
        assert!(name_servers(&[b'x'; FILE_LIMIT + 1]).is_empty());
    }
}
