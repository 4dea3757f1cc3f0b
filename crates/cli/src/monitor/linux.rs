//! The two processes on Linux.

use super::Link;
use crate::console::Console;
use crate::terminal_modes;
use fork::Fork;
use opencode_run_process::supervisor::{Children, end_descendants};
use opencode_run_process::{SignalSet, ignored_signals};
use rustix::process::{
    DumpableBehavior, Pid, Signal, WaitOptions, WaitStatus, getpid, getppid, kill_process, set_child_subreaper,
    set_dumpable_behavior, set_parent_process_death_signal, wait,
};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The signals that ask the worker to end.
const FORWARDED: [Signal; 3] = [Signal::INT, Signal::TERM, Signal::HUP];

/// The signals that end both processes at once. They are handled only to restore the terminal first.
const DEADLY: [Signal; 8] = [
    Signal::QUIT,
    Signal::USR1,
    Signal::USR2,
    Signal::ALARM,
    Signal::VTALARM,
    Signal::PROF,
    Signal::XCPU,
    Signal::ABORT,
];

const CHILD: i32 = Signal::CHILD.as_raw();
const CONT: i32 = Signal::CONT.as_raw();
const TSTP: i32 = Signal::TSTP.as_raw();

/// The time after which a worker that was stopped alone by SIGSTOP is continued. A batch system that suspends a job
/// signals all of its processes within this time.
const STOPPED_TIMEOUT: Duration = Duration::from_secs(1);
/// The polling interval for a stopped process.
const STOPPED_INTERVAL: Duration = Duration::from_millis(50);

/// Runs the work in a worker and returns the worker's exit code. If the fork fails, the work is done in this
/// process.
///
/// This process must be single-threaded.
pub(crate) fn run(work: impl FnOnce(Link) -> ExitCode) -> ExitCode {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        Console::warning(&format!("other processes of this user can read this one's memory: {error}"));
    }
    // A process that traces only the monitor has not attached to the worker, but could have.
    let traced = is_traced();
    // Must be read before any handler is installed.
    let ignored = ignored_signals();
    match split() {
        Ok(Role::Worker(signals)) => {
            let code = work(Link { signals: Some(signals), traced: traced || is_traced() });
            // A stopped monitor would not notice the end of this process.
            continue_monitor();
            code
        }
        Ok(Role::Orphan) => ExitCode::FAILURE,
        Ok(Role::Monitor { worker, link, before }) => match watch(worker, &link, ignored) {
            Ok(End { status, signal }) => {
                // Includes orphans of a worker and a supervisor that were killed together, which are now children
                // of this process.
                end_descendants(&before);
                let was_raw = terminal_modes::restore();
                let signal = signal.or(status.terminating_signal());
                if signal.is_some() && !was_raw {
                    terminal_modes::clean_after_crash();
                }
                end_as(status, signal)
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
    /// A worker whose monitor has already ended.
    Orphan,
    Monitor {
        worker: Pid,
        link: UnixStream,
        /// The children that the process had before it executed this program.
        before: Children,
    },
}

/// Forks.
fn split() -> io::Result<Role> {
    let monitor = getpid();
    let before = Children::now();
    let (link, signals) = UnixStream::pair()?;
    // With a handler for SIGCHLD, an early exit of the worker is kept for `wait`, even if the caller ignores
    // SIGCHLD.
    signal_hook::flag::register(CHILD, Arc::default())?;
    match fork::fork()? {
        Fork::Parent(worker) => {
            let worker = Pid::from_raw(worker).ok_or_else(|| io::Error::other("the worker has no id"))?;
            Ok(Role::Monitor { worker, link, before })
        }
        Fork::Child => {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // The monitor may have ended before that call.
            if getppid() != Some(monitor) {
                return Ok(Role::Orphan);
            }
            Ok(Role::Worker(signals))
        }
    }
}

/// The end of the worker.
struct End {
    status: WaitStatus,
    /// The signal to the monitor that ended both.
    signal: Option<i32>,
}

/// Forwards signals until the worker ends.
fn watch(worker: Pid, link: &UnixStream, ignored: SignalSet) -> io::Result<End> {
    let forwarded = FORWARDED.iter().chain(&DEADLY).map(|signal| signal.as_raw()).chain([TSTP]);
    let forwarded = forwarded.filter(|signal| !ignored.contains(*signal));
    let mut signals = Signals::new(forwarded.chain([CHILD, CONT]))?;
    // If this fails, such orphans are reparented to another process.
    set_child_subreaper(Some(getpid())).ok();
    // A stopped worker reads nothing and must not block its monitor.
    link.set_nonblocking(true)?;
    let mut deadly = None;
    loop {
        // Includes other children: those of the process that executed this program, and orphans.
        loop {
            match wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
                Ok(Some((id, status))) if id == worker && status.stopping_signal() == Some(Signal::STOP.as_raw()) => {
                    continue_worker(worker);
                }
                Ok(Some((id, status))) if id == worker && status.stopped() => {
                    // A concurrent request to stop is already satisfied, unless it was followed by one to continue.
                    if !forward(signals.pending().filter(|signal| *signal != TSTP), worker, link, &mut deadly) {
                        terminal_modes::suspend();
                        // The shell notices this, and continues this process later.
                        emulate_default_handler(Signal::STOP.as_raw())?;
                        continue_stopped(worker);
                        forward(signals.pending().filter(|signal| *signal != CONT), worker, link, &mut deadly);
                    }
                }
                Ok(Some((id, status))) if id == worker => return Ok(End { status, signal: deadly }),
                Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
                Ok(None) => break,
                Err(error) => return Err(error.into()),
            }
        }
        forward(signals.wait(), worker, link, &mut deadly);
    }
}

/// Continues a worker that was stopped together with this process.
fn continue_stopped(worker: Pid) {
    let is_editing = terminal_modes::resume();
    kill_process(worker, Signal::CONT).ok();
    if is_editing {
        // The editor draws its line again when the size of the window may have changed.
        kill_process(worker, Signal::WINCH).ok();
    }
}

/// Continues a worker that was stopped by SIGSTOP, unless this process is stopped too. A shell or a batch system
/// stops both; a process of the agent that stops only the worker must not suspend its time limits.
fn continue_worker(worker: Pid) {
    let began = Instant::now();
    while is_stopped(worker) {
        if began.elapsed() >= STOPPED_TIMEOUT {
            kill_process(worker, Signal::CONT).ok();
            return;
        }
        std::thread::sleep(STOPPED_INTERVAL);
    }
}

/// Returns whether a signal has stopped a process.
fn is_stopped(process: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.as_raw_pid())).unwrap_or_default();
    // The state follows the name, which is in parentheses and may contain anything.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
}

