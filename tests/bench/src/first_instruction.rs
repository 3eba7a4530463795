//! Exec to the first guest instruction: a kernel whose first instruction writes to the serial port.

use std::{fs, path::Path, process::Command};

use anyhow::Result;
use hv_boot_tests::hv;

use crate::{Figures, time_to_line};

/// Writes "go\n" to COM1, then resets through the ACPI reset register, which `--on-reboot exit` makes the end.
const CODE: &[u8] = &[
    0xba, 0xf8, 0x03, 0x00, 0x00, // mov edx, 0x3f8
    0xb0, b'g', 0xee, // mov al, 'g'; out dx, al
    0xb0, b'o', 0xee, // mov al, 'o'; out dx, al
    0xb0, b'\n', 0xee, // mov al, '\n'; out dx, al
    0xba, 0x10, 0x06, 0x00, 0x00, // mov edx, 0x610
    0xb0, 0x01, 0xee, // mov al, 1; out dx, al
    0xf4, 0xeb, 0xfd, // hlt; jmp back to it
];

pub(crate) fn measure(runs: usize) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let kernel = directory.path().join("kernel");
    fs::write(&kernel, elf())?;
    let mut times = Figures::default();
    for _ in 0..runs {
        let (mut child, time) = time_to_line(command(&kernel)?, "go")?;
        times.push(time.as_secs_f64() * 1e3);
        child.wait()?;
    }
    let (low, high) = times.range();
    println!(
        "| exec to the first guest instruction, seen on the console | {:.2} ms ({low:.2}–{high:.2}) |",
        times.median()
    );
    Ok(())
}

fn command(kernel: &Path) -> Result<Command> {
    let mut command = Command::new(hv()?);
    command
        .args(["run", "--accel", "kvm", "--on-reboot", "exit", "--memory", "256M", "--kernel"])
        .arg(kernel);
    Ok(command)
}

/// An x86_64 ELF executable of one segment at 1 MiB.
fn elf() -> Vec<u8> {
    const LOAD: u64 = 0x10_0000;
    let mut file = Vec::new();
    file.extend([0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    file.extend(2_u16.to_le_bytes()); // ET_EXEC
    file.extend(62_u16.to_le_bytes()); // EM_X86_64
    file.extend(1_u32.to_le_bytes());
    file.extend(LOAD.to_le_bytes()); // e_entry
    file.extend(64_u64.to_le_bytes()); // e_phoff
    file.extend(0_u64.to_le_bytes());
    file.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    file.extend(1_u32.to_le_bytes()); // PT_LOAD
    file.extend(5_u32.to_le_bytes());
    let size = CODE.len() as u64;
    for double in [120, LOAD, LOAD, size, size, 0x1000] {
        file.extend(double.to_le_bytes());
    }
    file.extend(CODE);
    file
}
