//! Kernels made of a fuzzer's bytes, loaded into little RAM.

use std::{
    fs::File,
    io::{Seek, SeekFrom, Write},
    ops::Range,
};

use hv_core::{
    arch::x86_64::CpuState,
    boot::{
        BootError, Payload, PayloadFile,
        x86_64::{Protocol, Target, load},
    },
    memory::{GuestRam, RamLayout, allocate},
};

use crate::{Input, ram};

const RAM: u64 = 4 << 20;
const MIB: u64 = 1 << 20;
const COMMAND_LINE: u64 = 0x2_0000;
/// What the loader may write below 1 MiB: descriptor table, start information, page tables, command line.
const LOW_MEMORY: [Range<u64>; 3] = [0x500..0x600, 0x7000..0xf000, COMMAND_LINE..0x3_0000];

/// An open file of these bytes.
pub(crate) fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(bytes).expect("room in it");
    file.seek(SeekFrom::Start(0)).expect("a seekable file");
    file
}

/// `bytes`, with the changes that `input` asks for: fields set to numbers, the end cut off.
pub(crate) fn mutate(mut bytes: Vec<u8>, input: &mut Input<'_>) -> Vec<u8> {
    while !input.is_empty() {
        let at = usize::try_from(input.below(0x400)).expect("small");
        let field = match input.u8() {
            0 => {
                let keep = usize::from(input.u16());
                bytes.truncate(keep);
                continue;
            }
            1..=0x7f => input.bytes(1).to_vec(),
            _ => input.store(),
        };
        for (to, from) in bytes.iter_mut().skip(at).zip(field) {
            *to = from;
        }
    }
    bytes
}

/// Loads `kernel` and checks what became of RAM; `initrd` is one if the flag says so.
///
/// A refusal is one line. Low memory holds only what the loader keeps there, all else of it stays zero; the first
/// instruction lies in RAM from 1 MiB up; nothing is written beyond RAM.
///
/// # Panics
/// The loader breaks one of these.
pub(crate) fn check_load(kernel: &[u8], initrd: bool, command_line: usize, protocol: Option<Protocol>) {
    let layout = RamLayout::new(RAM, 3 << 30..4 << 30, 448 << 30).expect("a valid layout");
    let ram = allocate(&layout).expect("little RAM");
    let target = Target { ram: &ram, layout: &layout, reserved: &[0xe000_0000..0xe010_0000], rsdp: 0xe_0000 };
    let archive = [&b"070701"[..], &[0x42; 5000]].concat();
    let payload = Payload {
        kernel: PayloadFile::kernel(file(kernel), "vmlinuz"),
        initrd: initrd.then(|| PayloadFile::initrd(file(&archive), "initrd.img")),
        command_line: "x".repeat(command_line),
    };
    match load(&payload, &target, protocol) {
        Ok(state) => check_loaded(&ram, &state, command_line, initrd.then_some(&archive)),
        Err(error) => {
            assert!(!error.to_string().contains('\n'), "{error}");
            assert!(!matches!(error, BootError::Ram(_)), "{error}: what has no RAM is found before");
        }
    }
    check_low_memory(&ram);
}

fn check_loaded(ram: &GuestRam, state: &CpuState, command_line: usize, initrd: Option<&Vec<u8>>) {
    assert!((MIB..RAM).contains(&state.rip), "first instruction at {:#x}", state.rip);
    let line = ram::read(ram, COMMAND_LINE, command_line + 1);
    assert!(line[..command_line].iter().all(|byte| *byte == b'x') && line[command_line] == 0);
    if let Some(archive) = initrd {
        let start = (RAM - archive.len() as u64) / 4096 * 4096;
        let found = (MIB..=start).rev().step_by(4096).map(|at| at / 4096 * 4096);
        let found = found.into_iter().any(|at| ram::read(ram, at, archive.len()) == *archive);
        assert!(found, "the initial RAM disk is not in RAM");
    }
}

fn check_low_memory(ram: &GuestRam) {
    let low = ram::read(ram, 0, usize::try_from(MIB).expect("small"));
    let mut address = 0;
    for range in LOW_MEMORY.iter().chain(&[MIB..MIB]) {
        let between = usize::try_from(address).expect("small")..usize::try_from(range.start).expect("small");
        assert!(low[between].iter().all(|byte| *byte == 0), "low memory before {:#x}", range.start);
        address = range.end;
    }
}
