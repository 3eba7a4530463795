//! Fuzz targets: functions that play any bytes against the parts of the machine that hear guests, images and
//! configurations, and that check what must be true whatever the bytes are.
//!
//! | target | what the bytes are | what must be true besides "no panic, no hang" |
//! | --- | --- | --- |
//! | [`virtqueue`] | queue layouts, descriptors, rings, calls | a chain is what a model of the protocol reads; only the used ring and writable buffers change; bounded chains; no interrupt for nothing |
//! | [`virtio_mmio`] | register accesses, rings, requests to a block, entropy or console device | loads set every byte, equal machines stay equal; no RAM is touched before `DRIVER_OK` or by a register; bounded turns; a reset undoes all |
//! | [`virtio_pci`] | the same over configuration space and BAR | the same; configuration space after a reset is that of power-on |
//! | [`pci`] | ECAM and 0xcf8 accesses, BARs, MSI-X, INTx | accesses stay within BARs, BARs within windows; devices know where they are; no message when off; identity stays |
//! | [`uart`] | register accesses, input | only stored bytes are transmitted; raised means pending; input is bounded |
//! | [`pl011`] | register accesses, input | the same; the line is the masked status; reading empties the port |
//! | [`pl031`] | register accesses, host time | the clock keeps its distance to the host's; the line is the masked status |
//! | [`pl061`] | register accesses, button | no press is lost, the button comes up when seen; the line is the masked status |
//! | [`gic_v2m`] | register accesses | a store of one of the frame's SPIs is a message, nothing else is |
//! | [`cmos`] | register accesses, host time | the clock shows a date of the calendar |
//! | [`i8042`] | register accesses | a reset only if asked for; reading empties the buffer |
//! | [`acpi_power`] | register accesses, button, time | SCI follows status and enable; power-off and reset only if asked for; the timer shows the time |
//! | [`block_request`] | chains and headers | data are buffers of the chain, ranges lie in the disk, read-only stays so; other requests and RAM stay |
//! | [`balloon`] | page numbers, free ranges, statistics, stores to the configuration | only pages that were given lose their content, reported ones only without poison; the host gets no more than there was |
//! | [`image_documents`] | manifests, indexes, configurations of images, `docker save`'s manifest | bounds hold; what is written is read again; errors of one line |
//! | [`image_layer`] | layers of images | the image can be written; errors of one line |
//! | [`image_archive`] | whole archives of images, sound ones with bits flipped below right digests | imported and found, or refused in one line; nothing of a refused one stays |
//! | [`image_store`] | the file of a name in the cache of images, or what it said with bits flipped | an image of this cache or none; errors of one line |
//! | [`image_reference`] | names of images | what is completed stays; errors of one line |
//! | [`image_tree`] | entries of archives: paths, kinds, links, whiteouts | no content is lost; a reader of the image finds the tree |
//! | [`console_control`] | control messages, sizes, buffers for answers | answers are whole, well-formed and no more than asked for; the device knows which ports are open |
//! | [`vsock`] | packets of a guest's sockets, buffers for answers, what host ends do | packets are whole, on connections, within the guest's credit; every byte arrives in its place; a reset ends connections |
//! | [`virtio_net`] | frames, buffers and commands of a network card's driver, what the network does | frames arrive whole, in their order; each is sent, received or counted as lost; commands are answered as a model does |
//! | [`console_merge`] | what two consoles write | no text is lost or out of order, each record comes as often as it was brought |
//! | [`elf`], [`bzimage`], [`pvh`] | changed kernels | low memory holds the loader's tables only; the entry is in RAM; refusals are one line |
//! | [`arm64_image`] | changed kernels, packed or not | only the kernel's room, device tree and initial RAM disk are written; refusals are one line |
//! | [`fdt`] | any machine | its device tree is whole and bounded |
//! | [`console_detection`] | changed kernels | a driver is found only where its name is |
//! | [`psci`] | PSCI calls of several cores | a core starts only when it is off; no call changes another core; codes are the interface's |
//! | [`syndrome`] | syndromes of aborts, answers | one step, one register, PC moves on; exceptions go to the vectors |
//! | [`instruction`] | A64 words, registers, answers | bounded steps in one page; only loaded registers and the base change |
//! | [`debian_package`], [`rpm_package`] | packages, whole or what is inside | contents are as long as said; names are bounded; the same files each time |
//! | [`kernel_image`] | a kernel's first bytes | a release that is told is safe as a name |
//! | [`kernel_lists`] | `modules.builtin`, `modules.alias`, configurations | modules are named as the kernel does; no pattern is an alias |
//! | [`module_info`] | modules, their `.modinfo` | names are as the kernel has them, and bounded |
//! | [`net_user`] | frames of a guest, and what clients of forwarded ports do | frames for the guest are whole and no longer than it accepted; connections are bounded; nothing is left when the driver goes |
//! | [`control`] | what a client says on a control socket | lines are bounded and whole; what is understood reads back the same; refusals are one line |
//! | [`manifest`] | a text as `hv.toml` | an error has a place in the text; values are bounded and have places |
//! | [`agent_messages`], [`host_messages`] | what the agent in a guest says to `hv`, and `hv` to it, in pieces of any size | a message means the same in any pieces and when written again; what is no message ends the stream; refusals are one line |
//! | [`boot_config`] | the agent's configuration | it means the same when written again; refusals are one line |
//! | [`dhcp_answer`] | what a DHCP server says to the agent | addresses are machines', and few; the question that takes them up is a packet |
//! | [`challenge`] | `WWW-Authenticate` headers | what is read is bounded, and is read the same when written down again |
//! | [`content_range`] | `Content-Range` headers | the range lies within the total |
//! | [`auth_file`] | credentials of registries | credentials are those of the registry; no message shows a secret |
//! | [`net_capture`] | frames of a guest with any header, TCP to be cut | the file is whole blocks; no payload is lost |
//! | [`net_stream`] | what the program at the other end of a network socket says, in pieces of any size | frames come whole and in order; a length that no frame has is the end |
//! | [`net_services`] | a guest's frames: ARP, neighbour discovery, DHCP, DNS, pings, fragments | answers are whole, within the MTU, with right checksums; only TCP and UDP from the guest's addresses pass |
//! | [`net_dns`] | queries, answers of name servers, `resolv.conf` | an answer is of this query; what is answered here answers |
//! | [`kernel_store`] | the record of a kernel in the store, or a sound one with bits flipped | a kernel whose files are in its folder, or an error of one line |
//! | [`net_segment`] | datagrams of other guests' processes on a private segment | no name is a path; an address belongs to who said so last |
//! | [`registry_answers`] | errors, tokens and redirects of registries | what is shown is one short line; no redirect leaves encryption or brings a name along |
//! | [`user_database`] | `/etc/passwd` and `/etc/group` of a guest | numbers that mean users; bounded groups |
//! | [`trapped_registers`] | reads and writes of trapped system registers | UNDEFINED stays UNDEFINED; a reset undoes all |
//!
//! `cargo test -p hv-fuzz` replays `corpus/TARGET/*` and then plays generated inputs, the same each time;
//! `HV_FUZZ_ROUNDS` says how many. `ci/fuzz TARGET SECONDS` searches by coverage, with the same functions.

