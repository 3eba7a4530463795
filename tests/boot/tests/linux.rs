//! Debian's stock kernels in guests of `hv`, judged by what they leave on disks, consoles and exit codes.

use std::{
    collections::HashSet,
    fs,
    path::Path,
    process::{Command, ExitCode},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use hv_boot_tests::{Disk, Guest, Kernel, hv, pattern};
use libtest_mimic::{Arguments, Failed, Trial};
use rustix::process::Signal;

/// Bookworm's 6.1 has every virtio driver as a module, so its console is the 16550 until an initrd loads more.
const OLD: &str = "bookworm";
/// The newest kernel has virtio-pci and virtio-console built in.
const NEW: &str = "trixie-backports-cloud";

const PCI: &str = "virtio_pci virtio_blk ext4";
const MMIO: &str = "virtio_mmio virtio_blk ext4";

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let reason = why_not();
    if let Some(reason) = &reason {
        eprintln!("every boot test is skipped: {reason}");
    }
    let mut trials = Vec::new();
    let mut add = |name: &str, run: fn() -> Result<()>| {
        let trial = Trial::test(name, move || run().map_err(|error| Failed::from(format!("{error:#}"))));
        trials.push(trial.with_ignored_flag(reason.is_some()));
    };
    add("old_bzimage_pci_1_cpu", || pattern_guest(OLD, Image::Bz, "pci", 1));
    add("old_bzimage_mmio_4_cpus", || pattern_guest(OLD, Image::Bz, "mmio", 4));
    add("old_elf_pci_4_cpus", || pattern_guest(OLD, Image::Elf, "pci", 4));
    add("old_elf_mmio_1_cpu", || pattern_guest(OLD, Image::Elf, "mmio", 1));
    add("new_bzimage_pci_4_cpus", || pattern_guest(NEW, Image::Bz, "pci", 4));
    add("new_bzimage_mmio_1_cpu", || pattern_guest(NEW, Image::Bz, "mmio", 1));
    add("new_elf_pci_1_cpu", || pattern_guest(NEW, Image::Elf, "pci", 1));
    add("new_elf_mmio_4_cpus", || pattern_guest(NEW, Image::Elf, "mmio", 4));
    add("reboot_stays_in_the_process", reboot_stays_in_the_process);
    add("reboot_can_end_the_process", reboot_can_end_the_process);
    add("sigterm_presses_the_power_button", sigterm_presses_the_power_button);
    add("second_sigterm_ends_a_deaf_guest", second_sigterm_ends_a_deaf_guest);
    add("timeout_ends_the_guest", timeout_ends_the_guest);
    add("triple_fault_is_a_crash", triple_fault_is_a_crash);
    add("memory_above_the_hole_is_seen_whole", memory_above_the_hole_is_seen_whole);
    add("two_guests_at_once", two_guests_at_once);
    add("fsynced_data_survives_sigkill_of_the_vmm", fsynced_data_survives_sigkill_of_the_vmm);
    add("full_disk_is_an_error_in_the_guest", full_disk_is_an_error_in_the_guest);
    add("read_only_disk_stays_as_it_was", read_only_disk_stays_as_it_was);
    add("discard_frees_the_image", discard_frees_the_image);
    add("no_kernel_line_is_shown_twice", no_kernel_line_is_shown_twice);
    add("console_of_one_mebibyte_is_whole_and_cheap", console_of_one_mebibyte_is_whole_and_cheap);
    add("typed_text_reaches_the_guest", typed_text_reaches_the_guest);
    add("idle_guest_wakes_nothing", idle_guest_wakes_nothing);
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Why stock kernels cannot run here, in the words of `hv doctor`.
fn why_not() -> Option<String> {
    let binary = match hv() {
        Ok(binary) => binary,
        Err(error) => return Some(error.to_string()),
    };
    let output = Command::new(binary).arg("doctor").output().ok()?;
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stdout).trim().replace('\n', "; "))
}

#[derive(Clone, Copy, PartialEq)]
enum Image {
    Bz,
    Elf,
}

/// The words of a command line.
fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// `--kernel … --initrd … --append hv.test=TEST` of a kernel.
fn boot_words(kernel: &Kernel, image: Image, modules: &str, test: &str) -> Result<Vec<String>> {
    let file = if image == Image::Bz { kernel.bzimage() } else { kernel.elf() };
    let initrd = kernel.initrd(modules)?;
    let mut words = vec!["--kernel".to_owned(), file.display().to_string()];
    words.extend(["--initrd".to_owned(), initrd.display().to_string()]);
    words.extend(["--append".to_owned(), format!("hv.test={test}")]);
    Ok(words)
}

