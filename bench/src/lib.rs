//! Code shared by the programs of this package.

pub mod programs;
