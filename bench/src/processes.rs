//! The CPU time and memory of processes.

use opencode_run_tests::Sandbox;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The sampling interval for the memory of all processes.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// The sampling interval for a single process.
const SINGLE_POLL_INTERVAL: Duration = Duration::from_millis(2);
/// The size of a page of memory, in bytes.
const PAGE: u64 = 4096;

/// Returns the CPU time that this process has used so far.
pub(crate) fn own_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Returns the resident memory of this process in bytes, and resets its peak.
pub(crate) fn own_memory() -> u64 {
    // If resetting the peak is not permitted, the peak is too high, not too low.
    fs::write("/proc/self/clear_refs", "5").ok();
    status(Path::new("/proc/self"), "VmRSS:")
}

/// Returns the peak memory of this process since the reset, in bytes.
pub(crate) fn own_peak() -> u64 {
    status(Path::new("/proc/self"), "VmHWM:")
}

/// Returns a size in the status of a process, in bytes.
fn status(process: &Path, field: &str) -> u64 {
    number(process, field) * 1024
}

fn number(process: &Path, field: &str) -> u64 {
    let status = fs::read_to_string(process.join("status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Samples the total memory of a sandbox's processes, except this one.
pub(crate) struct Watch {
    over: Arc<AtomicBool>,
    peak: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub(crate) fn begin(sandbox: &Sandbox) -> Self {
        let (name, value) = sandbox.marker();
        let marker = format!("{name}={value}");
        let over = Arc::new(AtomicBool::new(false));
        let peak = Arc::new(AtomicU64::new(0));
        let is_over = Arc::clone(&over);
        let highest = Arc::clone(&peak);
        let thread = std::thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                highest.fetch_max(memory_of(&marker), Ordering::Relaxed);
                std::thread::sleep(POLL_INTERVAL);
            }
        });
        Self { over, peak, thread: Some(thread) }
    }

    /// Returns the peak of the total memory in bytes. Shared memory counts once per process.
    pub(crate) fn end(mut self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
        self.peak.load(Ordering::Relaxed)
    }
}

fn memory_of(marker: &str) -> u64 {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let of_sandbox = processes.filter(|process| {
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == marker.as_bytes())
    });
    // Between fork and exec, a process shares all of its parent's memory for some milliseconds.
    of_sandbox.filter(|process| !is_borrower(process)).map(|process| resident(&process)).sum()
}

/// Returns whether a process is between fork and exec: it still has its parent's command line, and its parent is
/// not the command's monitor, whose only child is the worker.
fn is_borrower(process: &Path) -> bool {
    let parent = number(process, "PPid:");
    let parent = Path::new("/proc").join(parent.to_string());
    has_same_command_line(process, &parent) && worker_of(&parent).as_deref() != Some(process)
}

fn has_same_command_line(process: &Path, other: &Path) -> bool {
    let command_line = |process: &Path| fs::read(process.join("cmdline")).unwrap_or_default();
    let own = command_line(process);
    !own.is_empty() && own == command_line(other)
}

/// Returns the worker of a command: the only child of its monitor and a fork of it.
fn worker_of(monitor: &Path) -> Option<PathBuf> {
    let id = monitor.file_name()?;
    let children = fs::read_to_string(monitor.join("task").join(id).join("children")).ok()?;
    let mut children = children.split_whitespace();
    let (Some(child), None) = (children.next(), children.next()) else { return None };
    let child = Path::new("/proc").join(child);
    // Between fork and exec, a process has the same size as its parent.
    (has_same_command_line(&child, monitor) && status(&child, "RssAnon:") != status(monitor, "RssAnon:"))
        .then_some(child)
}

fn resident(process: &Path) -> u64 {
    let statm = fs::read_to_string(process.join("statm")).unwrap_or_default();
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * PAGE
}

/// The CPU time and peak memory of a command's monitor and worker until they ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResourceUsage {
    pub(crate) cpu: Duration,
    pub(crate) peak: u64,
}

/// Samples a command until it ends, without the processes that it starts. Memory shared by its two processes is
/// counted once: for the monitor, only memory that is not mapped from its executable counts.
pub(crate) fn sample_until_exit(pid: u32) -> JoinHandle<ResourceUsage> {
    std::thread::spawn(move || {
        let process = Path::new("/proc").join(pid.to_string());
        let mut taken = ResourceUsage { cpu: Duration::ZERO, peak: 0 };
        let mut worker = None;
        while let Some(cpu) = cpu_of(&process) {
            if worker.is_none() {
                worker = worker_of(&process);
            }
            let of_worker = worker.as_deref().and_then(cpu_of).unwrap_or_default();
            taken.cpu = taken.cpu.max(cpu + of_worker);
            let peak = match &worker {
                None => status(&process, "VmHWM:"),
                Some(worker) => status(worker, "VmHWM:") + status(&process, "RssAnon:"),
            };
            taken.peak = taken.peak.max(peak);
            std::thread::sleep(SINGLE_POLL_INTERVAL);
        }
        taken
    })
}

/// Returns the CPU time of all threads of a process.
fn cpu_of(process: &Path) -> Option<Duration> {
    let threads = fs::read_dir(process.join("task")).ok()?.flatten();
    let times = threads.filter_map(|thread| {
        let schedule = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        schedule.split_whitespace().next()?.parse::<u64>().ok()
    });
    Some(Duration::from_nanos(times.sum()))
}
