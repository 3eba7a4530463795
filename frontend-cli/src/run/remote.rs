//! `Remote`: the guest as other processes see it through its control socket, and what they ask of the session.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError, SyncSender},
    },
    time::Duration,
};

use hv_control::{Answer, ConsoleTap, Handle, Order, State, Status};
use hv_core::{
    chardev::{Output, TerminalSize},
    hypervisor::Vm,
    machine::{self, board::Board},
};
use serde_json::Value;

use super::{Parts, Ring, Session, keyboard::Consoles};
use crate::{exit_code::Code, guests::Record, input::GuestInput, linux_signal, network::Counters};

/// So long the session may take for an order. It takes longer only where nobody reads the guest's output.
const PATIENCE: Duration = Duration::from_secs(5);
/// Who ends the guest does not care for its output as long.
const PATIENCE_AT_THE_END: Duration = Duration::from_secs(1);

/// An order of another process, and where the answer goes.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) order: Order,
    answer: SyncSender<Answer>,
}

/// The running guest.
pub(super) struct Remote {
    ring: Ring,
    output: Output,
    consoles: Consoles,
    tap: ConsoleTap,
    record: Record,
    network: Option<Counters>,
    state: Mutex<State>,
}

impl Remote {
    /// The guest of `parts`, as `record` describes it.
    pub(super) fn new<V: Vm<Arch: Board>>(
        parts: &Parts<V>,
        ring: Ring,
        tap: ConsoleTap,
        record: Option<&Record>,
    ) -> Arc<Self> {
        Arc::new(Self {
            ring,
            output: parts.output.clone(),
            consoles: parts.consoles.clone(),
            tap,
            record: record.cloned().unwrap_or_default(),
            network: parts.network.clone(),
            state: Mutex::new(State::Starting),
        })
    }

    pub(super) fn set_state(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    fn state(&self) -> State {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handle for Remote {
    fn status(&self) -> Status {
        Status { name: self.record.name.clone(), state: self.state(), pid: std::process::id() }
    }

    fn inspect(&self) -> Value {
        let mut record = serde_json::to_value(&self.record).unwrap_or_default();
        if let (Some(counters), Some(network)) =
            (&self.network, record.get_mut("network").and_then(Value::as_object_mut))
        {
            network.insert("counts".to_owned(), counters.to_json());
        }
        record
    }

    fn order(&self, order: Order) -> Answer {
        let (answer, answers) = mpsc::sync_channel(1);
        self.ring.order(super::Order::Remote(Request { order, answer }));
        let patience = if order == Order::End { PATIENCE_AT_THE_END } else { PATIENCE };
        match answers.recv_timeout(patience) {
            Ok(answer) => answer,
            Err(_) if order == Order::End => {
                // The session waits for somebody to read the guest's output, or has just ended.
                self.output.close();
                Answer::Done
            }
            Err(RecvTimeoutError::Disconnected) => Answer::error("the guest ends just now"),
            Err(RecvTimeoutError::Timeout) => Answer::error(
                "the guest waits for somebody to read its output; read it, or `hv kill` the guest",
            ),
        }
    }

    fn tap(&self) -> &ConsoleTap {
        &self.tap
    }

    fn type_in(&self, bytes: &[u8]) -> usize {
        self.consoles.send(bytes)
    }

    fn wait_for_room(&self, timeout: Duration) {
        GuestInput::wait_for_room(&self.consoles, timeout);
    }
}

impl<V: Vm<Arch: Board>> Session<'_, V> {
    /// Does what another process asks; the exit code if that is the end.
    pub(super) fn obey(&mut self, request: &Request) -> Option<Code> {
        let machine = &mut self.parts.machine;
        let answer = match request.order {
            Order::PowerButton => {
                // A guest that is held would not hear it.
                if machine.resume().is_ok() {
                    self.remote.set_state(State::Running);
                }
                let listens = match &self.command {
                    Some(command) => command.ask_to_end(),
                    None => machine.press_power_button(),
                };
                Answer::PowerButton { listens }
            }
            Order::Signal(number) => match &self.command {
                _ if !linux_signal::is_known(number) => {
                    Answer::error(format!("signal {number} cannot be sent; use one from 1 to 31"))
                }
                Some(command) if command.signal_if_it_runs(number) => Answer::Done,
                Some(_) => Answer::error("the guest's command does not run yet, or no more"),
                None => Answer::error(
                    "signals are for the commands of guests from images; `hv stop` presses this one's power button",
                ),
            },
            Order::Pause => match machine.pause() {
                Ok(()) => {
                    self.remote.set_state(State::Paused);
                    Answer::Done
                }
                Err(_) if machine.state() == machine::State::Paused => {
                    Answer::error("the guest is paused already")
                }
                Err(error) => Answer::error(error.to_string()),
            },
            Order::Resume => match machine.resume() {
                Ok(()) => {
                    self.remote.set_state(State::Running);
                    if let Some(command) = &self.command {
                        command.set_clock();
                    }
                    Answer::Done
                }
                Err(_) => Answer::error("the guest is not paused"),
            },
            Order::Resize { columns, rows } => {
                self.parts.console.resize(TerminalSize { columns, rows });
                Answer::Done
            }
            Order::End => Answer::Done,
        };
        // A client that left needs no answer.
        let _ = request.answer.try_send(answer);
        (request.order == Order::End).then(|| {
            self.end();
            Code::KILLED
        })
    }
}
