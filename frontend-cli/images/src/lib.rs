//! Images of root file systems: a model in memory, and the disks that are made of it, without root and without external
//! tools.

pub mod erofs;
pub mod ext4;
pub mod tree;

mod checksum;
