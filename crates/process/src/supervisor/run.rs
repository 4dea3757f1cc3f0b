//! What a watcher does: it starts one process, waits for its end or for that of its own parent, and leaves nobody behind.
//!
//! It has one thread and no runtime: there is one watcher for every opencode, so it is to be small, and there at once.

use super::program::KILL_REQUEST;
use crate::ignored_signals::ignored_signals;
use crate::tree::kill_descendants;
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

/// What a list of processes shows; the system allows 15 bytes.
const NAME: &std::ffi::CStr = c"opencode-watch";
/// How long it is tried to end what the child has left. It takes milliseconds; what takes longer, the system holds.
const KILL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long is waited at most between two looks at what is left.
const KILL_INTERVAL: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
const NO_PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
/// How many ended processes are taken note of at a time: a process that forks without end must not keep the supervisor from its end.
const MAX_REAPED: usize = 1000;
/// What a terminal and an executor send to the group that watcher and child are in: it is meant for the child.
const FOR_THE_CHILD: [Signal; 3] = [Signal::INT, Signal::TERM, Signal::HUP];

/// The exit code if the child has none to pass on.
const FAILURE: u8 = 1;

/// Why nothing could be watched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SupervisorError {
    /// The arguments are not those that an executor gives.
    #[error("a watcher is started by opencode-run alone, with the id of its parent and a program")]
    Usage,
    /// The program cannot be started.
    #[error("{} cannot be started", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The system refuses what a watcher needs.
    #[error("a watcher cannot be set up")]
    System(#[from] io::Error),
}

impl From<Errno> for SupervisorError {
    fn from(error: Errno) -> Self {
        Self::System(error.into())
    }
}

/// Is a watcher: starts a program, ends all that descends from it when it ends or when the parent of this process does, and
/// returns the program's exit code. Where the program was ended by a signal, so is this process.
///
/// The arguments are those that come behind the ones of [`Supervisor::new`](crate::Supervisor::new): the id of the parent, the
/// program, and its arguments. The program gets this process's standard input and output, which this process lets go of.
///
/// It is only for a process that does nothing else, and has a single thread: it makes the process a sub-reaper, takes its
/// signals, and waits for every child that it has.
///
/// # Errors
///
/// If the program cannot be started. Then nothing of it is left.
pub fn supervise(arguments: impl IntoIterator<Item = OsString>) -> Result<ExitCode, SupervisorError> {
    supervise_to_code(arguments).map(ExitCode::from)
}

/// The same, with the exit code as a number.
pub(super) fn supervise_to_code(arguments: impl IntoIterator<Item = OsString>) -> Result<u8, SupervisorError> {
    let mut arguments = arguments.into_iter();
    let parent = arguments.next().and_then(|id| read_id(&id)).ok_or(SupervisorError::Usage)?;
    let program = PathBuf::from(arguments.next().ok_or(SupervisorError::Usage)?);

    rustix::thread::set_name(NAME)?;
    let mut wakes = Wakes::listen()?;
    set_child_subreaper(Some(getpid()))?;
    // A process of the agent may have stopped this one to go unnoticed.
    set_parent_process_death_signal(Some(Signal::CONT))?;
    let Some(parent) = open_parent(parent)? else { return Ok(FAILURE) };
    let child = Command::new(&program).args(arguments).spawn();
    let child = child.map_err(|source| SupervisorError::Start { program, source })?;
    let child = Pid::from_child(&child);
    let_go_of_pipes()?;
    wakes.hand_on(child);

    let mut watched = Watched { child, status: None };
    loop {
        let left = watched.take_note();
        if left == Left::Nobody || watched.status.is_some() || wakes.asked_to_end() {
            break;
        }
        // Those that have ended too have sent their signal already.
        let pause = (left == Left::Ended).then_some(&NO_PAUSE);
        if wakes.wait(Some(&parent), pause) {
            break;
        }
    }
    let began = Instant::now();
    while watched.take_note() != Left::Nobody && began.elapsed() < KILL_TIMEOUT {
        kill_descendants(&HashSet::new());
        wakes.wait(None, Some(&KILL_INTERVAL));
    }
    Ok(end_as(watched.status))
}

