//! How an arm64 kernel is started: placement, device tree, first register state (Linux,
//! Documentation/arch/arm64/booting.rst).
//!
//! From the start of RAM up, which is a multiple of 2 MiB:
//!
//! | where | what |
//! | --- | --- |
//! | `text_offset`, which is 0 since Linux 5.8 | the kernel, `image_size` bytes |
//! | the next multiple of 64 KiB | the device tree, with 64 KiB of room so that it crosses no 2 MiB boundary |
//! | as high as the protocol lets it | the initial RAM disk: within 32 GiB from the start of RAM |

mod image;

use std::ops::Range;

use vm_memory::{Bytes, GuestAddress};

use self::image::Image;
use super::{BootError, Payload, PayloadFile, elf, foreign, initrd, unpack, unpack::Unpacked};
use crate::{
    arch::aarch64::{CpuState, PSTATE_AT_RESET},
    memory::GuestRam,
    tables::{
        aarch64::Description,
        fdt::{self, Chosen, Seed},
    },
};

/// Room for the device tree, and its alignment.
const DEVICE_TREE: u64 = fdt::MOST as u64;
/// The initial RAM disk and the kernel lie in one window of this size.
const WINDOW: u64 = 32 << 30;
/// `COMMAND_LINE_SIZE` less the terminating zero.
const MOST_COMMAND_LINE: usize = 2047;
/// What is read to know a kernel by.
const HEAD: usize = 4096;
/// Unpacked at a time.
const CHUNK: usize = 128 << 10;

/// The machine that a payload is loaded into.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Its RAM: one block from `description.ram.start`, a multiple of 2 MiB.
    pub ram: &'a GuestRam,
    /// What its device tree says.
    pub description: &'a Description,
    /// Random bytes for the kernel.
    pub seed: &'a Seed,
}

/// A kernel, checked and not yet loaded, with its first bytes.
struct Kernel<'a> {
    image: Image,
    head: Vec<u8>,
    /// What follows the head, if it is packed.
    rest: Option<Unpacked<'a>>,
    /// Bytes of the file.
    size: u64,
}

/// Loads `payload` and says in which state the first core starts.
///
/// # Errors
/// The payload or the guest's RAM does not fit; see [`BootError`].
pub fn load(payload: &Payload, target: &Target<'_>) -> Result<CpuState, BootError> {
    let kernel = inspect(&payload.kernel)?;
    let length = payload.command_line.len();
    if length > MOST_COMMAND_LINE {
        return Err(BootError::CommandLine { length, limit: MOST_COMMAND_LINE });
    }
    let RamPlan { kernel: address, device_tree, initrd } =
        place(payload, &kernel.image, &target.description.ram)?;

    load_kernel(&payload.kernel, kernel, target.ram, address)?;
    if let Some(file) = &payload.initrd {
        file.copy_to(target.ram, initrd.start, 0, initrd.end - initrd.start)?;
    }
    let chosen = Chosen { command_line: &payload.command_line, initrd, seed: target.seed };
    let tree = fdt::build(target.description, &chosen)?;
    target.ram.write_slice(&tree, GuestAddress(device_tree))?;

    let mut state = CpuState { pc: address, pstate: PSTATE_AT_RESET, ..CpuState::default() };
    state.x[0] = device_tree;
    Ok(state)
}

/// Whether a file that begins with `head` is an arm64 Image that is not packed.
pub(super) fn is_image(head: &[u8]) -> bool {
    Image::is_one(head)
}

/// Finds out what `file` is and what it needs.
fn inspect(file: &PayloadFile) -> Result<Kernel<'_>, BootError> {
    let size = file.size()?;
    let head = file.read(0, HEAD)?;
    let packed = unpack::find(&head).map_err(|method| {
        let given = "give one packed by gzip or zstd, or the Image";
        file.error(format!("is an EFI kernel packed by {method}, which is not known here: {given}"))
    })?;
    let (head, rest) = match packed {
        None => (head, None),
        Some(packed) => {
            let mut unpacked = Unpacked::open(file, &packed)?;
            let mut head = vec![0; HEAD];
            let count = unpacked.fill(&mut head)?;
            head.truncate(count);
            (head, Some(unpacked))
        }
    };
    if head.starts_with(elf::MAGIC) {
        let architecture = elf::architecture(&head);
        return Err(file.error(match architecture {
            "arm64" => "is an ELF file: give the arm64 Image made of it".to_owned(),
            _ => format!("is an ELF file for {architecture} and this machine is arm64: give an arm64 Image"),
        }));
    }
    if !Image::is_one(&head) {
        return Err(file.error(foreign::describe(&head, foreign::ARM64)));
    }
    let in_file = rest.is_none().then_some(size);
    let image = Image::read(&head, in_file).map_err(|reason| file.error(reason))?;
    Ok(Kernel { image, head, rest, size })
}

/// Where everything goes.
struct RamPlan {
    kernel: u64,
    device_tree: u64,
    /// Empty if there is none.
    initrd: Range<u64>,
}

/// Checks that the RAM holds all.
fn place(payload: &Payload, image: &Image, ram: &Range<u64>) -> Result<RamPlan, BootError> {
    let available = ram.end - ram.start;
    let memory = |needed| BootError::Memory { needed, available };
    // Offsets from the start of RAM.
    let device_tree = image
        .text_offset
        .checked_add(image.size)
        .and_then(|end| end.checked_next_multiple_of(DEVICE_TREE))
        .ok_or_else(|| memory(u64::MAX))?;
    let end = device_tree.checked_add(DEVICE_TREE).ok_or_else(|| memory(u64::MAX))?;
    if end > available {
        return Err(memory(end));
    }
    let mut plan =
        RamPlan { kernel: ram.start + image.text_offset, device_tree: ram.start + device_tree, initrd: 0..0 };
    let Some(file) = &payload.initrd else { return Ok(plan) };
    let size = initrd::check(file)?;
    let ceiling = available.min(WINDOW);
    if let Some(start) = initrd::place(size, end, ceiling) {
        plan.initrd = ram.start + start..ram.start + start + size;
        return Ok(plan);
    }
    let needed = size.checked_next_multiple_of(4096).and_then(|size| size.checked_add(end));
    match needed.filter(|needed| *needed <= WINDOW) {
        Some(needed) => Err(memory(needed)),
        None => Err(file.error(format!(
            "has {} MiB and this kernel has room for {} MiB: give a smaller one",
            size.div_ceil(1 << 20),
            ceiling.saturating_sub(end) >> 20
        ))),
    }
}

/// Puts the kernel at `address`, where there is room for [`Image::size`].
fn load_kernel(
    file: &PayloadFile,
    kernel: Kernel<'_>,
    ram: &GuestRam,
    address: u64,
) -> Result<(), BootError> {
    let Kernel { image, head, rest, size } = kernel;
    let Some(mut rest) = rest else {
        // What is longer than the kernel says is a signature at its end.
        return file.copy_to(ram, address, 0, size.min(image.size));
    };
    let too_long =
        || file.error("unpacks to more than its header says, it is damaged: fetch or build it again");
    let mut room = image.size;
    let mut next = address;
    let mut put = |bytes: &[u8]| {
        room = room.checked_sub(bytes.len() as u64).ok_or_else(too_long)?;
        ram.write_slice(bytes, GuestAddress(next))?;
        next += bytes.len() as u64;
        Ok::<_, BootError>(())
    };
    put(&head)?;
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = rest.fill(&mut chunk)?;
        put(chunk.get(..count).unwrap_or_default())?;
        if count < chunk.len() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests;
