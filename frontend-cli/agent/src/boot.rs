//! Brings the guest up: from the initramfs to a root in which commands run.

mod disks;
mod modules;
mod network;
mod root;
mod system;

use std::{
    fs,
    io::{self, Read},
    sync::{Arc, mpsc},
};

use hv_agent_protocol::{AgentMessage, BOOT_CONFIG, BootConfig, HOST_CID, MOST_BOOT_CONFIG, PORT};
use rustix::{
    mount::{MountFlags, mount},
    time::{ClockId, Timespec, clock_settime},
};

use crate::{
    Children,
    control::{self, Control},
    power_button,
    shutdown::Running,
    signals, sockets, start_thread, vsock,
};

/// Brings the guest up. What fails is one line, which the host was told if it could be.
pub(crate) fn boot() -> Result<Running, String> {
    let early = early_filesystems().and_then(|()| config());
    let modules = early.as_ref().map_or(Ok(()), |config| modules::load(&config.modules));
    let control = Control::connect(HOST_CID, PORT).map_err(|error| {
        let reason = early.as_ref().err().or(modules.as_ref().err());
        reason.cloned().unwrap_or_else(|| format!("the host cannot be reached over vsock: {error}"))
    })?;
    let control = Arc::new(control);
    control.hello().map_err(|error| format!("the host does not listen: {error}"))?;
    let booted = early.and_then(|config| bring_up(&config, &control));
    booted.map_err(|reason| {
        let reason = match modules {
            Err(module) => format!("{reason} ({module})"),
            Ok(()) => reason,
        };
        control.fail(&reason);
        reason
    })
}

fn bring_up(config: &BootConfig, control: &Arc<Control>) -> Result<Running, String> {
    let failed = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    let writable = root::mount_root(&config.root)?;
    let (time, reader) = control.welcome().map_err(failed("the host gives no welcome"))?;
    set_clock(time);
    root::enter()?;
    system::mount_all(&config.mounts)?;
    network::set_up(config);

    let listener =
        vsock::Listener::bind(PORT).map_err(failed("the vsock port of sessions cannot be taken"))?;
    let children = Arc::new(Children::default());
    let reaped = children.clone();
    let started = start_thread("reaper", move || reaped.reap())
        && start_thread("sessions", move || sockets::serve(&listener, &children));
    if !started {
        return Err("the guest has no memory for threads".to_owned());
    }
    let (orders, received) = mpsc::channel();
    power_button::watch(&orders);
    signals::watch(&orders);
    control.say(&AgentMessage::Ready).map_err(failed("the host is gone"))?;
    control::listen(control, reader, orders);
    Ok(Running::new(control.clone(), received, writable))
}

/// What the kernel shows and devices; the host's words need them.
fn early_filesystems() -> Result<(), String> {
    for (filesystem, target) in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev")] {
        let flags = MountFlags::NOSUID;
        mount(filesystem, target, filesystem, flags, None)
            .map_err(|error| format!("{filesystem} cannot be mounted: {error}"))?;
    }
    Ok(())
}

fn config() -> Result<BootConfig, String> {
    let failed = |error: io::Error| format!("{BOOT_CONFIG} cannot be read: {error}");
    let mut bytes = Vec::new();
    let file = fs::File::open(BOOT_CONFIG).map_err(failed)?;
    let most = u64::try_from(MOST_BOOT_CONFIG).unwrap_or(u64::MAX).saturating_add(1);
    file.take(most).read_to_end(&mut bytes).map_err(failed)?;
    BootConfig::decode(&bytes).map_err(failed)
}

/// Sets the guest's clock to the host's time, in nanoseconds since 1970.
pub(crate) fn set_clock(time: u64) {
    const SECOND: u64 = 1_000_000_000;
    let seconds = i64::try_from(time / SECOND).unwrap_or(i64::MAX);
    let nanoseconds = i64::try_from(time % SECOND).unwrap_or(0);
    if let Err(error) = clock_settime(ClockId::Realtime, Timespec { tv_sec: seconds, tv_nsec: nanoseconds }) {
        crate::log::log(&format!("the clock cannot be set: {error}"));
    }
}
