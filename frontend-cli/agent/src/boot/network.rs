//! The host name, the loopback interface, and the files in `/etc` that name machines.

use std::{fs, io};

use rustix::{
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with},
    system::sethostname,
};

use crate::{file, log::log};

/// Sets up what a guest needs even without a network. A guest lives without it, so failures are only told.
pub(super) fn set_up(host_name: &str, resolv_conf: &str) {
    let told = |what: &str, result: io::Result<()>| {
        if let Err(error) = result {
            log(&format!("{what}: {error}"));
        }
    };
    told("the host name cannot be set", sethostname(host_name.as_bytes()).map_err(io::Error::from));
    told("the loopback interface does not come up", loopback());
    told("/etc cannot be made", fs::create_dir_all("/etc"));
    told("/etc/hostname cannot be written", fs::write("/etc/hostname", format!("{host_name}\n")));
    told("/etc/hosts cannot be written", hosts(host_name));
    if !resolv_conf.is_empty() && is_empty("/etc/resolv.conf") {
        // A link to what a service would write is worth nothing without the service.
        let _ = fs::remove_file("/etc/resolv.conf");
        told("/etc/resolv.conf cannot be written", fs::write("/etc/resolv.conf", resolv_conf));
    }
}

/// Names this machine in `/etc/hosts`, unless it is there.
fn hosts(host_name: &str) -> io::Result<()> {
    let mut text = match file::text("/etc/hosts") {
        Ok(text) if !text.trim().is_empty() => text,
        _ => "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned(),
    };
    if text.lines().any(|line| line.split_whitespace().skip(1).any(|name| name == host_name)) {
        return Ok(());
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    fs::write("/etc/hosts", format!("{text}127.0.1.1\t{host_name}\n"))
}

fn is_empty(path: &str) -> bool {
    file::text(path).map_or(true, |text| text.trim().is_empty())
}

/// Brings `lo` up by rtnetlink, which gives it its addresses.
fn loopback() -> io::Result<()> {
    const RTM_NEWLINK: u16 = 16;
    const REQUEST_AND_ACKNOWLEDGE: u16 = 5;
    const LOOPBACK_INDEX: u32 = 1;
    const UP: u32 = 1;
    // struct nlmsghdr, then struct ifinfomsg: family and type, index, flags, and which flags change.
    let mut message = Vec::from(32_u32.to_ne_bytes());
    message.extend([RTM_NEWLINK, REQUEST_AND_ACKNOWLEDGE].map(u16::to_ne_bytes).as_flattened());
    message.extend([1, 0, 0, LOOPBACK_INDEX, UP, UP].map(u32::to_ne_bytes).as_flattened());
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    send(&socket, &message, SendFlags::empty())?;
    // struct nlmsgerr behind the header: a negated error number, 0 for success.
    let mut answer = [0; 64];
    recv(&socket, &mut answer, RecvFlags::empty())?;
    match answer.get(16..20).and_then(<[u8]>::first_chunk).map(|code| i32::from_ne_bytes(*code)) {
        Some(0) => Ok(()),
        code => Err(io::Error::from_raw_os_error(code.unwrap_or(0).saturating_neg())),
    }
}
