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

/// `bytes`, with the few changes that `input` asks for: `fields` (offset and size) or any bytes set, the end cut off.
pub(crate) fn mutate(mut bytes: Vec<u8>, fields: &[(usize, usize)], input: &mut Input<'_>) -> Vec<u8> {
    for _ in 0..input.below(6) {
        let (at, value) = match input.u8() {
            0 => {
                bytes.truncate(usize::from(input.u16()));
                continue;
            }
            1..=0x1f => (usize::from(input.u16()) % 0x500, input.store()),
            0x20..=0x3f => (usize::from(input.u16()) % 0x500, input.bytes(1).to_vec()),
            0x40..=0x8f => {
                let (at, size) = input.choose(fields);
                let mut old = [0; 8];
                for (to, from) in old.iter_mut().zip(bytes.iter().skip(at).take(size)) {
                    *to = *from;
                }
                (at, near(u64::from_le_bytes(old), input).to_le_bytes()[..size].to_vec())
            }
            _ => {
                let (at, size) = input.choose(fields);
                (at, input.number().to_le_bytes()[..size].to_vec())
            }
        };
        for (to, from) in bytes.iter_mut().skip(at).zip(value) {
            *to = from;
        }
    }
    bytes
}

/// A little more or less, or half of it, or double.
fn near(value: u64, input: &mut Input<'_>) -> u64 {
    let by = u64::from(input.u8());
    match input.u8() % 4 {
        0 => value.wrapping_add(by),
        1 => value.wrapping_sub(by),
        2 => value >> (by % 8),
        _ => value << (by % 8),
    }
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
    let target = Target { ram: &ram, layout: &layout, reserved: &[], rsdp: 0xe_0000 };
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
    for range in LOW_MEMORY.iter().chain([&(MIB..MIB)]) {
        let between = usize::try_from(address).expect("small")..usize::try_from(range.start).expect("small");
        assert!(low[between.clone()] == vec![0; between.len()], "low memory before {:#x}", range.start);
        address = range.end;
    }
}