fn new_guest(test: &str, more: &str, disk: Option<&Disk>) -> Result<Guest> {
    let mut arguments = boot_words(&Kernel::named(NEW)?, Image::Elf, PCI, test)?;
    arguments.extend(words(more));
    if let Some(disk) = disk {
        arguments.extend(["--disk".to_owned(), disk.path().display().to_string()]);
    }
    Guest::start(arguments)
}

fn pattern_guest(kernel: &str, image: Image, transport: &str, cpus: u32) -> Result<()> {
    let disk = Disk::ext4(64)?;
    let modules = if transport == "pci" { PCI } else { MMIO };
    let mut arguments = boot_words(&Kernel::named(kernel)?, image, modules, "pattern")?;
    arguments.extend(words(&format!("--transport {transport} --cpus {cpus} --memory 512M")));
    arguments.extend(["--disk".to_owned(), disk.path().display().to_string()]);
    let mut ended = Guest::start(&arguments)?.wait()?;
    if ended.status.code() == Some(123) && cpus > 1 && std::env::var_os("HV_IN_BOX").is_some() {
        // Seen once in some forty boots of several vCPUs on the box's emulated processor, never on one vCPU.
        eprintln!(
            "{kernel} crashed once on the box's emulated processor ({}) and is tried again",
            ended.stderr.trim()
        );
        ended = Guest::start(&arguments)?.wait()?;
    }
    let ended = ended.code(0)?;
    ensure!(ended.stdout.contains("greeting from the guest"), "no greeting in:\n{}", ended.stdout);
    ensure!(ended.stderr.is_empty(), "unexpected words: {}", ended.stderr);

    disk.check()?;
    ensure!(disk.file("pattern")? == pattern(200_000), "the pattern on the disk is not the one written");
    ensure!(disk.text("cpus")? == cpus.to_string(), "the guest saw {} vCPUs", disk.text("cpus")?);
    let memory: u64 = disk.text("memory")?.parse()?;
    ensure!((400 << 10..512 << 10).contains(&memory), "the guest saw {memory} KiB");
    let clock: u64 = disk.text("clock")?.parse()?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    ensure!(now.abs_diff(clock) < 120, "the guest's clock said {clock}, the host's {now}");
    let dmesg = disk.text("dmesg")?;
    for trouble in ["BUG:", "WARNING:", "Call Trace", "ACPI Error", "ACPI BIOS Error", "irq 9: nobody cared"]
    {
        ensure!(!dmesg.contains(trouble), "the guest's log has {trouble:?}:\n{dmesg}");
    }
    Ok(())
}

fn reboot_stays_in_the_process() -> Result<()> {
    let disk = Disk::ext4(16)?;
    // One exit code for three boots: had it been three processes, the second would not have been ours.
    new_guest("reboot", "--cpus 2", Some(&disk))?.wait()?.code(0)?;
    disk.check()?;
    ensure!(disk.text("boots")? == "boot\nboot\nboot", "boots: {}", disk.text("boots")?);
    Ok(())
}

fn reboot_can_end_the_process() -> Result<()> {
    let disk = Disk::ext4(16)?;
    new_guest("reboot", "--on-reboot exit", Some(&disk))?.wait()?.code(0)?;
    ensure!(disk.text("boots")? == "boot", "boots: {}", disk.text("boots")?);
    Ok(())
}

fn sigterm_presses_the_power_button() -> Result<()> {
    let disk = Disk::ext4(16)?;
    let kernel = Kernel::named(NEW)?;
    let mut arguments = boot_words(&kernel, Image::Elf, "virtio_blk ext4 button evdev", "button")?;
    arguments.extend(["--disk".to_owned(), disk.path().display().to_string()]);
    let mut guest = Guest::start(arguments)?;
    guest.wait_for("waiting for the button")?;
    guest.signal(Signal::TERM)?;
    guest.wait()?.code(0)?;
    ensure!(disk.text("button")? == "24", "no input event reached the guest");
    disk.check()
}

fn second_sigterm_ends_a_deaf_guest() -> Result<()> {
    let mut guest = new_guest("deaf", "", None)?;
    guest.wait_for("not listening")?;
    guest.signal(Signal::TERM)?;
    thread::sleep(Duration::from_millis(300));
    guest.signal(Signal::TERM)?;
    guest.wait()?.code(128 + 15)?;
    Ok(())
}

fn timeout_ends_the_guest() -> Result<()> {
    let ended = new_guest("deaf", "--timeout 1500ms", None)?.wait()?.code(124)?;
    ensure!(ended.stderr.lines().count() == 1, "not one line: {}", ended.stderr);
    Ok(())
}

