//! Frames over streams that give and take as they like.

use super::*;
use crate::{
    Address, AgentMessage, BootConfig, Disk, HostMessage, MOST_ADDRESSES, MOST_DATA, MOST_NETWORKS, Network,
    Root, Size, Start, Status, Upper,
};

/// Gives one byte at a time, and says `WouldBlock` before each.
struct Drip<'a>(&'a [u8], bool);

impl Read for Drip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.1 = !self.1;
        if self.1 { Err(ErrorKind::WouldBlock.into()) } else { self.0.read(&mut buffer[..1]) }
    }
}

/// Takes seven bytes at a time.
#[derive(Default)]
struct Sip(Vec<u8>);

impl Write for Sip {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(7);
        self.0.extend(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn start() -> Start {
    Start {
        arguments: vec!["sh".into(), "-c".into(), "exit 42".into()],
        environment: vec![("A".into(), "ä=b".into())],
        working_directory: "/srv".into(),
        user: Some("www-data:adm".into()),
        terminal: Some(Size { columns: 80, rows: 24 }),
        stdin: true,
    }
}

#[test]
fn messages_arrive_as_they_were_sent() {
    let data: Vec<u8> = (0..MOST_DATA).map(|at| at.to_le_bytes()[0]).collect();
    let messages = [
        HostMessage::Welcome { version: 1, time: u64::MAX },
        HostMessage::Start(start()),
        HostMessage::Stdin(&data),
        HostMessage::StdinEnd,
        HostMessage::Signal(15),
    ];
    let mut outgoing = Outgoing::default();
    messages.iter().for_each(|message| outgoing.push(message).unwrap());
    let mut sip = Sip::default();
    outgoing.write_to(&mut sip).unwrap();
    assert!(outgoing.is_empty());

    let mut reader = Reader::new(&*sip.0);
    for message in &messages {
        assert_eq!(reader.receive::<HostMessage>().unwrap().as_ref(), Some(message));
    }
    assert_eq!(reader.receive::<HostMessage>().unwrap(), None);

    let mut reader = Reader::new(Drip(&sip.0, false));
    for message in &messages {
        loop {
            match reader.receive::<HostMessage>() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                received => break assert_eq!(received.unwrap().as_ref(), Some(message)),
            }
        }
    }
}

#[test]
fn a_frame_that_is_too_long_is_refused_before_it_comes() {
    let mut endless = [0xff, 0xff, 0xff, 0x7f].as_slice().chain(io::repeat(0));
    let error = Reader::new(&mut endless).receive::<AgentMessage>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    let mut edge = u32::try_from(MOST_FRAME + 1).unwrap().to_le_bytes().to_vec();
    edge.resize(MOST_FRAME + 10, 0);
    assert!(Reader::new(&*edge).receive::<AgentMessage>().is_err());
}

#[test]
fn what_is_no_message_is_refused() {
    for body in [&b""[..], b"\x63", b"\x0c\x00", b"\x01\x00", b"\x06\x02a"] {
        let mut frame = u32::try_from(body.len()).unwrap().to_le_bytes().to_vec();
        frame.extend(body);
        let error = Reader::new(&*frame).receive::<AgentMessage>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{body:?}");
    }
    let error = Reader::new(&b"\x05\0\0\0\x06"[..]).receive::<AgentMessage>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn a_message_that_is_too_long_is_not_sent() {
    let mut outgoing = Outgoing::default();
    outgoing.push(&AgentMessage::Exited(Status::Code(1))).unwrap();
    let before = outgoing.len();
    let long = Start { arguments: vec!["x".repeat(MOST_FRAME)], ..start() };
    assert_eq!(outgoing.push(&HostMessage::Start(long)).unwrap_err().kind(), ErrorKind::InvalidData);
    assert_eq!(outgoing.len(), before);
}

#[test]
fn what_was_written_does_not_pile_up() {
    let mut outgoing = Outgoing::default();
    let data = vec![7; MOST_DATA];
    for _ in 0..100 {
        outgoing.push(&AgentMessage::Stdout(&data)).unwrap();
        while outgoing.len() > 10 {
            outgoing.advance(outgoing.len().min(5000) - 1);
        }
        assert!(outgoing.buffer.len() <= 2 * COMPACT + MOST_FRAME);
    }
}

#[test]
fn the_greetings_stay_as_they_are() {
    let mut outgoing = Outgoing::default();
    outgoing.push(&AgentMessage::Hello { version: 1, release: "6.1" }).unwrap();
    assert_eq!(outgoing.buffer, b"\x06\0\0\0\x00\x01\x036.1");
    let mut outgoing = Outgoing::default();
    outgoing.push(&HostMessage::Welcome { version: 1, time: 2 }).unwrap();
    assert_eq!(outgoing.buffer, b"\x03\0\0\0\x00\x01\x02");
}

fn network() -> Network {
    let address = |address: &str, prefix| Address { address: address.parse().unwrap(), prefix };
    Network {
        mac: [0x52, 0x54, 0, 1, 2, 3],
        mtu: Some(1400),
        dhcp: false,
        router_advertisements: true,
        addresses: vec![address("10.0.2.15", 24), address("fd00:6876::15", 64)],
        gateways: vec!["10.0.2.2".parse().unwrap(), "fe80::2".parse().unwrap()],
        name_servers: vec!["10.0.2.3".parse().unwrap()],
    }
}

#[test]
fn networks_that_cannot_be_are_refused() {
    let config = |network: Network, count| BootConfig {
        modules: Vec::new(),
        host_name: String::new(),
        root: Root { lower: Disk { serial: String::new(), filesystem: String::new() }, upper: Upper::None },
        mounts: Vec::new(),
        networks: vec![network; count],
    };
    assert!(config(network(), MOST_NETWORKS).encode().is_ok());
    assert!(config(network(), MOST_NETWORKS + 1).encode().is_err());
    let mut wide = network();
    wide.addresses[0].prefix = 33;
    assert!(config(wide, 1).encode().is_err());
    let mut many = network();
    many.name_servers = vec!["::1".parse().unwrap(); MOST_ADDRESSES + 1];
    assert!(config(many, 1).encode().is_err());
    // What is written is checked as what is read is.
    let file = config(network(), 1).encode().unwrap();
    let at = file.windows(5).position(|bytes| bytes == [10, 0, 2, 15, 24]).unwrap();
    let wide = [&file[..at + 4], &[33], &file[at + 5..]].concat();
    assert!(BootConfig::decode(&wide).unwrap_err().to_string().contains("network"));
}

#[test]
fn a_boot_configuration_is_read_back() {
    let config = BootConfig {
        modules: vec!["/hv/modules/000-virtio.ko".into()],
        host_name: "guest".into(),
        root: Root {
            lower: Disk { serial: "root".into(), filesystem: "erofs".into() },
            upper: Upper::Memory { limit: Some(1 << 30) },
        },
        mounts: Vec::new(),
        networks: vec![network()],
    };
    let file = config.encode().unwrap();
    assert_eq!(BootConfig::decode(&file).unwrap(), config);
    assert!(BootConfig::decode(&file[..file.len() - 1]).is_err());
    assert!(BootConfig::decode(&[&*file, &[0]].concat()).is_err());
    assert!(BootConfig::decode(&[&[9, 0, 0, 0], &file[4..]].concat()).is_err());
    assert!(BootConfig::decode(&[]).is_err());
}
