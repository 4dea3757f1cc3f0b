//! The process tree of a run: its processes are found by an inherited environment tag and by descent, and killed until
//! none is left.
//!
//! opencode's tools call `setsid`, so that neither opencode's exit nor a signal to its process group reaches them. All
//! of them inherit the environment, though.

mod background;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod without_proc;

#[cfg(target_os = "linux")]
use linux as system;
#[cfg(target_os = "linux")]
pub(crate) use linux::{Identity, child_identities, kill_descendants};
#[cfg(not(target_os = "linux"))]
use without_proc as system;

#[cfg(unix)]
use crate::watchdog::Watchdog;
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use uuid::Uuid;

/// How long to try to kill the process tree. Killing a process takes milliseconds; a fork bomb takes a few rounds.
pub(crate) const KILL_TIMEOUT: Duration = Duration::from_secs(3);
/// How much of [`KILL_TIMEOUT`] a supervisor may take before this process kills the tree itself. It usually takes
/// milliseconds.
const SUPERVISOR_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause between two scans for survivors.
const KILL_INTERVAL: Duration = Duration::from_millis(5);

/// A unique value in the environment of all processes of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EnvironmentTag(String);

impl EnvironmentTag {
    /// The variable that contains the tag.
    pub(crate) const VARIABLE: &'static str = "OPENCODE_RUN_MARKER";

    /// Returns a new unique tag.
    pub(crate) fn new() -> Self {
        Self(Uuid::new_v4().simple().to_string())
    }

    /// Returns the variable's value for a run that is nested in other tagged runs.
    pub(crate) fn nested_in(&self, outer: Option<&OsStr>) -> OsString {
        match outer {
            Some(outer) if !outer.is_empty() => {
                let mut value = outer.to_owned();
                value.push(":");
                value.push(&self.0);
                value
            }
            _ => self.0.clone().into(),
        }
    }

    /// Returns whether an environment entry, `NAME=value`, contains the tag.
    #[cfg(any(target_os = "linux", test))]
    pub(crate) fn is_in_entry(&self, entry: &[u8]) -> bool {
        let Some(value) = entry.strip_prefix(Self::VARIABLE.as_bytes()).and_then(|rest| rest.strip_prefix(b"=")) else {
            return false;
        };
        value.split(|byte| *byte == b':').any(|tag| tag == self.0.as_bytes())
    }
}

/// The process tree of one run.
///
/// Dropping it kills all of it within [`KILL_TIMEOUT`], unless [`kill_all`](Self::kill_all) has done so. Within a
/// runtime another thread does that, so that the runtime is not blocked.
#[derive(Debug)]
pub(crate) struct Tree(State);

#[derive(Debug)]
enum State {
    Idle(Processes),
    /// Another thread is working on the processes, even if the future that waits for it is dropped.
    Busy(oneshot::Receiver<(Processes, usize)>),
    /// The other thread panicked.
    Lost,
}

impl Tree {
    /// Returns the tree of a process that was just started, the ancestor of all others of the run.
    pub(crate) fn new(tag: EnvironmentTag, leader: u32) -> Self {
        Self(State::Idle(Processes::new(tag, leader)))
    }

    /// Returns the tree of a leader of a process group, with a watchdog that kills the group when this process ends.
    pub(crate) fn with_watchdog(tag: EnvironmentTag, leader: u32) -> Self {
        #[cfg_attr(not(unix), expect(unused_mut, reason = "watchdogs are shells"))]
        let mut processes = Processes::new(tag, leader);
        #[cfg(unix)]
        {
            processes.watchdog = Watchdog::start(&processes.tag, leader);
        }
        Self(State::Idle(processes))
    }

    /// Returns the tree of a [supervisor](crate::Supervisor). It is requested to kill all, since it finds processes
    /// that no scan from outside finds.
    pub(crate) fn supervised(tag: EnvironmentTag, leader: u32) -> Self {
        let mut processes = Processes::new(tag, leader);
        processes.supervised = true;
        Self(State::Idle(processes))
    }