fn triple_fault_is_a_crash() -> Result<()> {
    let kernel = Kernel::named(NEW)?;
    let arguments = boot_words(&kernel, Image::Elf, PCI, "fault reboot=t")?;
    let ended = Guest::start(arguments)?.wait()?.code(123)?;
    ensure!(ended.stderr.contains("triple fault"), "no word of a triple fault: {}", ended.stderr);
    Ok(())
}

fn memory_above_the_hole_is_seen_whole() -> Result<()> {
    let disk = Disk::ext4(32)?;
    new_guest("pattern", "--memory 6G", Some(&disk))?.wait()?.code(0)?;
    let memory: u64 = disk.text("memory")?.parse()?;
    ensure!(memory > 5900 << 10, "the guest saw {memory} KiB of 6 GiB");
    disk.check()
}

fn two_guests_at_once() -> Result<()> {
    let (one, two) = (Disk::ext4(64)?, Disk::ext4(64)?);
    let mut first = new_guest("synced", "--memory 256M", Some(&one))?;
    let second = new_guest("pattern", "--memory 256M", Some(&two))?.wait()?.code(0)?;
    ensure!(second.stdout.contains("greeting from the guest"), "no greeting in:\n{}", second.stdout);
    two.check()?;
    ensure!(two.file("pattern")? == pattern(200_000), "the second guest's pattern is not the one written");
    first.wait_for("synced")?;
    one.replay()?;
    ensure!(one.file("pattern")? == pattern(50_000), "the first guest's pattern is not the one written");
    Ok(())
}

fn fsynced_data_survives_sigkill_of_the_vmm() -> Result<()> {
    let disk = Disk::ext4(32)?;
    let mut guest = new_guest("synced", "", Some(&disk))?;
    guest.wait_for("synced")?;
    guest.signal(Signal::KILL)?;
    ensure!(guest.wait()?.status.code().is_none(), "hv was not killed");
    disk.replay()?;
    ensure!(disk.file("pattern")? == pattern(50_000), "the pattern on the disk is not the one synced");
    disk.check()
}

fn full_disk_is_an_error_in_the_guest() -> Result<()> {
    // A sparse image of 64 MiB in a file system of 8.
    let directory = tempfile::tempdir()?;
    let mount = |arguments: &[&str]| -> Result<()> {
        let status = Command::new("mount").args(arguments).arg(directory.path()).status()?;
        ensure!(status.success(), "cannot mount a small tmpfs: {status}");
        Ok(())
    };
    mount(&["-t", "tmpfs", "-o", "size=8M", "tmpfs"])?;
    let ended = (|| {
        let image = directory.path().join("disk.img");
        fs::File::create(&image)?.set_len(64 << 20)?;
        let mut arguments = boot_words(&Kernel::named(NEW)?, Image::Elf, PCI, "full")?;
        arguments.extend(["--disk".to_owned(), image.display().to_string()]);
        Guest::start(arguments)?.wait()
    })();
    let unmounted = Command::new("umount").arg(directory.path()).status()?;
    ensure!(unmounted.success(), "cannot unmount the small tmpfs: {unmounted}");
    let ended = ended?.code(0)?;
    ensure!(ended.stdout.contains("I/O error"), "the guest saw no error:\n{}", ended.stdout);
    ensure!(!ended.stdout.contains("the disk took everything"), "the guest believes that all was written");
    ensure!(ended.stderr.contains("No space left"), "no word to the user: {}", ended.stderr);
    Ok(())
}

fn read_only_disk_stays_as_it_was() -> Result<()> {
    let content = pattern(10_240)[..61_440].to_vec();
    let disk = Disk::with(&content)?;
    let mut arguments = boot_words(&Kernel::named(NEW)?, Image::Elf, PCI, "readonly")?;
    arguments.extend(words("--cpus 2 --disk"));
    arguments.push(format!("{},readonly,serial=grey-disk-7,queues=2", disk.path().display()));
    let ended = Guest::start(arguments)?.wait()?.code(0)?;
    let said: Vec<_> = ended.stdout.lines().map(str::trim).filter(|line| !line.starts_with('[')).collect();
    ensure!(said.contains(&"grey-disk-7"), "no serial number in:\n{}", ended.stdout);
    ensure!(said.contains(&"2"), "not two queues in:\n{}", ended.stdout);
    ensure!(said.contains(&"1"), "not read-only in:\n{}", ended.stdout);
    ensure!(fs::read(disk.path())? == content, "a read-only disk was changed");
    Ok(())
}

