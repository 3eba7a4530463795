//! Accepts the host's connections for sessions.

use std::{io::ErrorKind, sync::Arc, thread, time::Duration};

use hv_agent_protocol::HOST_CID;

use crate::{Children, log::log, session, vsock::Listener};

/// The stack of a session's thread.
const STACK: usize = 256 << 10;

/// Serves each connection on a thread of its own, for ever.
pub(crate) fn serve(listener: &Listener, children: &Arc<Children>) {
    loop {
        let stream = match listener.accept() {
            // Whoever is in the guest must not become root by it.
            Ok((_, cid)) if cid != HOST_CID => continue,
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => {
                log(&format!("no session can be accepted: {error}"));
                thread::sleep(Duration::from_millis(100));
                continue;
            }
        };
        let children = children.clone();
        let session = move || {
            if let Err(error) = session::serve(&stream, &children) {
                log(&format!("a session broke off: {error}"));
            }
        };
        if let Err(error) = thread::Builder::new().name("session".to_owned()).stack_size(STACK).spawn(session)
        {
            log(&format!("no thread for a session: {error}"));
        }
    }
}
