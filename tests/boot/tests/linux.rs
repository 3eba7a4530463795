//! Debian's stock kernels in guests of `hv`, judged by what they leave on disks, consoles and exit codes.

use std::{
    collections::HashSet,
    fs,
    path::Path,
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use hv_boot_tests::{Disk, Guest, Host, Kernel, PATIENCE, machine, pattern};
use libtest_mimic::{Arguments, Failed, Trial};
use rustix::process::Signal;

/// What the tests run on, and with which kernels.
#[derive(Debug, Clone, Copy)]
struct Place {
    host: Host,
    /// Bookworm's 6.1 has every virtio driver as a module, so its console is the serial port until an initrd loads more.
    old: &'static str,
    /// The newest kernel has virtio-pci and virtio-console built in.
    new: &'static str,
    /// What drives the power button, and the kernel that has it.
    button: (&'static str, &'static str),
}

const X86_64: Place = Place {
    host: Host::Native,
    old: "bookworm",
    new: "trixie-backports-cloud",
    button: ("button", "trixie-backports-cloud"),
};
const ARM64: Place = Place {
    host: Host::Native,
    old: "arm64-bookworm",
    new: "arm64-trixie-backports-cloud",
    button: ("gpio_keys", "arm64-bookworm"),
};
const NATIVE: Place = if cfg!(target_arch = "x86_64") { X86_64 } else { ARM64 };
const EMULATED: Place = Place { host: Host::Emulated, ..ARM64 };
const KVM_ARM64: Place = Place { host: Host::KvmArm64, ..ARM64 };

const PCI: &str = "virtio_pci virtio_blk ext4";
const MMIO: &str = "virtio_mmio virtio_blk ext4";

type Test = fn(Place) -> Result<()>;

/// What a guest of either architecture is tested for.
const COMMON: &[(&str, Test)] = &[
    ("reboot_stays_in_the_process", reboot_stays_in_the_process),
    ("reboot_can_end_the_process", reboot_can_end_the_process),
    ("sigterm_presses_the_power_button", sigterm_presses_the_power_button),
    ("second_sigterm_ends_a_deaf_guest", second_sigterm_ends_a_deaf_guest),
    ("timeout_ends_the_guest", timeout_ends_the_guest),
    ("a_panic_is_a_crash", a_panic_is_a_crash),
    ("two_guests_at_once", two_guests_at_once),
    ("fsynced_data_survives_sigkill_of_the_vmm", fsynced_data_survives_sigkill_of_the_vmm),
    ("full_disk_is_an_error_in_the_guest", full_disk_is_an_error_in_the_guest),
    ("read_only_disk_stays_as_it_was", read_only_disk_stays_as_it_was),
    ("discard_frees_the_image", discard_frees_the_image),
    ("no_kernel_line_is_shown_twice", no_kernel_line_is_shown_twice),
    ("console_of_one_mebibyte_is_whole_and_cheap", console_of_one_mebibyte_is_whole_and_cheap),
    ("typed_text_reaches_the_guest", typed_text_reaches_the_guest),
    ("free_memory_goes_back_to_the_host", free_memory_goes_back_to_the_host),
    ("the_machine_is_as_written_down", the_machine_is_as_written_down),
];

/// What only this machine's own hypervisor is tested for.
const NATIVE_ONLY: &[(&str, Test)] = &[
    ("memory_above_the_hole_is_seen_whole", memory_above_the_hole_is_seen_whole),
    ("idle_guest_wakes_nothing", idle_guest_wakes_nothing),
];

const X86_64_ONLY: &[(&str, Test)] = &[
    ("old_bzimage_pci_1_cpu", |place| pattern_guest(place, place.old, Image::Packaged, "pci", 1)),
    ("old_bzimage_mmio_4_cpus", |place| pattern_guest(place, place.old, Image::Packaged, "mmio", 4)),
    ("old_elf_pci_4_cpus", |place| pattern_guest(place, place.old, Image::Elf, "pci", 4)),
    ("old_elf_mmio_1_cpu", |place| pattern_guest(place, place.old, Image::Elf, "mmio", 1)),
    ("new_bzimage_pci_4_cpus", |place| pattern_guest(place, place.new, Image::Packaged, "pci", 4)),
    ("new_bzimage_mmio_1_cpu", |place| pattern_guest(place, place.new, Image::Packaged, "mmio", 1)),
    ("new_elf_pci_1_cpu", |place| pattern_guest(place, place.new, Image::Elf, "pci", 1)),
    ("new_elf_mmio_4_cpus", |place| pattern_guest(place, place.new, Image::Elf, "mmio", 4)),
    // More than eight: interrupts reach them by physical ids.
    ("new_elf_pci_16_cpus", |place| pattern_guest(place, place.new, Image::Elf, "pci", 16)),
    ("triple_fault_is_a_crash", triple_fault_is_a_crash),
];

const ARM64_ONLY: &[(&str, Test)] = &[
    ("old_pci_1_cpu", |place| pattern_guest(place, place.old, Image::Packaged, "pci", 1)),
    ("old_mmio_2_cpus", |place| pattern_guest(place, place.old, Image::Packaged, "mmio", 2)),
    ("new_pci_2_cpus", |place| pattern_guest(place, place.new, Image::Packaged, "pci", 2)),
    ("new_mmio_1_cpu", |place| pattern_guest(place, place.new, Image::Packaged, "mmio", 1)),
];

const EMULATED_ONLY: &[(&str, Test)] = &[
    ("old_pci_4_cpus", |place| pattern_guest(place, place.old, Image::Packaged, "pci", 4)),
    ("new_pci_4_cpus", |place| pattern_guest(place, place.new, Image::Packaged, "pci", 4)),
    ("a_quiet_boot_has_few_exits", a_quiet_boot_has_few_exits),
    ("a_disk_request_is_one_exit", a_disk_request_is_one_exit),
];

/// A box for each guest takes time: what differs between the backends.
const KVM_ARM64_ONLY: &[(&str, Test)] = &[
    ("reboot_stays_in_the_process", reboot_stays_in_the_process),
    ("read_only_disk_stays_as_it_was", read_only_disk_stays_as_it_was),
    ("the_machine_is_as_written_down", the_machine_is_as_written_down),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    let mut add = |name: &str, place: Place, reason: Option<&str>, lists: &[&[(&str, Test)]]| {
        if let Some(reason) = reason {
            eprintln!("every boot test of {name} is skipped: {reason}");
        }
        for &(test, run) in lists.iter().copied().flatten() {
            let run = move || run(place).map_err(|error| Failed::from(format!("{error:#}")));
            trials.push(Trial::test(format!("{name}::{test}"), run).with_ignored_flag(reason.is_some()));
        }
    };
    let own = if cfg!(target_arch = "x86_64") { X86_64_ONLY } else { ARM64_ONLY };
    add("native", NATIVE, Host::Native.why_not().as_deref(), &[COMMON, NATIVE_ONLY, own]);
    add("emulated", EMULATED, Host::Emulated.why_not().as_deref(), &[COMMON, ARM64_ONLY, EMULATED_ONLY]);
    let native =
        Host::Native.why_not().is_none().then_some("this host's own hypervisor serves, so auto takes that");
    let reason = Host::Emulated.why_not();
    add(
        "emulated",
        EMULATED,
        native.or(reason.as_deref()),
        &[&[("auto_emulates_and_says_so", auto_emulates_and_says_so)]],
    );
    add("kvm_arm64", KVM_ARM64, Host::KvmArm64.why_not().as_deref(), &[ARM64_ONLY, KVM_ARM64_ONLY]);
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The file of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Image {
    Packaged,
    Elf,
}

/// The newest kernel's file that starts fastest.
fn fast(place: Place) -> Image {
    if place.new == X86_64.new { Image::Elf } else { Image::Packaged }
}

/// The words of a command line.
fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// `--kernel … --initrd … --append hv.test=TEST` of a kernel.
fn boot_words(kernel: &Kernel, image: Image, modules: &str, test: &str) -> Result<Vec<String>> {
    let file = if image == Image::Packaged { kernel.packaged() } else { kernel.elf() };
    let initrd = kernel.initrd(modules)?;
    let mut words = vec!["--kernel".to_owned(), file.display().to_string()];
    words.extend(["--initrd".to_owned(), initrd.display().to_string()]);
    words.extend(["--append".to_owned(), format!("hv.test={test}")]);
    Ok(words)
}

fn new_guest(place: Place, test: &str, more: &str, disk: Option<&Disk>) -> Result<Guest> {
    let mut arguments = boot_words(&Kernel::named(place.new)?, fast(place), PCI, test)?;
    arguments.extend(words(more));
    if let Some(disk) = disk {
        arguments.extend(["--disk".to_owned(), disk.path().display().to_string()]);
    }
    Guest::start(place.host, arguments, disk)
}

fn pattern_guest(place: Place, kernel: &str, image: Image, transport: &str, cpus: u32) -> Result<()> {
    let disk = Disk::ext4(64)?;
    let modules = if transport == "pci" { PCI } else { MMIO };
    let mut arguments = boot_words(&Kernel::named(kernel)?, image, modules, "pattern")?;
    arguments.extend(words(&format!("--transport {transport} --cpus {cpus} --memory 512M")));
    arguments.extend(["--disk".to_owned(), disk.path().display().to_string()]);
    let mut ended = Guest::start(place.host, &arguments, Some(&disk))?.wait()?;
    if ended.status.code() == Some(123) && cpus > 1 && std::env::var_os("HV_IN_BOX").is_some() {
        // Seen once in some forty boots of several vCPUs on the box's emulated processor, never on one vCPU.
        eprintln!(
            "{kernel} crashed once on the box's emulated processor ({}) and is tried again",
            ended.stderr.trim()
        );
        ended = Guest::start(place.host, &arguments, Some(&disk))?.wait()?;
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

fn reboot_stays_in_the_process(place: Place) -> Result<()> {
    let disk = Disk::ext4(16)?;
    // One exit code for three boots: had it been three processes, the second would not have been ours.
    new_guest(place, "reboot", "--cpus 2", Some(&disk))?.wait()?.code(0)?;
    disk.check()?;
    ensure!(disk.text("boots")? == "boot\nboot\nboot", "boots: {}", disk.text("boots")?);
    Ok(())
}

fn reboot_can_end_the_process(place: Place) -> Result<()> {
    let disk = Disk::ext4(16)?;
    new_guest(place, "reboot", "--on-reboot exit", Some(&disk))?.wait()?.code(0)?;
    ensure!(disk.text("boots")? == "boot", "boots: {}", disk.text("boots")?);
    Ok(())
}

fn sigterm_presses_the_power_button(place: Place) -> Result<()> {
    let disk = Disk::ext4(16)?;
    let (driver, kernel) = place.button;
    let image = if kernel == place.new { fast(place) } else { Image::Packaged };
    let modules = format!("virtio_pci virtio_blk ext4 {driver} evdev");
    let mut arguments = boot_words(&Kernel::named(kernel)?, image, &modules, "button")?;
    arguments.extend(["--disk".to_owned(), disk.path().display().to_string()]);
    let mut guest = Guest::start(place.host, arguments, Some(&disk))?;
    guest.wait_for("waiting for the button")?;
    guest.signal(Signal::TERM)?;
    guest.wait()?.code(0)?;
    ensure!(disk.text("button")? == "24", "no input event reached the guest");
    disk.check()
}

fn second_sigterm_ends_a_deaf_guest(place: Place) -> Result<()> {
    let mut guest = new_guest(place, "deaf", "", None)?;
    guest.wait_for("not listening")?;
    guest.signal(Signal::TERM)?;
    thread::sleep(Duration::from_millis(300));
    guest.signal(Signal::TERM)?;
    guest.wait()?.code(128 + 15)?;
    Ok(())
}

fn timeout_ends_the_guest(place: Place) -> Result<()> {
    let ended = new_guest(place, "deaf", "--timeout 1500ms", None)?.wait()?.code(124)?;
    ensure!(ended.stderr.lines().count() == 1, "not one line: {}", ended.stderr);
    Ok(())
}

/// A kernel without a root panics.
fn a_panic_is_a_crash(place: Place) -> Result<()> {
    let kernel = Kernel::named(place.new)?;
    let file = if fast(place) == Image::Packaged { kernel.packaged() } else { kernel.elf() };
    let mut arguments = words("--append quiet --timeout 120s --kernel");
    arguments.push(file.display().to_string());
    let ended = Guest::start(place.host, arguments, None)?.wait()?.code(123)?;
    ensure!(ended.stdout.contains("Kernel panic - not syncing"), "no panic in:\n{}", ended.stdout);
    ensure!(ended.stderr.trim_end().ends_with("its kernel panicked"), "no word of it: {}", ended.stderr);
    Ok(())
}

fn triple_fault_is_a_crash(place: Place) -> Result<()> {
    let kernel = Kernel::named(place.new)?;
    let arguments = boot_words(&kernel, fast(place), PCI, "fault reboot=t")?;
    let ended = Guest::start(place.host, arguments, None)?.wait()?.code(123)?;
    ensure!(ended.stderr.contains("triple fault"), "no word of a triple fault: {}", ended.stderr);
    Ok(())
}

fn memory_above_the_hole_is_seen_whole(place: Place) -> Result<()> {
    let disk = Disk::ext4(32)?;
    new_guest(place, "pattern", "--memory 6G", Some(&disk))?.wait()?.code(0)?;
    let memory: u64 = disk.text("memory")?.parse()?;
    ensure!(memory > 5900 << 10, "the guest saw {memory} KiB of 6 GiB");
    disk.check()
}

fn two_guests_at_once(place: Place) -> Result<()> {
    let (one, two) = (Disk::ext4(64)?, Disk::ext4(64)?);
    let mut first = new_guest(place, "synced", "--memory 256M", Some(&one))?;
    let second = new_guest(place, "pattern", "--memory 256M", Some(&two))?.wait()?.code(0)?;
    ensure!(second.stdout.contains("greeting from the guest"), "no greeting in:\n{}", second.stdout);
    two.check()?;
    ensure!(two.file("pattern")? == pattern(200_000), "the second guest's pattern is not the one written");
    first.wait_for("synced")?;
    one.replay()?;
    ensure!(one.file("pattern")? == pattern(50_000), "the first guest's pattern is not the one written");
    Ok(())
}

fn fsynced_data_survives_sigkill_of_the_vmm(place: Place) -> Result<()> {
    let disk = Disk::ext4(32)?;
    let mut guest = new_guest(place, "synced", "", Some(&disk))?;
    guest.wait_for("synced")?;
    guest.signal(Signal::KILL)?;
    ensure!(guest.wait()?.status.code().is_none(), "hv was not killed");
    disk.replay()?;
    ensure!(disk.file("pattern")? == pattern(50_000), "the pattern on the disk is not the one synced");
    disk.check()
}

fn full_disk_is_an_error_in_the_guest(place: Place) -> Result<()> {
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
        let mut arguments = boot_words(&Kernel::named(place.new)?, fast(place), PCI, "full")?;
        arguments.extend(["--disk".to_owned(), image.display().to_string()]);
        Guest::start(place.host, arguments, None)?.wait()
    })();
    let unmounted = Command::new("umount").arg(directory.path()).status()?;
    ensure!(unmounted.success(), "cannot unmount the small tmpfs: {unmounted}");
    let ended = ended?.code(0)?;
    ensure!(ended.stdout.contains("I/O error"), "the guest saw no error:\n{}", ended.stdout);
    ensure!(!ended.stdout.contains("the disk took everything"), "the guest believes that all was written");
    ensure!(ended.stderr.contains("No space left"), "no word to the user: {}", ended.stderr);
    Ok(())
}

fn read_only_disk_stays_as_it_was(place: Place) -> Result<()> {
    let content = pattern(10_240)[..61_440].to_vec();
    let disk = Disk::with(&content)?;
    let mut arguments = boot_words(&Kernel::named(place.new)?, fast(place), PCI, "readonly")?;
    arguments.extend(words("--cpus 2 --disk"));
    arguments.push(format!("{},readonly,serial=grey-disk-7,queues=2", disk.path().display()));
    let ended = Guest::start(place.host, arguments, Some(&disk))?.wait()?.code(0)?;
    let said: Vec<_> = ended.stdout.lines().map(str::trim).filter(|line| !line.starts_with('[')).collect();
    ensure!(said.contains(&"grey-disk-7"), "no serial number in:\n{}", ended.stdout);
    ensure!(said.contains(&"2"), "not two queues in:\n{}", ended.stdout);
    ensure!(said.contains(&"1"), "not read-only in:\n{}", ended.stdout);
    ensure!(fs::read(disk.path())? == content, "a read-only disk was changed");
    Ok(())
}

fn discard_frees_the_image(place: Place) -> Result<()> {
    let content: Vec<u8> = pattern(500_000)[..3 << 20].to_vec();
    let disk = Disk::with(&content)?;
    let ended = new_guest(place, "discard", "", Some(&disk))?.wait()?.code(0)?;
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

fn no_kernel_line_is_shown_twice(place: Place) -> Result<()> {
    // Each way of choosing consoles: a driver that the kernel has, has not, or may load later.
    let late = "virtio_pci virtio_console virtio_blk ext4";
    let cases = [
        (place.new, Image::Elf, PCI),
        (place.new, Image::Packaged, PCI),
        (place.old, Image::Elf, PCI),
        (place.old, Image::Packaged, late),
    ];
    let has_elf = |image| image == Image::Packaged || fast(place) == Image::Elf;
    for (kernel, image, modules) in cases.into_iter().filter(|&(_, image, _)| has_elf(image)) {
        // Away from its configuration file, nothing tells which drivers a bzImage has.
        let alone = tempfile::tempdir()?;
        let mut arguments = boot_words(&Kernel::named(kernel)?, image, modules, "none")?;
        if image == Image::Packaged {
            let copy = alone.path().join("vmlinuz");
            fs::copy(&arguments[1], &copy)?;
            arguments[1] = copy.display().to_string();
        }
        let ended = Guest::start(place.host, arguments, None)?.wait()?.code(0)?;
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

/// The exits that `hv -vv` counted.
fn exits(stderr: &str) -> Result<u64> {
    let counts = stderr.lines().find_map(|line| line.split("exits: ").nth(1)).context("no count of exits")?;
    Ok(counts.split_whitespace().next().context("no total")?.parse()?)
}

fn console_of_one_mebibyte_is_whole_and_cheap(place: Place) -> Result<()> {
    let boots = |test: &str| -> Result<(String, u64)> {
        let ended = new_guest(place, test, "-vv", None)?.wait()?.code(0)?;
        let total = exits(&ended.stderr)?;
        Ok((ended.stdout, total))
    };
    let (_, quiet) = boots("none")?;
    let (stdout, loud) = boots("flood")?;
    let expected = String::from_utf8(pattern(200_000)[..1 << 20].to_vec())?;
    ensure!(stdout.contains(&expected), "the console lost something of 1 MiB");
    ensure!(loud <= quiet + 2000, "1 MiB of console output took {} exits", loud - quiet);
    Ok(())
}

/// Every host is held against the same page, so all of them are the same machine.
fn the_machine_is_as_written_down(place: Place) -> Result<()> {
    let disk = Disk::ext4(16)?;
    let mut arguments = boot_words(&Kernel::named(place.new)?, fast(place), PCI, "machine quiet")?;
    arguments.extend(words("--cpus 2 --memory 512M --disk"));
    arguments.push(format!("{},serial=the-same-disk,queues=2", disk.path().display()));
    Guest::start(place.host, arguments, Some(&disk))?.wait()?.code(0)?;
    let architecture = if place.new == X86_64.new { "x86_64" } else { "aarch64" };
    machine::check(architecture, &disk.text("machine")?)
}

fn a_quiet_boot_has_few_exits(place: Place) -> Result<()> {
    let mut arguments = boot_words(&Kernel::named(place.new)?, Image::Packaged, PCI, "none quiet")?;
    arguments.push("-vvv".to_owned());
    let ended = Guest::start(place.host, arguments, None)?.wait()?.code(0)?;
    // All of them, also those that the backend deals with itself.
    let counts =
        ended.stderr.lines().find_map(|line| line.split("vCPU 0: ").nth(1)?.split(" exits: ").next());
    let exits: u64 = counts.with_context(|| format!("no exits counted in:\n{}", ended.stderr))?.parse()?;
    ensure!((100..=2500).contains(&exits), "a quiet boot took {exits} exits:\n{}", ended.stderr);
    Ok(())
}

fn auto_emulates_and_says_so(place: Place) -> Result<()> {
    let arguments = boot_words(&Kernel::named(place.new)?, Image::Packaged, PCI, "none quiet")?;
    let output = Command::new(place.host.hv()?).arg("run").args(arguments).stdin(Stdio::null()).output()?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "hv ended with {}: {told}", output.status);
    ensure!(
        told.lines().count() == 1 && told.contains("an arm64 machine is emulated, since"),
        "not said: {told}"
    );
    Ok(())
}

/// Nobody but the VMM can watch doorbells on a Mac.
/// At most: a busy host finds the next request before it was told of it. The kernel's own words are left out, since how
/// many of them one doorbell shows is the host's load too.
fn a_disk_request_is_one_exit(place: Place) -> Result<()> {
    let disk = Disk::with(&vec![0; 8 << 20])?;
    let boot = |test: &str| -> Result<(String, u64)> {
        let ended = new_guest(place, &format!("{test} quiet"), "-vv", Some(&disk))?.wait()?.code(0)?;
        let exits = exits(&ended.stderr)?;
        Ok((ended.stdout, exits))
    };
    let ((_, idle), (words, busy)) = (boot("none")?, boot("requests")?);
    ensure!(words.contains("1000+0 records in"), "the guest did not read 1,000 blocks:\n{words}");
    let requests = busy.saturating_sub(idle);
    ensure!(requests < 1100, "1,000 requests took {requests} exits ({busy} less {idle})");
    Ok(())
}

fn typed_text_reaches_the_guest(place: Place) -> Result<()> {
    let mut guest = new_guest(place, "echo", "", None)?;
    guest.wait_for("ready")?;
    guest.type_text("a word\n")?;
    let ended = guest.wait()?.code(0)?;
    ensure!(ended.stdout.contains("heard a word"), "the guest heard nothing:\n{}", ended.stdout);
    Ok(())
}

/// Of 512 MiB that the guest used and freed, at least 450 come back, and nobody asks for them.
fn free_memory_goes_back_to_the_host(place: Place) -> Result<()> {
    const USED: u64 = 512 << 20;
    const BACK: u64 = 450 << 20;
    let modules = "virtio_pci virtio_balloon";
    let mut arguments = boot_words(&Kernel::named(place.new)?, fast(place), modules, "free")?;
    arguments.extend(words("--memory 1G --balloon"));
    let mut guest = Guest::start(place.host, arguments, None)?;
    guest.wait_for("memory is used")?;
    let used = resident(guest.pid())?;
    ensure!(used >= USED, "hv has {used} bytes of memory while its guest uses {USED}");
    guest.type_text("\n")?;
    guest.wait_for("memory is free")?;
    let start = Instant::now();
    loop {
        let back = used.saturating_sub(resident(guest.pid())?);
        if back >= BACK {
            eprintln!("{} MiB came back within {:.1} s", back >> 20, start.elapsed().as_secs_f64());
            return Ok(());
        }
        ensure!(start.elapsed() < PATIENCE, "only {} MiB came back", back >> 20);
        thread::sleep(Duration::from_millis(100));
    }
}

/// Bytes of the process that are in memory.
fn resident(pid: u32) -> Result<u64> {
    let statm = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("statm"))?;
    let pages: u64 = statm.split(' ').nth(1).context("statm has a second field")?.parse()?;
    Ok(pages * rustix::param::page_size() as u64)
}

fn idle_guest_wakes_nothing(place: Place) -> Result<()> {
    let mut guest = new_guest(place, "idle", "--memory 256M", None)?;
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
