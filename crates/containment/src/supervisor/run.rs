//! The supervisor process: starts one process, waits for its end or that of its own parent, and kills all descendants.
//!
//! It has one thread and no runtime: every program has a supervisor, which must be small and start quickly.

use super::program::KILL_REQUEST;
use crate::ignored_signals::ignored_signals;
use crate::linux::descendants::kill_descendants;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, getpid, getppid, kill_process, pidfd_open,
    set_child_subreaper, set_dumpable_behavior, set_parent_process_death_signal, wait,
};
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The name in process lists; the kernel allows 15 bytes.
const NAME: &std::ffi::CStr = c"opencode-watch";
/// The maximum time of the attempt to kill the descendants. It usually takes milliseconds, unless the kernel holds a
/// process.
const KILL_TIMEOUT: Duration = Duration::from_secs(30);
/// The maximum pause between two rounds of killing.
const KILL_INTERVAL: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
const NO_PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
/// The maximum number of exited processes that are reaped at a time: a fork bomb must not keep the
/// supervisor from killing it.
const MAX_REAPED: usize = 1000;
/// The signals that a terminal or an executor sends to the process group, and that are meant for the child.
const FOR_THE_CHILD: [Signal; 3] = [Signal::INT, Signal::TERM, Signal::HUP];

/// The exit code if the child has none to pass on.
const FAILURE: u8 = 1;

/// The reason why a supervisor failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SupervisorError {
    /// The arguments are not those of an executor.
    #[error("a supervisor is started only by opencode-run, with the id of its parent and a program")]
    Usage,
    /// The program cannot be started.
    #[error("{} cannot be started", program.display())]
    Start {
        /// The path of the program.
        program: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A system call that a supervisor needs failed.
    #[error("cannot set up a supervisor")]
    System(#[from] io::Error),
}

impl From<Errno> for SupervisorError {
    fn from(error: Errno) -> Self {
        Self::System(error.into())
    }
}

/// Runs as a supervisor: starts a program, kills all of its descendants when it exits or when the parent of this
/// process ends, and returns the program's exit code. If a signal ended the program, the same signal ends this process.
///
/// The arguments are those that follow the ones of [`Supervisor::new`](crate::Supervisor::new): the id of the parent,
/// the program, and its arguments. The program gets this process's standard input and output, which this process
/// closes.
///
/// For a process that does nothing else and has a single thread: it makes the process a subreaper, handles its signals,
/// and waits for every child.
///
/// # Errors
///
/// If the program cannot be started. No process is left then.
pub fn supervise(arguments: impl IntoIterator<Item = OsString>) -> Result<ExitCode, SupervisorError> {
    supervise_to_code(arguments).map(ExitCode::from)
}

/// Runs like [`supervise`], and returns the exit code as a number.
pub(super) fn supervise_to_code(arguments: impl IntoIterator<Item = OsString>) -> Result<u8, SupervisorError> {
    let mut arguments = arguments.into_iter();
    let parent = arguments.next().and_then(|id| read_id(&id)).ok_or(SupervisorError::Usage)?;
    let program = PathBuf::from(arguments.next().ok_or(SupervisorError::Usage)?);

    rustix::thread::set_name(NAME)?;
    let mut wakes = Wakes::listen()?;
    set_child_subreaper(Some(getpid()))?;
    // A process of the agent may have stopped this one to escape it.
    set_parent_process_death_signal(Some(Signal::CONT))?;
    let Some(parent) = open_parent(parent)? else { return Ok(FAILURE) };
    let child = Command::new(&program).args(arguments).spawn();
    let child = child.map_err(|source| SupervisorError::Start { program, source })?;
    let child = Pid::from_child(&child);
    close_standard_streams()?;
    wakes.forward_early_signals(child);

    let mut watched = Watched { child, status: None };
    loop {
        let left = watched.reap();
        if left == Left::None || watched.status.is_some() || wakes.is_kill_requested() {
            break;
        }
        // The signal of further exited children has been read already.
        let pause = (left == Left::Ended).then_some(&NO_PAUSE);
        if wakes.wait(Some(&parent), pause) {
            break;
        }
    }
    let began = Instant::now();
    while watched.reap() != Left::None && began.elapsed() < KILL_TIMEOUT {
        kill_descendants(&HashSet::new());
        wakes.wait(None, Some(&KILL_INTERVAL));
    }
    Ok(end_as(watched.status))
}

fn read_id(text: &OsStr) -> Option<Pid> {
    let id: u32 = text.to_str()?.parse().ok()?;
    Pid::from_raw(id.try_into().ok()?)
}

/// Returns a pidfd of the parent, or `None` if it has ended already.
fn open_parent(parent: Pid) -> Result<Option<OwnedFd>, Errno> {
    let handle = match pidfd_open(parent, PidfdFlags::empty()) {
        Ok(handle) => handle,
        Err(Errno::SRCH) => return Ok(None),
        Err(error) => return Err(error),
    };
    // Checked after the open: if the parent is still our parent now, the pidfd is that of the parent, and not of a
    // reused id.
    Ok((getppid() == Some(parent)).then_some(handle))
}

/// Leaves stdin and the outputs to the child, so that they are closed when it closes them.
fn close_standard_streams() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}

