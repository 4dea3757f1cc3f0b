//! The command as two processes: a worker that does the work and may hold keys, and a monitor that the caller
//! started.
//!
//! Between its start and its first instructions, a program's memory can be read by every process of the same user.
//! A process that opens `/proc/PID/mem` at that moment can read the memory for the lifetime of the program,
//! whatever it forbids later. A forked child has its own address space and inherits the protection. So the command
//! protects itself, forks, and reads keys only in the child.
//!
//! The monitor holds no key. It forwards SIGINT, SIGTERM, SIGHUP and job control (SIGTSTP, SIGCONT), stops when the
//! worker stops for job control, and ends like the worker. Other signals that would end it, such as SIGQUIT, kill the
//! worker; the monitor restores the terminal and then ends by that signal. Killing it with SIGKILL ends the worker too.
//! Both are in one process group, so that a terminal treats them as one job. SIGSTOP cannot be forwarded: if it stops
//! one of the two alone, the other continues it.
//!
//! It is also a subreaper: orphans that are reparented to it were left by a worker and a supervisor that were both
//! killed, and are killed when the worker has ended.

#[cfg(not(target_os = "linux"))]
use std::process::ExitCode;

#[cfg(target_os = "linux")]
mod linux;

#[cfg(target_os = "linux")]
pub(crate) use linux::{keep_monitor_running, run};

/// The worker's connection to its monitor.
#[derive(Debug, Default)]
pub(crate) struct Link {
    /// The number of each signal that the monitor received, one byte each. `None` without a monitor.
    #[cfg(unix)]
    pub(crate) signals: Option<std::os::unix::net::UnixStream>,
    /// Whether another process traces this one, and so can read its memory.
    pub(crate) traced: bool,
}

/// Runs the work in this process, because only Linux has a monitor.
#[cfg(not(target_os = "linux"))]
pub(crate) fn run(work: impl FnOnce(Link) -> ExitCode) -> ExitCode {
    work(Link::default())
}
