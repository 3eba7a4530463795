//! The cases that every architecture has.

mod access;
mod doorbell;
mod kick;
mod life;
mod memory;

use hv_core::hypervisor::{ArchOf, Hypervisor};

use crate::{Case, Programs};

pub(crate) fn all<H: Hypervisor + 'static>() -> Vec<Case>
where
    ArchOf<H>: Programs,
{
    [
        access::cases::<H>(),
        memory::cases::<H>(),
        kick::cases::<H>(),
        doorbell::cases::<H>(),
        life::cases::<H>(),
    ]
    .concat()
}
