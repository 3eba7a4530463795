//! `ScriptedVcpu`: a core that takes one step of its script after the other.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{Script, Scripted, ScriptedArch, Step, vm::Memory};
use crate::{
    arch::X86_64,
    hypervisor::{Error, Exit, Kick, Result, Stop, Vcpu},
    testing::{RecordingChip, chip::State as ChipState},
};

/// A core.
pub struct ScriptedVcpu<A: ScriptedArch = X86_64> {
    index: u32,
    boots: VecDeque<Vec<Step>>,
    /// What it does since the last power-on or reset, and how far it is.
    boot: Vec<Step>,
    at: usize,
    /// It ran since then.
    begun: bool,
    host: Scripted<A>,
    memory: Arc<Memory>,
    state: A::CpuState,
    kicked: Arc<AtomicBool>,
    /// The access that the last exit handed out.
    buffer: [u8; 8],
    pending: Option<Pending>,
}

/// What becomes of the access that the last exit handed out, once it is answered.
enum Pending {
    /// A load of the script.
    Load { what: String, expected: Vec<u8> },
    /// An access of so many bytes that the core's hand asked for.
    Hand(usize),
}

/// Brings a scripted core back.
#[derive(Clone)]
pub struct ScriptedKick {
    kicked: Arc<AtomicBool>,
    chip: Arc<RecordingChip>,
}

/// What a step comes to.
enum Outcome {
    /// The next one.
    Done,
    /// The core was kicked before it was done.
    Kicked,
    /// It needs the machine.
    Exit(Step),
}

impl<A: ScriptedArch> ScriptedVcpu<A> {
    pub(super) fn new(index: u32, script: Script, host: Scripted<A>, memory: Arc<Memory>) -> Self {
        let mut boots = VecDeque::from(script);
        let boot = boots.pop_front().unwrap_or_default();
        Self {
            index,
            boots,
            boot,
            at: 0,
            begun: false,
            host,
            memory,
            state: A::CpuState::default(),
            kicked: Arc::default(),
            buffer: [0; 8],
            pending: None,
        }
    }

    /// Takes the answer to the last access; the line to crash with if it is another than expected.
    fn complete(&mut self) -> Option<String> {
        match self.pending.take()? {
            Pending::Load { what, expected } => {
                let found = self.buffer.split_at(expected.len()).0;
                (found != expected).then(|| format!("{what} found {found:02x?}, not {expected:02x?}"))
            }
            Pending::Hand(size) => {
                self.host.hands.done(self.index, self.buffer.split_at(size).0.to_vec());
                None
            }
        }
    }

    /// Goes through the script up to the step that needs the machine; nothing if the core was kicked before.
    fn walk(&mut self) -> Option<Step> {
        loop {
            if self.kicked.swap(false, Ordering::SeqCst) {
                return None;
            }
            let Some(step) = self.boot.get(self.at).cloned() else {
                match self.obey() {
                    Some(step) => return Some(step),
                    None => continue,
                }
            };
            if let Step::Again = step {
                self.at = 0;
                continue;
            }
            match self.take(step) {
                Outcome::Done => self.at += 1,
                Outcome::Kicked => {}
                Outcome::Exit(step) => {
                    self.at += 1;
                    return Some(step);
                }
            }
        }
    }

    /// Halts until a kick, or until its hand asks for something; that, if it needs the machine.
    fn obey(&mut self) -> Option<Step> {
        let Scripted { chip, hands, .. } = &self.host;
        chip.wait_until(|_| hands.asks(self.index) || self.kicked.load(Ordering::SeqCst));
        if !hands.asks(self.index) {
            return None;
        }
        let step = hands.take(self.index)?;
        let answer = match &step {
            Step::Read(address, blank) => {
                let mut found = blank.clone();
                self.memory.load(*address, &mut found).then_some(found)
            }
            Step::Write(address, data) => self.store(*address, data).then(Vec::new),
            _ => None,
        };
        if let Some(answer) = answer {
            hands.done(self.index, answer);
            return None;
        }
        if let Step::Read(_, data)
        | Step::Write(_, data)
        | Step::PortRead(_, data)
        | Step::PortWrite(_, data) = &step
        {
            self.pending = Some(Pending::Hand(data.len()));
        }
        Some(step)
    }