/// Continues the monitor of this worker if it is stopped: it could neither forward signals nor notice the worker's
/// end.
fn continue_monitor() {
    if let Some(monitor) = getppid().filter(|monitor| is_stopped(*monitor)) {
        kill_process(monitor, Signal::CONT).ok();
    }
}

/// Continues the monitor of this worker whenever it is stopped for longer than this process.
pub(crate) async fn keep_monitor_running() {
    let mut was_stopped = false;
    loop {
        tokio::time::sleep(STOPPED_TIMEOUT).await;
        let is_stopped = getppid().is_some_and(is_stopped);
        if was_stopped && is_stopped {
            continue_monitor();
        }
        was_stopped = is_stopped;
    }
}

/// Forwards signals; one that ends both processes is stored in `deadly`. Returns whether the worker must not be
/// stopped now: one of the signals continues or ends it, and then those that stop it are dropped.
fn forward(signals: impl Iterator<Item = i32>, worker: Pid, mut link: &UnixStream, deadly: &mut Option<i32>) -> bool {
    let signals: Vec<_> = signals.collect();
    let continues = signals.contains(&CONT);
    for signal in signals {
        match signal {
            CHILD => {}
            TSTP if continues => {}
            // The worker may also have received it from a terminal; then this has no effect.
            TSTP => drop(kill_process(worker, Signal::TSTP)),
            CONT => continue_stopped(worker),
            _ if DEADLY.iter().any(|known| known.as_raw() == signal) => {
                *deadly = Some(signal);
                kill_process(worker, Signal::KILL).ok();
            }
            // Fails if the worker is gone.
            _ => drop(link.write_all(&[u8::try_from(signal).unwrap_or_default()])),
        }
    }
    continues || deadly.is_some()
}

/// Ends by the signal, otherwise like the worker. Returns only if the worker exited with a code.
fn end_as(status: WaitStatus, signal: Option<i32>) -> ExitCode {
    if let Some(signal) = signal
        && !getpid().is_init()
    {
        emulate_default_handler(signal).ok();
    }
    // The first process of a container cannot be ended by a signal.
    let code = status.exit_status().or(signal.map(|signal| 128 + signal)).and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Returns whether another process traces this one. A tracer that hides itself is not detected.
fn is_traced() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
    tracer.is_some_and(|tracer| tracer.trim() != "0")
}
