//! `hv ps` and `hv inspect`.

use anyhow::Context;
use hv_control::{Answer, Request};
use serde_json::{Map, Value};

use super::{show_json, show_table};
use crate::{
    args::PsArguments,
    exit_code::Code,
    guests::{self, End, Guest, Guests, Life},
    table,
};

/// So much of a command or image is shown in a table.
const SHOWN: usize = 40;

/// Lists guests.
pub(super) fn ps(guests: &Guests, arguments: &PsArguments) -> anyhow::Result<Code> {
    let listed = guests.iter().filter(|guest| arguments.all || guest.life != Life::Stopped);
    if arguments.json {
        let all: Vec<Value> = listed.map(json).collect::<anyhow::Result<_>>()?;
        show_json(&Value::Array(all))?;
    } else {
        let heading = ["NAME", "IMAGE", "COMMAND", "STATUS", "CPUS", "MEMORY", "PORTS", "UP"];
        show_table(heading, listed.map(row));
    }
    Ok(Code::SUCCESS)
}

/// Shows all that is known of a guest.
pub(super) fn inspect(guest: &Guest) -> anyhow::Result<Code> {
    let mut value = json(guest)?;
    // The guest's own process knows more than is written down; one that starts or ends does not answer.
    if guest.life == Life::Running
        && let Ok(Ok(Answer::Inspect { guest: Value::Object(told) })) =
            guest.control().map(|mut client| client.request(&Request::Inspect))
        && let Some(object) = value.as_object_mut()
    {
        object.extend(told);
    }
    show_json(&value)?;
    Ok(Code::SUCCESS)
}

/// What a guest is doing, in a word.
fn state(guest: &Guest) -> &'static str {
    match guest.life {
        Life::Stopped => "stopped",
        Life::Elsewhere => "elsewhere",
        Life::Running => match guest.control().map(|mut client| client.request(&Request::Status)) {
            Ok(Ok(Answer::Status(status))) => status.state.name(),
            Ok(_) => "not answering",
            // The socket is made after the folder, and removed before it.
            Err(_) => "starting",
        },
    }
}

/// The record, with what the guest is doing.
fn json(guest: &Guest) -> anyhow::Result<Value> {
    let record = serde_json::to_value(&guest.record).context("the guest's record cannot be written")?;
    let mut object = match record {
        Value::Object(object) => object,
        _ => Map::new(),
    };
    object.insert("state".to_owned(), Value::from(state(guest)));
    Ok(Value::Object(object))
}

fn row(guest: &Guest) -> Vec<String> {
    let (record, now) = (&guest.record, guests::now());
    let since = |time: u64| table::time(now.saturating_sub(time));
    let (status, up) = match record.ended.filter(|_| guest.life == Life::Stopped) {
        Some(End { time, code: Some(code) }) => (format!("ended {code}, {} ago", since(time)), String::new()),
        Some(End { time, code: None }) => (format!("died, {} ago", since(time)), String::new()),
        None => (state(guest).to_owned(), since(record.created)),
    };
    let described = record.cpus != 0;
    vec![
        guest.name.clone(),
        table::short(record.source(), SHOWN),
        table::short(&record.command.join(" "), SHOWN),
        status,
        if described { record.cpus.to_string() } else { String::new() },
        if described { table::size(record.memory) } else { String::new() },
        if guest.life == Life::Stopped {
            String::new()
        } else {
            table::short(&record.ports.join(" "), SHOWN)
        },
        if described { up } else { String::new() },
    ]
}
