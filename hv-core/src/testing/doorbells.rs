//! `SoftDoorbells`: a host that watches doorbells, with sockets instead of a kernel's help.

use std::{
    collections::HashMap,
    io::{ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::io::{Doorbell, DoorbellHost, WatchedDoorbell};

/// Watches doorbells; [`store`](Self::store) is the guest's store.
#[derive(Debug, Clone, Default)]
pub struct SoftDoorbells(Arc<Mutex<HashMap<Doorbell, Ends>>>);

/// Both ends of a socket whose far end a worker watches.
#[derive(Debug)]
struct Ends {
    near: UnixStream,
    far: UnixStream,
}

impl SoftDoorbells {
    /// A guest's store of `value`: true if it rang a doorbell, false if it must go to the bus.
    pub fn store(&self, address: u64, value: u32) -> bool {
        let mut doorbells = self.doorbells();
        [Some(value), None].into_iter().any(|value| match doorbells.get_mut(&Doorbell { address, value }) {
            Some(ends) => ends.ring(),
            None => false,
        })
    }

    /// How many doorbells are watched.
    pub fn watched(&self) -> usize {
        self.doorbells().len()
    }

    fn doorbells(&self) -> MutexGuard<'_, HashMap<Doorbell, Ends>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ends {
    /// Makes an edge: nobody reads the far end, so a full socket is emptied first.
    fn ring(&mut self) -> bool {
        while let Err(error) = self.near.write_all(b"x") {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            let mut rest = [0; 4096];
            while self.far.read(&mut rest).is_ok() {}
        }
        true
    }
}

impl DoorbellHost for SoftDoorbells {
    fn watch(&self, doorbell: Doorbell) -> Option<WatchedDoorbell> {
        let (near, far) = UnixStream::pair().ok()?;
        near.set_nonblocking(true).ok()?;
        far.set_nonblocking(true).ok()?;
        let fd = far.try_clone().ok()?.into();
        self.doorbells().insert(doorbell, Ends { near, far });
        Some(WatchedDoorbell::new(fd, Watch { host: self.clone(), doorbell }))
    }
}

struct Watch {
    host: SoftDoorbells,
    doorbell: Doorbell,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.host.doorbells().remove(&self.doorbell);
    }
}
