//! The process tree of a run: its processes are found by an inherited environment tag and by descent, and killed until
//! none is left.
//!
//! Tools of an agent call `setsid`, so that neither the agent's exit nor a signal to its process group reaches them. All
//! of them inherit the environment, though.

use crate::background;
use crate::environment_tag::EnvironmentTag;
use crate::stop_signal::StopSignal;
use crate::supervisor::program::Supervisor;
use crate::system::KnownProcesses;
#[cfg(unix)]
use crate::watchdog::Watchdog;
use std::mem;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// The maximum time of the attempt to kill the process tree. Killing a process takes milliseconds; a fork bomb takes a
/// few rounds.
pub(crate) const KILL_TIMEOUT: Duration = Duration::from_secs(3);
/// The share of [`KILL_TIMEOUT`] after which this process kills the tree itself. A supervisor usually takes
/// milliseconds.
pub(crate) const SUPERVISOR_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause between two scans for survivors.
pub(crate) const KILL_INTERVAL: Duration = Duration::from_millis(5);

/// The process tree of one run.
///
/// Dropping it kills all of it within three seconds, unless [`kill_all`](Self::kill_all) has done so. Within a
/// runtime another thread does that, so that the runtime is not blocked.
#[derive(Debug)]
pub struct ProcessTree(State);

#[derive(Debug)]
enum State {
    Idle(Processes),
    /// Another thread is working on the processes, even if the future that waits for it is dropped.
    Busy(oneshot::Receiver<(Processes, usize)>),
    /// The other thread panicked.
    Lost,
}

impl ProcessTree {
    /// Returns the tree of a process that was just started in a process group of its own, under this supervisor if there
    /// is one. Without a supervisor it gets a watchdog.
    #[must_use]
    pub fn of_group_leader(supervisor: Option<&Supervisor>, tag: EnvironmentTag, leader: u32) -> Self {
        match supervisor {
            None => Self::with_watchdog(tag, leader),
            Some(_) => Self::supervised(tag, leader),
        }
    }

    /// Returns the tree of a process that was just started in our own process group, under this supervisor if there is
    /// one. A watchdog would kill our own group.
    pub(crate) fn of_group_member(supervisor: Option<&Supervisor>, tag: EnvironmentTag, leader: u32) -> Self {
        match supervisor {
            None => Self::new(tag, leader),
            Some(_) => Self::supervised(tag, leader),
        }
    }

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

    /// Sends a signal to the leader's process group, if the leader is still the process that was started.
    pub fn signal_leader(&self, signal: StopSignal) {
        if let State::Idle(processes) = &self.0 {
            processes.system.signal_leader(signal);
        }
        self.resume_supervisor();
    }

    /// Resumes a supervisor that a process of the run has stopped.
    pub fn resume_supervisor(&self) {
        if let State::Idle(processes) = &self.0
            && processes.supervised
        {
            processes.system.resume_supervisor();
        }
    }

    /// Records the current descendants of the leader, so that they are found again after their parents have exited. A
    /// supervisor finds them without.
    pub async fn record_descendants(&mut self) {
        if matches!(&self.0, State::Idle(processes) if processes.supervised) {
            return;
        }
        self.work(|processes| {
            processes.system.record_descendants(&processes.tag);
            0
        })
        .await;
    }

    /// Kills the process tree, the leader included. Returns the number of survivors after three seconds, which are
    /// only processes that the kernel does not release.
    ///
    /// If the future is dropped, the kill continues in the background, and the next call waits for it.
    pub async fn kill_all(&mut self) -> usize {
        self.work(Processes::end).await
    }

    /// Returns the known processes, which must be idle.
    #[cfg(all(test, target_os = "linux"))]
    pub(crate) fn processes(&mut self) -> (&mut KnownProcesses, &EnvironmentTag) {
        let State::Idle(processes) = &mut self.0 else { panic!("another thread works on them") };
        (&mut processes.system, &processes.tag)
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

impl Drop for ProcessTree {
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

/// The known processes of one run. Dropping it kills them all and blocks for at most [`KILL_TIMEOUT`], unless they were
/// killed before.
#[derive(Debug)]
struct Processes {
    tag: EnvironmentTag,
    system: KnownProcesses,
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
            system: KnownProcesses::new(leader),
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

    /// Kills all known processes and returns the number of survivors. Blocks.
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
