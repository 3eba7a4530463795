//! The flattened device tree of an aarch64 machine (Devicetree Specification 0.4; the bindings are Linux's,
//! Documentation/devicetree/bindings).

mod devices;
mod processors;
#[cfg(test)]
pub(crate) mod testing;

use std::ops::Range;

use vm_fdt::FdtWriter;

use super::aarch64::Description;

/// Random bytes for the kernel: 8 for the place it chooses in virtual memory, the rest for its generator.
pub type Seed = [u8; 64];

/// What the kernel is told besides the machine.
#[derive(Debug)]
pub struct Chosen<'a> {
    /// Its command line.
    pub command_line: &'a str,
    /// Where its initial RAM disk lies; empty if it has none.
    pub initrd: Range<u64>,
    /// Random bytes.
    pub seed: &'a Seed,
}

/// The most bytes of a tree: far more than the most vCPUs and devices need.
pub const MOST: usize = 64 << 10;

/// The tree cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum FdtError {
    /// It is larger than [`MOST`].
    #[error("the device tree has more than {MOST} bytes: give fewer vCPUs or devices")]
    TooLarge,
    /// The format does not take it.
    #[error("cannot write the device tree: {0}")]
    Format(#[from] vm_fdt::Error),
}

/// Nodes that others point to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Handle {
    Interrupts = 1,
    Messages,
    Clock,
    Gpio,
}

/// The types of interrupt in a `GICv3` specifier (arm,gic-v3).
const SPI: u32 = 0;
const PPI: u32 = 1;
const LEVEL_HIGH: u32 = 4;

/// A node is under construction.
type Writing = Result<(), vm_fdt::Error>;

/// Makes the tree of `machine`.
///
/// # Errors
/// It is too large.
pub fn build(machine: &Description, chosen: &Chosen<'_>) -> Result<Vec<u8>, FdtError> {
    let mut fdt = FdtWriter::new()?;
    node(&mut fdt, "", |fdt| {
        fdt.property_string("compatible", "linux,dummy-virt")?;
        fdt.property_string("model", "hv-1")?;
        cells(fdt, 2, 2)?;
        fdt.property_u32("interrupt-parent", Handle::Interrupts as u32)?;
        node(fdt, "chosen", |fdt| choose(fdt, machine, chosen))?;
        node(fdt, &unit("memory", machine.ram.start), |fdt| {
            fdt.property_string("device_type", "memory")?;
            region(fdt, &machine.ram)
        })?;
        processors::write(fdt, machine)?;
        devices::write(fdt, machine)
    })?;
    let tree = fdt.finish()?;
    if tree.len() > MOST { Err(FdtError::TooLarge) } else { Ok(tree) }
}

fn choose(fdt: &mut FdtWriter, machine: &Description, chosen: &Chosen<'_>) -> Writing {
    // A zero in it ends it.
    let line = chosen.command_line.split('\0').next().unwrap_or_default();
    fdt.property_string("bootargs", line)?;
    fdt.property_string("stdout-path", &format!("/{}", devices::uart_name(machine)))?;
    if !chosen.initrd.is_empty() {
        fdt.property_u64("linux,initrd-start", chosen.initrd.start)?;
        fdt.property_u64("linux,initrd-end", chosen.initrd.end)?;
    }
    let (place, generator) = chosen.seed.split_at(8);
    fdt.property("kaslr-seed", place)?;
    fdt.property("rng-seed", generator)
}

/// Writes a node with what `body` writes.
fn node(fdt: &mut FdtWriter, name: &str, body: impl FnOnce(&mut FdtWriter) -> Writing) -> Writing {
    let node = fdt.begin_node(name)?;
    body(fdt)?;
    fdt.end_node(node)
}

/// The name of the node at `address`.
fn unit(name: &str, address: u64) -> String {
    format!("{name}@{address:x}")
}

fn cells(fdt: &mut FdtWriter, address: u32, size: u32) -> Writing {
    fdt.property_u32("#address-cells", address)?;
    fdt.property_u32("#size-cells", size)
}

/// `reg` of one range of addresses.
fn region(fdt: &mut FdtWriter, range: &Range<u64>) -> Writing {
    fdt.property_array_u64("reg", &[range.start, range.end.saturating_sub(range.start)])
}

fn strings(fdt: &mut FdtWriter, name: &str, values: &[&str]) -> Writing {
    fdt.property_string_list(name, values.iter().map(|value| (*value).to_owned()).collect())
}

#[cfg(test)]
mod tests;
