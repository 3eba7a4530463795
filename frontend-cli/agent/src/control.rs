//! `Control`: the connection to the host over which the guest as a whole is spoken of.

use std::{
    io::{self, ErrorKind, Read},
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, PoisonError, mpsc::Sender},
    thread::sleep,
    time::{Duration, Instant},
};

use hv_agent_protocol::{AgentMessage, HostMessage, Outgoing, Reader, VERSION};
use rustix::system::uname;

use crate::{boot::set_clock, log::log, shutdown::Order, start_thread, vsock};

/// How long the vsock device may take to appear.
const PATIENCE: Duration = Duration::from_secs(10);

/// How soon is tried again.
const RETRY: Duration = Duration::from_millis(5);

/// How long the host may take to greet, and to read a failure.
const GREETING: Duration = Duration::from_secs(30);

/// The connection. Any thread may say something.
#[derive(Debug)]
pub(crate) struct Control {
    stream: UnixStream,
    /// One message is written at a time.
    speaking: Mutex<()>,
}

impl Control {
    /// Connects to the host, once the device is there.
    pub(crate) fn connect(cid: u32, port: u32) -> io::Result<Self> {
        let until = Instant::now() + PATIENCE;
        loop {
            match vsock::connect_to(cid, port) {
                Ok(stream) => return Ok(Self { stream, speaking: Mutex::default() }),
                Err(error) if Instant::now() >= until => return Err(error),
                Err(_) => sleep(RETRY),
            }
        }
    }

    pub(crate) fn say(&self, message: &AgentMessage<'_>) -> io::Result<()> {
        let _speaking = self.speaking.lock().unwrap_or_else(PoisonError::into_inner);
        let mut outgoing = Outgoing::default();
        outgoing.push(message)?;
        outgoing.write_to(&self.stream)
    }

    /// Says who this is.
    pub(crate) fn hello(&self) -> io::Result<()> {
        let uname = uname();
        self.say(&AgentMessage::Hello { version: VERSION, release: &uname.release().to_string_lossy() })
    }

    /// Waits for the host's greeting; its time, and what reads what it says next.
    pub(crate) fn welcome(&self) -> io::Result<(u64, Reader<UnixStream>)> {
        self.stream.set_read_timeout(Some(GREETING))?;
        let mut reader = Reader::new(self.stream.try_clone()?);
        let time = match reader.receive()? {
            Some(HostMessage::Welcome { version: VERSION, time }) => time,
            Some(HostMessage::Welcome { version, .. }) => {
                let reason = format!("the host speaks version {version}, the agent version {VERSION}");
                return Err(io::Error::new(ErrorKind::InvalidData, reason));
            }
            Some(_) => return Err(ErrorKind::InvalidData.into()),
            None => return Err(ErrorKind::UnexpectedEof.into()),
        };
        self.stream.set_read_timeout(None)?;
        Ok((time, reader))
    }

    /// Tells that the guest cannot be brought up, and gives the host time to read it.
    pub(crate) fn fail(&self, reason: &str) {
        let reason: String = reason.chars().take(1024).collect();
        // A host that is gone cannot be told.
        let _ = self.say(&AgentMessage::BootFailed { reason: &reason });
        let _ = self.stream.set_read_timeout(Some(Duration::from_secs(1)));
        let _ = io::copy(&mut (&self.stream).take(4096), &mut io::sink());
    }
}

/// Does what the host asks for, on a thread of its own. A host that is gone wants the guest gone.
pub(crate) fn listen(control: &Arc<Control>, mut reader: Reader<UnixStream>, orders: Sender<Order>) {
    let control = control.clone();
    start_thread("control", move || {
        if let Err(error) = obey(&control, &mut reader, &orders) {
            log(&format!("the host is not understood: {error}"));
        }
        // The main thread may be shutting down already.
        let _ = orders.send(Order::FAILED);
    });
}

fn obey(control: &Control, reader: &mut Reader<UnixStream>, orders: &Sender<Order>) -> io::Result<()> {
    while let Some(message) = reader.receive()? {
        let order = match message {
            HostMessage::Time { time } => {
                set_clock(time);
                continue;
            }
            HostMessage::Ping(number) => {
                control.say(&AgentMessage::Pong(number))?;
                continue;
            }
            HostMessage::PowerOff { grace } => {
                Order { reboot: false, grace: Duration::from_millis(grace.into()) }
            }
            HostMessage::Reboot { grace } => {
                Order { reboot: true, grace: Duration::from_millis(grace.into()) }
            }
            _ => {
                return Err(io::Error::new(
                    ErrorKind::InvalidData,
                    "not a message for the control connection",
                ));
            }
        };
        let _ = orders.send(order);
    }
    Ok(())
}