    /// Stores where no exit is needed; says whether that is so.
    fn store(&self, address: u64, data: &[u8]) -> bool {
        let value = data.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte));
        self.memory.store(address, data) || self.host.doorbells.store(address, value)
    }

    fn take(&self, step: Step) -> Outcome {
        match &step {
            Step::Write(address, data) if self.store(*address, data) => return Outcome::Done,
            Step::Read(address, expected) => {
                let mut found = vec![0; expected.len()];
                if self.memory.load(*address, &mut found) {
                    let crash = || Step::Crash(format!("load from {address:#x} found {found:02x?}"));
                    return if found == *expected { Outcome::Done } else { Outcome::Exit(crash()) };
                }
            }
            Step::WaitMsi(message) => return self.halt(|chip| chip.take(*message)),
            Step::WaitLine(gsi) => return self.halt(|chip| chip.line(*gsi)),
            _ => {}
        }
        Outcome::Exit(step)
    }

    /// Waits for `come` or a kick.
    fn halt(&self, come: impl Fn(&mut ChipState) -> bool) -> Outcome {
        let mut came = false;
        self.host.chip.wait_until(|chip| {
            came = come(chip);
            came || self.kicked.load(Ordering::SeqCst)
        });
        if came { Outcome::Done } else { Outcome::Kicked }
    }

    /// The bytes of an access, where its exit can show them.
    fn hand_out(&mut self, bytes: &[u8]) -> &mut [u8] {
        let data = self.buffer.get_mut(..bytes.len()).expect("a script's accesses have at most 8 bytes");
        data.copy_from_slice(bytes);
        data
    }

    fn await_answer(&mut self, what: String, expected: Vec<u8>) -> &mut [u8] {
        let blank = vec![0; expected.len()];
        self.pending.get_or_insert(Pending::Load { what, expected });
        self.hand_out(&blank)
    }

    /// Notes the registers with which the core begins; then the guest's code has changed them.
    fn begin(&mut self) {
        if !std::mem::replace(&mut self.begun, true) {
            self.host.note_start(self.index, &self.state);
            A::disturb(&mut self.state);
        }
    }
}

impl<A: ScriptedArch> Vcpu for ScriptedVcpu<A> {
    type Arch = A;
    type Kick = ScriptedKick;

    fn run(&mut self) -> Result<Exit<'_>> {
        self.begin();
        if let Some(line) = self.complete() {
            return Ok(Exit::Stop(Stop::Crash(line)));
        }
        let Some(step) = self.walk() else { return Ok(Exit::Kicked) };
        Ok(match step {
            Step::Write(address, data) => Exit::MmioWrite { address, data: self.hand_out(&data) },
            Step::Read(address, expected) => {
                let what = format!("load from {address:#x}");
                Exit::MmioRead { address, data: self.await_answer(what, expected) }
            }
            Step::PortWrite(port, data) => Exit::PioWrite { port, data: self.hand_out(&data) },
            Step::PortRead(port, expected) => {
                let what = format!("read from port {port:#x}");
                Exit::PioRead { port, data: self.await_answer(what, expected) }
            }
            Step::WaitMsi(_) | Step::WaitLine(_) | Step::Again => unreachable!("the walk goes past these"),
            Step::PowerOff => Exit::Stop(Stop::PowerOff),
            Step::Reset => Exit::Stop(Stop::Reset),
            Step::Crash(line) => Exit::Stop(Stop::Crash(line)),
            Step::Fail(line) => return Err(Error::new("run", io::Error::other(line))),
        })
    }

    fn kick(&self) -> ScriptedKick {
        ScriptedKick { kicked: Arc::clone(&self.kicked), chip: Arc::clone(&self.host.chip) }
    }

    /// An answer that is not as expected is then told by the next [`run`](Vcpu::run).
    fn state(&mut self) -> Result<A::CpuState> {
        if let Some(line) = self.complete() {
            self.boot.insert(self.at, Step::Crash(line));
        }
        Ok(self.state.clone())
    }

    fn set_state(&mut self, state: &A::CpuState) -> Result<()> {
        self.state = state.clone();
        Ok(())
    }

    /// Goes on with what the script has for the next power-on.
    fn reset(&mut self) -> Result<()> {
        self.host.check("reset", self.index)?;
        self.pending = None;
        self.state = A::CpuState::default();
        if std::mem::take(&mut self.begun) {
            self.boot = self.boots.pop_front().unwrap_or_default();
            self.at = 0;
        }
        Ok(())
    }
}

impl Kick for ScriptedKick {
    fn kick(&self) {
        self.kicked.store(true, Ordering::SeqCst);
        self.chip.nudge();
    }
}
