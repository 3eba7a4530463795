//! Exec to the first guest instruction: a kernel whose first instruction writes to the serial port.

use std::{fs, path::Path, process::Command, sync::Arc, time::Instant};

use anyhow::{Result, ensure};
use hv_boot_tests::Host;
use hv_core::{
    arch::x86_64::IrqPlan,
    hypervisor::{Access, Exit, Hypervisor, Vcpu, Vm, VmPlan},
    memory::{self, RamLayout},
};
use vm_memory::{Bytes, GuestAddress};

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
    let mut floor = Figures::default();
    for _ in 0..runs {
        floor.push(bare()?);
    }
    println!("| exec to the first guest instruction | median, ms (range) |");
    println!("| --- | --- |");
    for (name, figures) in [("hv, seen on its console", times), ("the host's own KVM calls alone", floor)] {
        let (low, high) = figures.range();
        println!("| {name} | {:.2} ({low:.2}–{high:.2}) |", figures.median());
    }
    Ok(())
}

/// Milliseconds from opening KVM to the first exit of a guest of one core and 256 MiB: what no VMM can save.
fn bare() -> Result<f64> {
    let start = Instant::now();
    let kvm = backend_kvm::Kvm::open()?;
    let ram = memory::allocate(&RamLayout::new(256 << 20, 3 << 30..4 << 30, 448 << 30)?)?;
    let vm = kvm.create_vm(&VmPlan { vcpus: 1, address_bits: 39, irq: IrqPlan })?;
    for region in memory::regions(&ram) {
        vm.map(Arc::clone(&region), Access::ReadWrite)?;
    }
    ram.write_slice(CODE, GuestAddress(0x1000))?;
    let mut vcpu = vm.create_vcpu(0)?;
    vm.seal()?;
    let mut state = vcpu.state()?;
    // The same bytes are 16-bit code that writes to some port within three instructions.
    state.segments.cs.base = 0;
    state.segments.cs.selector = 0;
    state.rip = 0x1000;
    vcpu.set_state(&state)?;
    let exit = vcpu.run()?;
    ensure!(matches!(exit, Exit::PioWrite { .. }), "the guest left by {exit:?}");
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

fn command(kernel: &Path) -> Result<Command> {
    let mut command = Command::new(Host::Native.hv()?);
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
