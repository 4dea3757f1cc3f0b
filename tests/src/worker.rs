//! The two processes of a command: the monitor, which the caller has started, and the worker below it.

use std::fs;

/// Returns the children of a process, of all its threads.
#[must_use]
pub fn children_of(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let children = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let pids =
        |children: String| children.split_whitespace().filter_map(|child| child.parse().ok()).collect::<Vec<_>>();
    children.flat_map(pids).collect()
}

/// Returns the worker of a command that was started as `monitor`. `None` if it is gone.
#[must_use]
pub fn worker_of(monitor: u32) -> Option<u32> {
    children_of(monitor).first().copied()
}

/// Returns the highest memory of a command so far, in KiB: of its monitor or its worker, whichever used more. `None` if
/// it is gone.
#[must_use]
pub fn peak_kib(monitor: u32) -> Option<u64> {
    std::iter::once(monitor).chain(worker_of(monitor)).filter_map(peak_of).max()
}

fn peak_of(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