    /// Sends a signal to the leader, if it is still the process that was started.
    pub(crate) fn signal_leader(&self, signal: Signal) {
        if let State::Idle(processes) = &self.0 {
            processes.system.signal_leader(signal);
        }
        self.resume_supervisor();
    }

    /// Resumes a supervisor that a process of the run has stopped.
    pub(crate) fn resume_supervisor(&self) {
        if let State::Idle(processes) = &self.0
            && processes.supervised
        {
            processes.system.resume_supervisor();
        }
    }

    /// Records the current descendants of the leader, so that they are found again after their parents have exited. A
    /// supervisor finds them without.
    pub(crate) async fn record_descendants(&mut self) {
        if matches!(&self.0, State::Idle(processes) if processes.supervised) {
            return;
        }
        self.work(|processes| {
            processes.system.record_descendants(&processes.tag);
            0
        })
        .await;
    }

    /// Kills the process tree, the leader included. Returns the number of survivors after [`KILL_TIMEOUT`], which are
    /// only processes that the kernel does not release.
    ///
    /// If the future is dropped, the kill continues in the background, and the next call waits for it.
    pub(crate) async fn kill_all(&mut self) -> usize {
        self.work(Processes::end).await
    }

    /// Returns the known processes, which must be idle.
    #[cfg(test)]
    fn processes(&mut self) -> &mut Processes {
        let State::Idle(processes) = &mut self.0 else { panic!("another thread works on them") };
        processes
    }

    /// Runs a job on another thread, after the job that is running there.
    async fn work(&mut self, work: impl FnOnce(&mut Processes) -> usize + Send + 'static) -> usize {
        self.idle().await;
        if let State::Idle(mut processes) = mem::replace(&mut self.0, State::Lost) {
            self.0 = State::Busy(background::run(move || {
                let result = work(&mut processes);
                (processes, result)
            }));
        }
        self.idle().await
    }

    /// Waits for the other thread, and returns its result.
    async fn idle(&mut self) -> usize {
        let State::Busy(busy) = &mut self.0 else { return 0 };
        let (state, result) =
            busy.await.map_or((State::Lost, 0), |(processes, result)| (State::Idle(processes), result));
        self.0 = state;
        result
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let runtime = tokio::runtime::Handle::try_current();
        match (mem::replace(&mut self.0, State::Lost), runtime) {
            (State::Idle(processes), Ok(runtime)) if !processes.killed => {
                // A supervisor needs nothing else, even if this process ends now.
                processes.request_kill();
                let waits = !processes.supervised;
                let done = background::run(move || drop(processes));
                if waits {
                    background::hold_shutdown(&runtime, done);
                }
            }
            // Dropping the processes kills them.
            (State::Idle(_) | State::Lost, _) => {}
            (State::Busy(busy), Ok(runtime)) => background::hold_shutdown(&runtime, busy),
            (State::Busy(busy), Err(_)) => drop(busy.blocking_recv()),
        }
    }
}

/// The known processes of one run. Dropping it kills them all and blocks for at most [`KILL_TIMEOUT`], unless that is
/// done.
#[derive(Debug)]
struct Processes {
    tag: EnvironmentTag,
    system: system::Tree,
    /// Whether the leader is a supervisor.
    supervised: bool,
    killed: bool,
    /// Kills the leader's process group when this process ends. Dropped last.
    #[cfg(unix)]
    watchdog: Option<Watchdog>,
}

impl Processes {
    fn new(tag: EnvironmentTag, leader: u32) -> Self {
        Self {
            system: system::Tree::new(leader),
            tag,
            supervised: false,
            killed: false,
            #[cfg(unix)]
            watchdog: None,
        }
    }

    fn request_kill(&self) {
        if self.supervised {
            self.system.request_kill();
        }
    }

