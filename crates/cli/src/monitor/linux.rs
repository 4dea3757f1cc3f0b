//! The two processes on Linux.

use super::Link;
use crate::console::Console;
use fork::Fork;
use opencode_run_process::{SignalSet, ignored_signals};
use rustix::process::{
    DumpableBehavior, Pid, Signal, WaitOptions, WaitStatus, getpid, getppid, kill_process, set_child_subreaper,
    set_dumpable_behavior, set_parent_process_death_signal, wait,
};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use std::collections::HashSet;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The signals that ask the worker to end. All others but those of job control have their usual effect on the monitor, and its
/// end ends the worker.
const FORWARDED: [Signal; 3] = [Signal::INT, Signal::TERM, Signal::HUP];

const CHILD: i32 = Signal::CHILD.as_raw();
const CONT: i32 = Signal::CONT.as_raw();
const TSTP: i32 = Signal::TSTP.as_raw();

/// How long the supervisors of a worker that was killed may take to end what is left, before the monitor does.
const SUPERVISORS_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the monitor kills what is left.
const KILL_TIMEOUT: Duration = Duration::from_secs(3);
/// The pause between two looks at the children.
const KILL_INTERVAL: Duration = Duration::from_millis(5);

/// Runs the work in a worker and returns the worker's exit code. If no second process can be made, the work is done in
/// this one.
///
/// This process must have a single thread.
pub(crate) fn run(work: impl FnOnce(Link) -> ExitCode) -> ExitCode {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        Console::warning(&format!("other processes of this user can read this one's memory: {error}"));
    }
    // A tracer of the monitor alone has not attached to the worker, but was early enough to.
    let traced = is_traced();
    // Before any handler.
    let ignored = ignored_signals();
    match split() {
        Ok(Role::Worker(signals)) => work(Link { signals: Some(signals), traced: traced || is_traced() }),
        Ok(Role::Orphan) => ExitCode::FAILURE,
        Ok(Role::Monitor { worker, link, before }) => match watch(worker, &link, ignored) {
            Ok(status) => {
                end_orphans(&before);
                end_as(status)
            }
            Err(error) => {
                Console::warning(&format!("the command's second process cannot be watched: {error}"));
                ExitCode::FAILURE
            }
        },
        Err(error) => {
            Console::warning(&format!("other processes of this user can read this one's memory: {error}"));
            work(Link { signals: None, traced })
        }
    }
}

enum Role {
    Worker(UnixStream),
    /// A worker whose monitor is gone already.
    Orphan,
    Monitor {
        worker: Pid,
        link: UnixStream,
        /// The children that this process had before it was this program.
        before: HashSet<Pid>,
    },
}

/// Forks.
fn split() -> io::Result<Role> {
    let monitor = getpid();
    let before = children();
    let (link, signals) = UnixStream::pair()?;
    // With any handler a worker that ends early is kept for `wait`, also if the caller ignores SIGCHLD.
    signal_hook::flag::register(CHILD, Arc::default())?;
    match fork::fork()? {
        Fork::Parent(worker) => {
            let worker = Pid::from_raw(worker).ok_or_else(|| io::Error::other("the worker has no id"))?;
            Ok(Role::Monitor { worker, link, before })
        }
        Fork::Child => {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // It may have ended before that.
            if getppid() != Some(monitor) {
                return Ok(Role::Orphan);
            }
            Ok(Role::Worker(signals))
        }
    }
}

/// Forwards signals until the worker ends. Returns how it ended.
fn watch(worker: Pid, link: &UnixStream, ignored: SignalSet) -> io::Result<WaitStatus> {
    let forwarded = FORWARDED.map(Signal::as_raw).into_iter().chain([TSTP]);
    let forwarded = forwarded.filter(|signal| !ignored.contains(*signal));
    let mut signals = Signals::new(forwarded.chain([CHILD, CONT]))?;
    // If it fails, such orphans fall to another process.
    set_child_subreaper(Some(getpid())).ok();
    // A worker that is stopped reads nothing, and must not stop its monitor.
    link.set_nonblocking(true)?;
    loop {
        // Also children that are not the worker: those of a process that became this one, and orphans.
        loop {
            match wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
                Ok(Some((id, status))) if id == worker && status.stopped() => {
                    // A request to stop that came beside that has been obeyed, unless it was taken back.
                    if !forward(signals.pending().filter(|signal| *signal != TSTP), worker, link) {
                        // The shell sees it, and continues this process later.
                        emulate_default_handler(Signal::STOP.as_raw())?;
                        kill_process(worker, Signal::CONT).ok();
                        forward(signals.pending().filter(|signal| *signal != CONT), worker, link);
                    }
                }
                Ok(Some((id, status))) if id == worker => return Ok(status),
                Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
                Ok(None) => break,
                Err(error) => return Err(error.into()),
            }
        }
        forward(signals.wait(), worker, link);
    }
}

/// Forwards signals that have come. Returns whether one of them continues the worker; then those that stop it are dropped.
fn forward(signals: impl Iterator<Item = i32>, worker: Pid, mut link: &UnixStream) -> bool {
    let signals: Vec<_> = signals.collect();
    let continues = signals.contains(&CONT);
    for signal in signals {
        match signal {
            CHILD => {}
            TSTP if continues => {}
            // The worker may have received it too, from a terminal. Then this does nothing.
            TSTP => drop(kill_process(worker, Signal::TSTP)),
            CONT => drop(kill_process(worker, Signal::CONT)),
            // A worker that is gone needs none.
            _ => drop(link.write_all(&[u8::try_from(signal).unwrap_or_default()])),
        }
    }
    continues
}

/// Ends what a worker left behind that was killed together with a supervisor: it has become a child of this process.
fn end_orphans(before: &HashSet<Pid>) {
    let began = Instant::now();
    // Supervisors end what is below them, and then themselves.
    while began.elapsed() < SUPERVISORS_TIMEOUT && !left(before).is_empty() {
        std::thread::sleep(KILL_INTERVAL);
    }
    let began = Instant::now();
    while began.elapsed() < KILL_TIMEOUT {
        let orphans = left(before);
        if orphans.is_empty() {
            return;
        }
        for orphan in orphans {
            kill_process(orphan, Signal::KILL).ok();
        }
        std::thread::sleep(KILL_INTERVAL);
    }
}

/// Returns the children that live, without those of before.
fn left(before: &HashSet<Pid>) -> Vec<Pid> {
    while wait(WaitOptions::NOHANG).is_ok_and(|ended| ended.is_some()) {}
    children().difference(before).copied().collect()
}

/// Returns the ids of this process's children. Empty if the kernel does not list them.
fn children() -> HashSet<Pid> {
    let own = getpid().as_raw_pid();
    let children = std::fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|id| Pid::from_raw(id.parse().ok()?)).collect()
}

/// Ends as the worker did. Returns if that was by an exit code.
fn end_as(status: WaitStatus) -> ExitCode {
    let signal = status.terminating_signal();
    if let Some(signal) = signal
        && !getpid().is_init()
    {
        emulate_default_handler(signal).ok();
    }
    // The first process of a container cannot end by a signal.
    let code = status.exit_status().or(signal.map(|signal| 128 + signal)).and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Returns whether a process traces this one. A tracer that hides itself is not found.
fn is_traced() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
    tracer.is_some_and(|tracer| tracer.trim() != "0")
}
