//! Tests of the `hv` command as a child process: what it answers to words, files and hosts that are wrong, and that
//! it changes nothing on disk. They are here and not in a package of their own because only the package of a binary
//! is told where Cargo built it.

mod bad_input;
mod child;
mod damaged;
mod guest;
mod guests;
mod harness;
mod manifest;
mod network;
mod registry;
mod sandbox;
mod terminal;
mod words;

fn main() -> std::process::ExitCode {
    let cases = [
        words::CASES,
        bad_input::CASES,
        damaged::CASES,
        network::CASES,
        guest::CASES,
        guests::CASES,
        manifest::CASES,
        registry::CASES,
        sandbox::CASES,
    ];
    harness::run(&cases.concat())
}