    /// Kills all of them and returns the number of survivors. Blocks.
    fn end(&mut self) -> usize {
        self.request_kill();
        let began = Instant::now();
        loop {
            let elapsed = began.elapsed();
            if !self.supervised || elapsed >= SUPERVISOR_TIMEOUT || !self.system.leader_lives() {
                let left = self.system.kill_all(&self.tag);
                if left == 0 || elapsed >= KILL_TIMEOUT {
                    self.killed = true;
                    return left;
                }
            }
            std::thread::sleep(KILL_INTERVAL);
        }
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        if !self.killed {
            self.end();
        }
    }
}

/// The server's own processes. A process that reuses one of their ids is not one of them.
pub(crate) use system::OwnProcesses;
/// The start time of a process.
pub(crate) use system::StartTime;

/// A process of a server's run that is not one of the server's own.
#[derive(Debug)]
pub(crate) struct ToolProcess {
    /// When it was started.
    pub(crate) started_at: StartTime,
    /// Its working directory, if that can be read.
    pub(crate) directory: Option<PathBuf>,
}

/// Kills the tool processes of a server's run, with their descendants, that are not older than `since` and for which
/// `is_leftover` returns true. It is called for all processes that one scan has found.
///
/// The server's own processes are those of its process group, such as language servers and MCP servers, and their
/// descendants. opencode starts each tool in a session of its own, and no process can leave its session for the
/// server's group.
pub(crate) async fn kill_tools(
    tag: &EnvironmentTag,
    own_processes: OwnProcesses,
    since: StartTime,
    is_leftover: impl Fn(&[ToolProcess]) -> Vec<bool> + Send + 'static,
) {
    let tools = system::ToolProcesses::new(tag.clone(), own_processes, since);
    let kill_all = move || {
        let deadline = Instant::now() + KILL_TIMEOUT;
        loop {
            let left = tools.kill_all(&is_leftover);
            if left == 0 || Instant::now() >= deadline {
                return left;
            }
            std::thread::sleep(KILL_INTERVAL);
        }
    };
    let left = background::run(kill_all).await.unwrap_or_default();
    if left > 0 {
        tracing::error!(left, "processes that a turn left could not be killed");
    }
}

/// Returns the own processes of a server that has just started to listen: it has started no helpers yet.
pub(crate) async fn own_processes(leader: u32) -> OwnProcesses {
    background::run(move || OwnProcesses::of(leader)).await.unwrap_or_default()
}

/// Returns the memory of a server's process group, in bytes, if it is known. It contains a small supervisor but no
/// tools, which have groups of their own.
pub(crate) async fn memory(leader: u32) -> Option<u64> {
    background::run(move || system::memory(leader)).await.ok().flatten()
}

/// Starts a child of this process by `start`. Every child must be started by this function, so that it does not count
/// as an orphan; see [`adopt_orphans`].
///
/// # Errors
///
/// Those of `start`.
pub(crate) fn start_child<C: Child>(start: impl FnOnce() -> io::Result<C>) -> io::Result<C> {
    system::start_child(start)
}

/// A child of this process.
pub(crate) trait Child {
    /// Returns its id, or `None` if it was waited for.
    fn id(&self) -> Option<u32>;
}

impl Child for tokio::process::Child {
    fn id(&self) -> Option<u32> {
        self.id()
    }
}

impl Child for std::process::Child {
    fn id(&self) -> Option<u32> {
        Some(self.id())
    }
}

pub(crate) use system::adopt_orphans;

/// A signal that asks a run to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Interrupt,
    Terminate,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_is_found_in_its_variable_alone() {
        let tag = EnvironmentTag::new();
        let entry = |name: &str, value: &str| format!("{name}={value}").into_bytes();
        assert!(tag.is_in_entry(&entry(EnvironmentTag::VARIABLE, &tag.0)));
        assert!(tag.is_in_entry(&entry(EnvironmentTag::VARIABLE, &format!("other:{}", tag.0))));
        assert!(!tag.is_in_entry(&entry("OTHER", &tag.0)));
        assert!(!tag.is_in_entry(&entry(EnvironmentTag::VARIABLE, &format!("{}0", tag.0))));
        assert!(!tag.is_in_entry(EnvironmentTag::VARIABLE.as_bytes()));
    }
}
