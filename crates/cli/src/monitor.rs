//! The command as two processes: a worker that does the work and may hold keys, and a monitor that the caller sees.
//!
//! Between its start and its first instructions a program can be read by every process of the same user. One that opens
//! `/proc/PID/mem` in that moment reads the memory for as long as the process lives, whatever it forbids later. A forked child has
//! an address space of its own, which inherits that it cannot be read. So the command forbids it, forks, and reads keys in the
//! child alone.
//!
//! The monitor holds no key. It forwards SIGINT, SIGTERM, SIGHUP and job control (SIGTSTP, SIGCONT), stops when the worker
//! stops for job control, and ends as the worker does. SIGKILL to it ends the worker too. Both are in one process group, so that a
//! terminal treats them as one job. SIGSTOP cannot be forwarded: if it stops one of the two alone, the other continues it.
//!
//! It is a subreaper as well: what falls to it is left over from a worker and a supervisor that were both killed, and is killed
//! when the worker has ended.

#[cfg(not(target_os = "linux"))]
use std::process::ExitCode;

#[cfg(target_os = "linux")]
mod linux;

#[cfg(target_os = "linux")]
pub(crate) use linux::{keep_monitor_running, run};

/// The worker's connection to its monitor.
#[derive(Debug, Default)]
pub(crate) struct Link {
    /// Gives the number of each signal that the monitor received, a byte each. `None` without a monitor.
    #[cfg(unix)]
    pub(crate) signals: Option<std::os::unix::net::UnixStream>,
    /// A process traces this one, and so can read its memory.
    pub(crate) traced: bool,
}

/// Runs the work in this process: only Linux has a monitor.
#[cfg(not(target_os = "linux"))]
pub(crate) fn run(work: impl FnOnce(Link) -> ExitCode) -> ExitCode {
    work(Link::default())
}