mod acpi_power;
mod agent_protocol;
mod arm64_image;
mod auth_file;
mod balloon;
mod block_request;
mod bzimage;
mod challenge;
mod cmos;
mod console_control;
mod console_detection;
mod console_merge;
mod content_range;
mod control;
mod cores;
mod debian_package;
mod dhcp_answer;
mod elf;
mod erofs_reader;
mod fdt;
mod gic_v2m;
mod i8042;
mod image_archive;
mod image_documents;
mod image_layer;
mod image_reference;
mod image_store;
mod image_tree;
mod input;
mod instruction;
mod kernel_image;
mod kernel_lists;
mod kernel_store;
mod kernels;
mod manifest;
mod module_info;
mod net_capture;
mod net_dns;
mod net_segment;
mod net_services;
mod net_stream;
mod net_user;
mod package;
mod payload;
mod pci;
mod pl011;
mod pl031;
mod pl061;
mod psci;
mod pvh;
mod ram;
mod registry_answers;
mod rings;
mod rpm_package;
mod sink;
mod syndrome;
mod trapped_registers;
mod twins;
mod uart;
mod user_database;
mod virtio;
mod virtio_mmio;
mod virtio_net;
mod virtio_pci;
mod virtio_transport;
mod virtqueue;
mod vsock;

pub use acpi_power::acpi_power;
pub use agent_protocol::{agent_messages, boot_config, host_messages};
pub use arm64_image::arm64_image;
pub use auth_file::auth_file;
pub use balloon::balloon;
pub use block_request::block_request;
pub use bzimage::bzimage;
pub use challenge::challenge;
pub use cmos::cmos;
pub use console_control::console_control;
pub use console_detection::console_detection;
pub use console_merge::console_merge;
pub use content_range::content_range;
pub use control::control;
pub use debian_package::debian_package;
pub use dhcp_answer::dhcp_answer;
pub use elf::elf;
pub use fdt::fdt;
pub use gic_v2m::gic_v2m;
pub use i8042::i8042;
pub use image_archive::image_archive;
pub use image_documents::image_documents;
pub use image_layer::image_layer;
pub use image_reference::image_reference;
pub use image_store::image_store;
pub use image_tree::image_tree;
pub use instruction::instruction;
pub use kernel_image::kernel_image;
pub use kernel_lists::kernel_lists;
pub use kernel_store::kernel_store;
pub use manifest::manifest;
pub use module_info::module_info;
pub use net_capture::net_capture;
pub use net_dns::net_dns;
pub use net_segment::net_segment;
pub use net_services::net_services;
pub use net_stream::net_stream;
pub use net_user::net_user;
pub use pci::pci;
pub use pl011::pl011;
pub use pl031::pl031;
pub use pl061::pl061;
pub use psci::psci;
pub use pvh::pvh;
pub use registry_answers::registry_answers;
pub use rpm_package::rpm_package;
pub use syndrome::syndrome;
pub use trapped_registers::trapped_registers;
pub use uart::uart;
pub use user_database::user_database;
pub use virtio_mmio::virtio_mmio;
pub use virtio_net::virtio_net;
pub use virtio_pci::virtio_pci;
pub use virtqueue::virtqueue;
pub use vsock::vsock;

use input::Input;

/// A folder in memory where the host has such a place: what flushes each of its files is slow elsewhere.
fn quick_folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder")
}
