//! `ScriptedVcpu`: a core that takes one step of its script after the other.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{Script, Scripted, Step, vm::Memory};
use crate::{
    arch::{X86_64, x86_64::CpuState},
    hypervisor::{Exit, Kick, Result, Stop, Vcpu},
    testing::{RecordingChip, chip::State as ChipState},
};

/// A core.
pub struct ScriptedVcpu {
    boots: VecDeque<Vec<Step>>,
    steps: VecDeque<Step>,
    host: Scripted,
    memory: Arc<Memory>,
    state: CpuState,
    kicked: Arc<AtomicBool>,
    /// The access that the last exit handed out.
    buffer: [u8; 8],
    pending: Option<Pending>,
}

/// A load whose answer is awaited.
struct Pending {
    what: String,
    expected: Vec<u8>,
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

impl ScriptedVcpu {
    pub(super) fn new(script: Script, host: Scripted, memory: Arc<Memory>) -> Self {
        let mut boots = VecDeque::from(script);
        let steps = boots.pop_front().unwrap_or_default().into();
        let kicked = Arc::default();
        Self { boots, steps, host, memory, state: CpuState::default(), kicked, buffer: [0; 8], pending: None }
    }

    /// Takes the answer to the last load; the line to crash with if it is another than expected.
    fn complete(&mut self) -> Option<String> {
        let Pending { what, expected } = self.pending.take()?;
        let found = self.buffer.split_at(expected.len()).0;
        (found != expected).then(|| format!("{what} found {found:02x?}, not {expected:02x?}"))
    }

    /// Goes through the script up to the step that needs the machine; nothing if the core was kicked before.
    fn walk(&mut self) -> Option<Step> {
        loop {
            if self.kicked.swap(false, Ordering::SeqCst) {
                return None;
            }
            let Some(step) = self.steps.front().cloned() else {
                self.halt(|_| false);
                continue;
            };
            match self.take(step) {
                Outcome::Done => drop(self.steps.pop_front()),
                Outcome::Kicked => {}
                Outcome::Exit(step) => {
                    self.steps.pop_front();
                    return Some(step);
                }
            }
        }
    }

    fn take(&self, step: Step) -> Outcome {
        match &step {
            Step::Write(address, data) => {
                let value = data.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte));
                if self.memory.store(*address, data) || self.host.doorbells.store(*address, value) {
                    return Outcome::Done;
                }
            }
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
        self.pending = Some(Pending { what, expected });
        self.hand_out(&blank)
    }
}

impl Vcpu for ScriptedVcpu {
    type Arch = X86_64;
    type Kick = ScriptedKick;

    fn run(&mut self) -> Result<Exit<'_>> {
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
            Step::WaitMsi(_) | Step::WaitLine(_) => unreachable!("a halt is over or kicked"),
            Step::PowerOff => Exit::Stop(Stop::PowerOff),
            Step::Reset => Exit::Stop(Stop::Reset),
            Step::Crash(line) => Exit::Stop(Stop::Crash(line)),
        })
    }

    fn kick(&self) -> ScriptedKick {
        ScriptedKick { kicked: Arc::clone(&self.kicked), chip: Arc::clone(&self.host.chip) }
    }

    /// An answer that is not as expected is then told by the next [`run`](Vcpu::run).
    fn state(&mut self) -> Result<CpuState> {
        if let Some(line) = self.complete() {
            self.steps.push_front(Step::Crash(line));
        }
        Ok(self.state.clone())
    }

    fn set_state(&mut self, state: &CpuState) -> Result<()> {
        self.state = state.clone();
        Ok(())
    }

    /// Goes on with what the script has for the next power-on.
    fn reset(&mut self) -> Result<()> {
        self.pending = None;
        self.state = CpuState::default();
        self.steps = self.boots.pop_front().unwrap_or_default().into();
        Ok(())
    }
}

impl Kick for ScriptedKick {
    fn kick(&self) {
        self.kicked.store(true, Ordering::SeqCst);
        self.chip.nudge();
    }
}
