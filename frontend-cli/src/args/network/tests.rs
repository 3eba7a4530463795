//! Networks and ports as they are written, and as they are not.

use proptest::prelude::*;

use super::*;

fn cable_of(text: &str) -> Cable {
    net(text).unwrap().cable
}

/// Checks that a text is refused by a line with these words.
fn refused<T: fmt::Debug>(parse: fn(&str) -> Result<T, String>, cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        let line = parse(text).unwrap_err();
        assert!(line.contains(expected) && !line.contains('\n'), "{text}: {line}");
    }
}

#[test]
fn networks() {
    assert_eq!(net("user"), Ok(Net::default()));
    assert_eq!(cable_of("user,host"), Cable::User { host: true, segment: None });
    assert_eq!(cable_of("user,segment=lab"), Cable::User { host: false, segment: Some("lab".to_owned()) });
    assert_eq!(cable_of("none"), Cable::None);
    assert_eq!(cable_of("tap=tap0"), Cable::Tap("tap0".to_owned()));
    assert_eq!(cable_of("socket=/run/a=b.sock"), Cable::Socket("/run/a=b.sock".into()));
    assert_eq!(cable_of("vmnet,mode=shared"), cable_of("vmnet"));
    assert_eq!(cable_of("vmnet,mode=host"), Cable::Vmnet(Mode::Host));
    for text in ["none", "user", "tap=tap0", "socket=/a", "vmnet"] {
        assert_eq!(cable_of(text).to_string(), text);
    }
    let full = net("tap=t,mac=52-54-00-AB-cd-ef,mtu=9000,queues=4,bw=50M,burst=5M,capture=a.pcapng").unwrap();
    assert_eq!(full.mac.unwrap().to_string(), "52:54:00:ab:cd:ef");
    assert_eq!((full.mtu, full.queues.map(NonZeroU16::get)), (Some(9000), Some(4)));
    assert_eq!(full.bandwidth.map(NonZeroU64::get), Some(50 << 20));
    assert_eq!(full.burst.map(NonZeroU64::get), Some(5 << 20));
    assert_eq!(full.capture, Some("a.pcapng".into()));
}

#[test]
fn networks_that_are_none() {
    refused(
        net,
        &[
            ("", "user, none, tap=NAME, socket=PATH or vmnet"),
            ("bridge", "`bridge`"),
            ("tap", "tap=NAME"),
            ("tap=", "1 to 15"),
            ("tap=0123456789abcdef", "1 to 15"),
            ("tap=a/b", "a/b"),
            ("tap=..", "`..`"),
            ("socket=", "socket=PATH"),
            ("none,mac=52:54:00:12:34:56", "none alone"),
            ("tap=t,host", "user,host"),
            ("socket=s,segment=a", "user,segment=a"),
            ("user,segment=", "segment ``"),
            ("user,segment=a/b", "segment `a/b`"),
            ("user,", "``"),
            ("user,host=1", "`host=1`"),
            ("user,mtu=1279", "1280 to 1500"),
            ("user,mtu=1501", "1280 to 1500"),
            ("tap=t,mtu=70000", "65535"),
            ("vmnet,mtu=9000", "1280 to 1500"),
            ("vmnet=shared", "vmnet first"),
            ("vmnet,mode=bridged", "shared or host"),
            ("vmnet,host", "user,host"),
            ("user,mode=host", "vmnet,mode=host"),
            ("vmnet,queues=2", "only a tap"),
            ("user,queues=2", "only a tap"),
            ("tap=t,queues=0", "1 to 15"),
            ("tap=t,queues=16", "1 to 15"),
            ("user,bw=50", "bw `50`"),
            ("user,burst=5M", "bw=SIZE"),
            ("user,bw=5M,burst=x", "burst `x`"),
            ("user,capture=", "capture=FILE"),
        ],
    );
}

#[test]
fn addresses_of_cards() {
    assert_eq!(mac("02:00:00:00:00:01"), Ok(Mac([2, 0, 0, 0, 0, 1])));
    refused(
        mac,
        &[
            ("", "six bytes"),
            ("52:54:00:12:34", "six bytes"),
            ("52:54:00:12:34:56:78", "six bytes"),
            ("52:54:00:12:34:5", "six bytes"),
            ("52:54:00:12:34:+5", "six bytes"),
            ("52:54:00-12:34:56", "six bytes"),
            ("525400123456", "`525400123456`"),
            ("zz:54:00:12:34:56", "hexadecimal"),
            ("53:54:00:12:34:56", "first byte is odd"),
            ("ff:ff:ff:ff:ff:ff", "first byte is odd"),
            ("00:00:00:00:00:00", "nobody's"),
        ],
    );
}

#[test]
fn ports() {
    for (text, protocol, address, host, guest) in [
        ("8080:80", Protocol::Tcp, "127.0.0.1", 8080, 80),
        ("8080:80/tcp", Protocol::Tcp, "127.0.0.1", 8080, 80),
        ("0:53/udp", Protocol::Udp, "127.0.0.1", 0, 53),
        ("0.0.0.0:8080:80", Protocol::Tcp, "0.0.0.0", 8080, 80),
        ("[::1]:8080:80", Protocol::Tcp, "::1", 8080, 80),
        ("[::]:65535:65535/udp", Protocol::Udp, "::", 65535, 65535),
    ] {
        let expected = Publish { protocol, address: address.parse().unwrap(), host, guest };
        assert_eq!(publish(text), Ok(expected), "{text}");
        assert_eq!(publish(&expected.to_string()), Ok(expected), "{expected}");
    }
    refused(
        publish,
        &[
            ("", "two ports"),
            ("80", "two ports"),
            ("8080:", "port ``"),
            (":80", "port ``"),
            ("8080:0", "port `0`"),
            ("65536:80", "port `65536`"),
            ("+80:80", "port `+80`"),
            ("8080:http", "port `http`"),
            ("8080:80/sctp", "tcp or udp"),
            ("8080:80/", "tcp or udp"),
            ("localhost:8080:80", "127.0.0.1"),
            ("1.2.3:8080:80", "`1.2.3`"),
            ("::1:8080:80", "brackets"),
            ("[::1:8080:80", "no end"),
            ("[127.0.0.1]:8080:80", "IPv6"),
            ("[::1]:8080", "two ports"),
        ],
    );
}

#[test]
fn a_port_needs_the_network_that_leads_to_it() {
    let arguments = |net_text: &str| NetworkArguments {
        net: Some(net(net_text).unwrap()),
        publish: vec![publish("[::1]:8080:80").unwrap()],
    };
    assert_eq!(arguments("user,host").contradiction(), None);
    for (text, expected) in [("none", "--net none"), ("tap=t", "--net tap=t"), ("socket=s", "--net socket=s")]
    {
        let line = arguments(text).contradiction().unwrap();
        assert!(line.contains(expected) && line.contains("[::1]:8080:80"), "{line}");
    }
}

proptest! {
    #[test]
    fn errors_are_one_line(text in "[^\n]*", net_tail in "[a-z=,:0-9]{0,20}", port in "[\\[\\]:0-9a-f./]{0,20}") {
        let net_text = format!("user,{net_tail}");
        let errors = [net(&text).err(), net(&net_text).err(), publish(&text).err(), publish(&port).err()];
        prop_assert!(errors.iter().flatten().all(|line| !line.contains('\n')));
        if let Ok(parsed) = publish(&port) {
            prop_assert_eq!(publish(&parsed.to_string()), Ok(parsed));
        }
    }
}