/// The children that are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// No descendant of the program is left.
    None,
    /// At least one is left; all may be alive.
    Some,
    /// At least one has exited and was not reaped; others may be left.
    Ended,
}

/// The child and its descendants.
struct Watched {
    child: Pid,
    /// The exit status of the child.
    status: Option<WaitStatus>,
}

impl Watched {
    /// Reaps at most [`MAX_REAPED`] exited processes, and returns which children are left.
    ///
    /// As a subreaper, this process is the parent of all orphaned descendants. So if it has no child, the program has
    /// no descendant: this is certain, unlike the result of any `/proc` scan.
    fn reap(&mut self) -> Left {
        for _ in 0..MAX_REAPED {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((id, status))) if id == self.child => self.status = Some(status),
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => return Left::Some,
                Err(_) => return Left::None,
            }
        }
        Left::Ended
    }
}

/// Ends this process like the child: by the same signal, or returns the exit code.
fn end_as(status: Option<WaitStatus>) -> u8 {
    if let Some(signal) = status.and_then(WaitStatus::terminating_signal) {
        // The child may have left a core dump; one of this process would be useless.
        set_dumpable_behavior(DumpableBehavior::NotDumpable).ok();
        signal_hook::low_level::emulate_default_handler(signal).ok();
    }
    let code = status.and_then(WaitStatus::exit_status).and_then(|code| u8::try_from(code).ok());
    code.unwrap_or(FAILURE)
}

/// The events that wake the supervisor.
struct Wakes {
    /// Receives a byte for each signal.
    signals: UnixStream,
    asked: Arc<AtomicBool>,
    /// The signals for the child, and whether each has arrived.
    for_the_child: Vec<(Signal, Arc<AtomicBool>)>,
}

impl Wakes {
    /// Installs signal handlers. The signals are not ignored instead, because the child would inherit that.
    fn listen() -> io::Result<Self> {
        let (signals, notes) = UnixStream::pair()?;
        signals.set_nonblocking(true)?;
        let flag = |signal: Signal| {
            let flag = Arc::new(AtomicBool::new(false));
            signal_hook::flag::register(signal.as_raw(), Arc::clone(&flag))?;
            signal_hook::low_level::pipe::register(signal.as_raw(), notes.try_clone()?)?;
            io::Result::Ok(flag)
        };
        flag(Signal::CHILD)?;
        let asked = flag(KILL_REQUEST)?;
        // An ignored signal stays ignored, also for the child, which inherits it.
        let ignored = ignored_signals();
        let for_the_child = FOR_THE_CHILD
            .into_iter()
            .filter(|signal| !ignored.contains(signal.as_raw()))
            .map(|signal| Ok((signal, flag(signal)?)));
        Ok(Self { signals, asked, for_the_child: for_the_child.collect::<io::Result<_>>()? })
    }

    fn is_kill_requested(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Forwards the signals that arrived before the child could receive them itself.
    fn forward_early_signals(&self, child: Pid) {
        for (signal, came) in &self.for_the_child {
            if came.load(Ordering::Relaxed) {
                // A child that has exited needs no signal.
                kill_process(child, *signal).ok();
            }
        }
    }

    /// Waits until a signal arrives, the parent ends, or the time is over. Returns whether the parent has ended.
    fn wait(&mut self, parent: Option<&OwnedFd>, limit: Option<&Timespec>) -> bool {
        let mut sources = vec![PollFd::new(&self.signals, PollFlags::IN)];
        sources.extend(parent.map(|parent| PollFd::new(parent, PollFlags::IN)));
        // If a signal interrupts it, there is a byte to read.
        poll(&mut sources, limit).ok();
        let ended = sources.get(1).is_some_and(|parent| !parent.revents().is_empty());
        drop(sources);
        while self.signals.read(&mut [0; 64]).is_ok_and(|read| read > 0) {}
        ended
    }
}