fn read_id(text: &OsStr) -> Option<Pid> {
    let id: u32 = text.to_str()?.parse().ok()?;
    Pid::from_raw(id.try_into().ok()?)
}

/// Returns what tells the end of the parent; none if it has ended already.
fn open_parent(parent: Pid) -> Result<Option<OwnedFd>, Errno> {
    let handle = match pidfd_open(parent, PidfdFlags::empty()) {
        Ok(handle) => handle,
        Err(Errno::SRCH) => return Ok(None),
        Err(error) => return Err(error),
    };
    // Only behind the opening: whoever is our parent now is the process of the handle, or the handle is another's.
    Ok((getppid() == Some(parent)).then_some(handle))
}

/// Leaves stdin and the outputs to the child, so that they end when it ends them.
fn let_go_of_pipes() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}

/// Which children are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// None: nothing that descends from the program is left.
    Nobody,
    /// Some, which may all be alive.
    Some,
    /// Some that have ended, and perhaps others.
    Ended,
}

/// The child, and whoever descends from it.
struct Watched {
    child: Pid,
    /// How the child ended.
    status: Option<WaitStatus>,
}

impl Watched {
    /// Takes note of processes that have ended, of at most [`MAX_REAPED`], and returns which are left.
    ///
    /// As a sub-reaper this process is the parent of all whose own parent is gone. So where it has no child, there is nobody
    /// who descends from it: this is sure, as no look at all processes can be.
    fn take_note(&mut self) -> Left {
        for _ in 0..MAX_REAPED {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((id, status))) if id == self.child => self.status = Some(status),
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => return Left::Some,
                Err(_) => return Left::Nobody,
            }
        }
        Left::Ended
    }
}

/// Ends as the child did. Returns where that was by a code.
fn end_as(status: Option<WaitStatus>) -> u8 {
    if let Some(signal) = status.and_then(WaitStatus::terminating_signal) {
        // The child may have left a core, this process has nothing to say in one.
        set_dumpable_behavior(DumpableBehavior::NotDumpable).ok();
        signal_hook::low_level::emulate_default_handler(signal).ok();
    }
    let code = status.and_then(WaitStatus::exit_status).and_then(|code| u8::try_from(code).ok());
    code.unwrap_or(FAILURE)
}

/// What wakes the watcher up.
struct Wakes {
    /// Has a byte for each signal that came.
    signals: UnixStream,
    asked: Arc<AtomicBool>,
    /// Which of those for the child came.
    for_the_child: Vec<(Signal, Arc<AtomicBool>)>,
}

impl Wakes {
    /// Takes the signals. They are handled and not ignored: what is ignored, the child would ignore too.
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
        // A signal that is ignored stays so, also for the child, which inherits it.
        let ignored = ignored_signals();
        let for_the_child = FOR_THE_CHILD
            .into_iter()
            .filter(|signal| !ignored.contains(signal.as_raw()))
            .map(|signal| Ok((signal, flag(signal)?)));
        Ok(Self { signals, asked, for_the_child: for_the_child.collect::<io::Result<_>>()? })
    }

    fn asked_to_end(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Hands on what came before the child was there to be reached itself.
    fn hand_on(&self, child: Pid) {
        for (signal, came) in &self.for_the_child {
            if came.load(Ordering::Relaxed) {
                // A child that is gone needs none.
                kill_process(child, *signal).ok();
            }
        }
    }

    /// Waits until a signal comes, or the parent ends, or the time is over. Returns whether the parent has ended.
    fn wait(&mut self, parent: Option<&OwnedFd>, limit: Option<&Timespec>) -> bool {
        let mut sources = vec![PollFd::new(&self.signals, PollFlags::IN)];
        sources.extend(parent.map(|parent| PollFd::new(parent, PollFlags::IN)));
        // A signal may interrupt it: there is a byte for it then.
        poll(&mut sources, limit).ok();
        let ended = sources.get(1).is_some_and(|parent| !parent.revents().is_empty());
        drop(sources);
        while self.signals.read(&mut [0; 64]).is_ok_and(|read| read > 0) {}
        ended
    }
}
