//! The part that depends on the operating system.

#[cfg(target_os = "linux")]
pub use crate::linux::tools::OwnProcesses;
#[cfg(target_os = "linux")]
pub(crate) use crate::linux::{
    known::KnownProcesses,
    orphans::{adopt_orphans, record_start},
    table::memory,
    tools::ToolProcesses,
};
#[cfg(not(target_os = "linux"))]
pub use crate::without_proc::OwnProcesses;
#[cfg(not(target_os = "linux"))]
pub(crate) use crate::without_proc::{KnownProcesses, ToolProcesses, adopt_orphans, memory, record_start};