fn discard_frees_the_image() -> Result<()> {
    let content: Vec<u8> = pattern(500_000)[..3 << 20].to_vec();
    let disk = Disk::with(&content)?;
    let ended = new_guest("discard", "", Some(&disk))?.wait()?.code(0)?;
    ensure!(ended.stdout.contains("discarded"), "the guest could not discard:\n{}", ended.stdout);
    let left = fs::read(disk.path())?;
    ensure!(
        left[..1 << 20] == content[..1 << 20] && left[2 << 20..] == content[2 << 20..],
        "neighbours changed"
    );
    ensure!(left[1 << 20..2 << 20].iter().all(|byte| *byte == 0), "the discarded part is not zero");
    let blocks = rustix::fs::stat(disk.path())?.st_blocks;
    ensure!(blocks <= (2 << 20) / 512 + 64, "the image still holds {blocks} blocks");
    Ok(())
}

fn no_kernel_line_is_shown_twice() -> Result<()> {
    // Each way of choosing consoles: a driver that the kernel has, has not, or may load later.
    let cases = [
        (NEW, Image::Elf, PCI),
        (NEW, Image::Bz, PCI),
        (OLD, Image::Elf, PCI),
        (OLD, Image::Bz, "virtio_pci virtio_console virtio_blk ext4"),
    ];
    for (kernel, image, modules) in cases {
        // Away from its configuration file, nothing tells which drivers a bzImage has.
        let alone = tempfile::tempdir()?;
        let mut arguments = boot_words(&Kernel::named(kernel)?, image, modules, "none")?;
        if image == Image::Bz {
            let copy = alone.path().join("vmlinuz");
            fs::copy(&arguments[1], &copy)?;
            arguments[1] = copy.display().to_string();
        }
        let ended = Guest::start(arguments)?.wait()?.code(0)?;
        let mut seen = HashSet::new();
        for line in ended.stdout.lines().filter(|line| line.starts_with('[')) {
            ensure!(seen.insert(line.trim_end()), "{kernel} showed twice: {line}\n{}", ended.stdout);
        }
        // A virtio console shows the log from where its driver starts: Linux drops what was before.
        ensure!(seen.len() > 20, "{kernel} showed only {} lines of its log:\n{}", seen.len(), ended.stdout);
        ensure!(
            ended.stdout.contains("no hv.test= on the command line"),
            "no word of init's:\n{}",
            ended.stdout
        );
    }
    Ok(())
}

fn console_of_one_mebibyte_is_whole_and_cheap() -> Result<()> {
    let boots = |test: &str| -> Result<(String, u64)> {
        let ended = new_guest(test, "-vv", None)?.wait()?.code(0)?;
        let exits = ended
            .stderr
            .lines()
            .find_map(|line| line.split("exits: ").nth(1))
            .context("no count of exits")?;
        let total = exits.split_whitespace().next().context("no total")?.parse()?;
        Ok((ended.stdout, total))
    };
    let (_, quiet) = boots("none")?;
    let (stdout, loud) = boots("flood")?;
    let expected = String::from_utf8(pattern(200_000)[..1 << 20].to_vec())?;
    ensure!(stdout.contains(&expected), "the console lost something of 1 MiB");
    ensure!(loud <= quiet + 2000, "1 MiB of console output took {} exits", loud - quiet);
    Ok(())
}

fn typed_text_reaches_the_guest() -> Result<()> {
    let mut guest = new_guest("echo", "", None)?;
    guest.wait_for("ready")?;
    guest.type_text("a word\n")?;
    let ended = guest.wait()?.code(0)?;
    ensure!(ended.stdout.contains("heard a word"), "the guest heard nothing:\n{}", ended.stdout);
    Ok(())
}

fn idle_guest_wakes_nothing() -> Result<()> {
    let mut guest = new_guest("idle", "--memory 256M", None)?;
    guest.wait_for("idle now")?;
    // Devices settle first: the guest's last words, its random seed.
    thread::sleep(Duration::from_secs(5));
    let before = switches(guest.pid())?;
    thread::sleep(Duration::from_secs(5));
    let after = switches(guest.pid())?;
    ensure!(before == after, "threads of the VMM woke up: {before:?}, then {after:?}");
    Ok(())
}

/// Context switches of every thread of `pid` that is not a vCPU: those wait in the host's kernel, which runs the
/// guest's own timers there.
fn switches(pid: u32) -> Result<Vec<(String, String)>> {
    let mut switches = Vec::new();
    for task in fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task"))? {
        let task = task?.path();
        let name = fs::read_to_string(task.join("comm"))?.trim().to_owned();
        if name.starts_with("vcpu") {
            continue;
        }
        let status = fs::read_to_string(task.join("status"))?;
        let count =
            status.lines().filter(|line| line.contains("ctxt_switches")).collect::<Vec<_>>().join(" ");
        switches.push((name, count));
    }
    switches.sort();
    Ok(switches)
}
