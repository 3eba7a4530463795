//! What a DHCP server says to the agent in a guest.

/// The card and the question that answers are for.
const MAC: [u8; 6] = [0x52, 0x54, 0, 1, 2, 3];
const TRANSACTION: [u8; 4] = [1, 2, 3, 4];

/// An answer of a DHCP server, as it is and made out to the card that asked.
///
/// What it gives are addresses of machines, and few; a question that takes it up is a packet. (The agent is for Linux.)
///
/// # Panics
/// One of these is not so.
pub fn dhcp_answer(data: &[u8]) {
    play(data);
    let mut addressed = data.to_vec();
    if let Some(header) = addressed.first_chunk_mut::<240>() {
        header[0] = 2;
        header[4..8].copy_from_slice(&TRANSACTION);
        header[28..34].copy_from_slice(&MAC);
        header[236..].copy_from_slice(&[99, 130, 83, 99]);
        play(&addressed);
    }
}

#[cfg(target_os = "linux")]
fn play(message: &[u8]) {
    use std::net::Ipv4Addr;

    use hv_init::dhcp::{Client, Kind, Lease, answer};

    let client = Client { mac: MAC, host_name: "guest" };
    let Some((kind, lease)) = answer(message, client, TRANSACTION) else { return };
    let Lease { address, prefix, routers, name_servers, .. } = &lease;
    let is_host = |address: &Ipv4Addr| {
        !(address.is_unspecified()
            || address.is_broadcast()
            || address.is_multicast()
            || address.is_loopback())
    };
    assert!(kind == Kind::Refusal || is_host(address), "{lease:?}");
    assert!(*prefix <= 32 && routers.len() <= 4 && name_servers.len() <= 4);
    assert!(routers.iter().chain(name_servers).all(is_host), "{lease:?}");
    let question = client.question(TRANSACTION, Some(&lease));
    assert!((300..=576).contains(&question.len()), "{} bytes", question.len());
    assert!(answer(&question, client, TRANSACTION).is_none(), "a question is no answer");
}

#[cfg(not(target_os = "linux"))]
fn play(_: &[u8]) {}
