//! Two consoles on one screen.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use hv_core::chardev::{CharSink, ConsoleMerge, Full, MergePort, Port, Wake};

use crate::Input;

/// What the screen got; refuses everything while it is full.
#[derive(Clone, Default)]
struct Screen(Arc<Mutex<(Vec<u8>, bool)>>);

impl CharSink for Screen {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Full> {
        let mut screen = self.0.lock().unwrap();
        if screen.1 {
            return Err(Full);
        }
        screen.0.extend_from_slice(bytes);
        Ok(())
    }

    fn on_room(&mut self, _: Wake) {}
}

struct Consoles {
    merge: ConsoleMerge,
    ports: [MergePort; 2],
    screen: Screen,
    /// What each port had taken.
    written: [Vec<u8>; 2],
}

/// What the ports write, by the first byte: the same log on both, text on one of them, or anything on both.
///
/// Nothing that is text is lost and each port's stays in order; each log record comes as often as on the port that
/// brought it most; a full screen loses nothing.
///
/// # Panics
/// The merge breaks one of these.
pub fn console_merge(data: &[u8]) {
    let mut input = Input::new(data);
    let screen = Screen::default();
    let merge = ConsoleMerge::new(screen.clone());
    let ports = [merge.port(Port::Uart), merge.port(Port::Virtio)];
    let mut consoles = Consoles { merge, ports, screen, written: Default::default() };
    match input.u8() % 3 {
        0 => consoles.same_log(&mut input),
        1 => consoles.text_beside_anything(&mut input),
        _ => consoles.anything(&mut input),
    }
}

impl Consoles {
    /// True if the port took it.
    fn write(&mut self, port: usize, bytes: &[u8]) -> bool {
        let taken = self.ports[port].write(bytes).is_ok();
        if taken {
            self.written[port].extend_from_slice(bytes);
        }
        taken
    }

    fn shown(&self) -> Vec<u8> {
        self.set_full(false);
        self.merge.flush().expect("the screen has room");
        self.screen.0.lock().unwrap().0.clone()
    }

    fn set_full(&self, full: bool) {
        self.screen.0.lock().unwrap().1 = full;
    }

    /// Both write the same records, cut into any pieces.
    fn same_log(&mut self, input: &mut Input<'_>) {
        let mut log = Vec::new();
        for _ in 0..input.below(12) {
            log.extend_from_slice(format!("[{:5}.{:06}] ", input.u8() & 3, input.u8() & 1).as_bytes());
            let most = usize::from(input.u8() & 0x3f);
            log.extend(input.bytes(most).iter().map(|byte| byte & 0x1f | 0x40));
            log.push(b'\n');
        }
        let mut rest = [&log[..], &log[..]];
        while rest.iter().any(|rest| !rest.is_empty()) {
            let (port, most) = (usize::from(input.flag()), 1 + usize::from(input.u8()));
            let port = if rest[port].is_empty() { 1 - port } else { port };
            let (piece, after) = rest[port].split_at(most.min(rest[port].len()));
            self.write(port, piece);
            rest[port] = after;
        }
        assert_eq!(counts(&self.shown()), counts(&log));
    }

    /// One port writes bytes from 0x80 up, which are no record; the other any below, which it alone has.
    fn text_beside_anything(&mut self, input: &mut Input<'_>) {
        while !input.is_empty() {
            let (port, most) = (usize::from(input.flag()), usize::from(input.u8()));
            self.set_full(input.u8() == 0);
            let high = |byte: &u8| if *byte == b'\n' { *byte } else { byte | 0x80 };
            let low = |byte: &u8| match byte & 0x7f {
                b'\r' => b'[',
                low => low,
            };
            let bytes = input.bytes(most).iter();
            let bytes: Vec<_> = if port == 0 { bytes.map(high).collect() } else { bytes.map(low).collect() };
            self.write(port, &bytes);
        }
        let shown = self.shown();
        for (port, high) in [(0, true), (1, false)] {
            let of_port = |byte: &&u8| !b"\r\n".contains(byte) && (**byte >= 0x80) == high;
            let both =
                [&shown, &self.written[port]].map(|bytes| bytes.iter().filter(of_port).collect::<Vec<_>>());
            assert!(both[0] == both[1], "port {port} is not shown as it was written");
        }
    }

    /// The screen shows nothing that was not written, but for ends of lines.
    fn anything(&mut self, input: &mut Input<'_>) {
        while !input.is_empty() {
            let (port, most) = (usize::from(input.flag()), usize::from(input.u8()));
            self.set_full(input.u8() == 0);
            match input.u8() {
                0 => self.merge.reset(),
                1 => drop(self.merge.flush()),
                2 => drop(self.write(port, &vec![b'x'; 2000])),
                3 => drop(self.write(port, b"[    1.000000] ")),
                _ => drop(self.write(port, input.bytes(most))),
            }
        }
        let shown = tally(&self.shown());
        let written = tally(&self.written.concat());
        for (byte, count) in shown {
            let most = written.get(&byte).copied().unwrap_or_default();
            assert!(
                b"\r\n".contains(&byte) || count <= most,
                "{count} times {byte:#x}, written {most} times"
            );
        }
    }
}

/// How often each line comes.
fn counts(text: &[u8]) -> HashMap<&[u8], usize> {
    let mut counts = HashMap::new();
    for line in text.split(|byte| *byte == b'\n') {
        *counts.entry(line.trim_ascii_end()).or_default() += 1;
    }
    counts
}

fn tally(text: &[u8]) -> HashMap<u8, usize> {
    let mut counts = HashMap::new();
    for byte in text {
        *counts.entry(*byte).or_default() += 1;
    }
    counts
}
