//! Processes by way of `/proc`, signalled through pidfds so that a reused id cannot be hit.

mod descendants;
mod orphans;
mod start_time;
mod table;
mod tools;

pub(crate) use descendants::{child_identities, kill_descendants};
pub(crate) use orphans::{adopt_orphans, start_child};
pub(crate) use start_time::StartTime;
pub(crate) use tools::{OwnProcesses, ToolProcesses};

use super::{EnvironmentTag, Signal};
use crate::supervisor;
use rustix::process::{self, Pid};
use std::collections::HashSet;
use std::time::{Duration, Instant};
pub(crate) use table::Identity;
use table::{EXEC_TIMEOUT, all_processes, status, subtree};

/// How often it is looked for processes that appeared while others were being stopped, before killing what was found.
const STOP_ROUNDS: usize = 20;
/// How long it is looked for them. A fork bomb that is faster than the scans would hold up its own end; what was found is killed then,
/// and the caller looks again.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// The processes of one run.
#[derive(Debug)]
pub(crate) struct Tree {
    leader: Option<Identity>,
    known: HashSet<Identity>,
}

impl Tree {
    pub(crate) fn new(leader: u32) -> Self {
        let leader = identity(leader);
        Self { leader, known: leader.into_iter().collect() }
    }

    /// Signals the leader's process group: opencode may have a watcher or npm's wrapper around it.
    pub(crate) fn signal_leader(&self, signal: Signal) {
        let signal = match signal {
            Signal::Interrupt => process::Signal::INT,
            Signal::Terminate => process::Signal::TERM,
        };
        // As long as the leader is there, dead or alive, its id and so its group's cannot be another's.
        if let Some(leader) = self.leader.filter(|leader| leader.is_there())
            && let Some(group) = Pid::from_raw(leader.id)
        {
            process::kill_process_group(group, signal).ok();
        }
    }

    /// Asks a leader that is a watcher to end all that descends from it, and itself.
    pub(crate) fn request_kill(&self) {
        if let Some(supervisor) = self.leader {
            supervisor.send(supervisor::program::KILL_REQUEST);
        }
        self.resume_supervisor();
    }

    /// Continues a leader that is a supervisor: a process of the run may have stopped it.
    pub(crate) fn resume_supervisor(&self) {
        if let Some(supervisor) = self.leader {
            supervisor.send(process::Signal::CONT);
        }
    }

    /// Returns whether the leader lives.
    pub(crate) fn leader_lives(&self) -> bool {
        self.leader.is_some_and(Identity::is_alive)
    }

    pub(crate) fn record_descendants(&mut self, tag: &EnvironmentTag) {
        self.known.extend(self.members(tag));
    }

    /// Kills all that is there and returns how many were.
    pub(crate) fn kill_all(&mut self, tag: &EnvironmentTag) -> usize {
        stop_and_kill(|| {
            // Without a wait for the scan, so that an orphan cannot fork and exit before the scan reaches it.
            orphans::stop();
            let members = self.members(tag);
            self.known.extend(&members);
            members
        })
    }

    /// Returns the living processes of the run: those that bear the environment tag or were known before, orphans that fell to this
    /// process because their supervisor was killed, and the descendants of all these.
    fn members(&self, tag: &EnvironmentTag) -> Vec<Identity> {
        let all = all_processes();
        let every = all.iter().map(|status| status.identity);
        let deadline = Instant::now() + EXEC_TIMEOUT;
        let tagged = every.filter(|process| self.known.contains(process) || has_tag(*process, tag, deadline));
        let roots = tagged.chain(orphans::found()).collect();
        subtree(&roots, &all)
    }
}

/// Returns the process that has this id now.
fn identity(id: u32) -> Option<Identity> {
    i32::try_from(id).ok().and_then(status).map(|status| status.identity)
}

/// Returns whether a process bears a marker.
fn has_tag(process: Identity, tag: &EnvironmentTag, deadline: Instant) -> bool {
    process.has_in_environment(deadline, |entry| tag.is_in_entry(entry))
}

/// Returns what a process takes of the memory, in bytes, together with those of the group that it leads.
pub(crate) fn memory(leader: u32) -> Option<u64> {
    table::memory_of_group(i32::try_from(leader).ok()?)
}

/// Stops all that `find` finds until it finds nobody new, so that what forks faster than it is killed stands still, then
/// kills it. Returns how many it was.
fn stop_and_kill(mut find: impl FnMut() -> Vec<Identity>) -> usize {
    let mut stopped = HashSet::new();
    let began = Instant::now();
    for _ in 0..STOP_ROUNDS {
        let fresh: Vec<_> = find().into_iter().filter(|process| !stopped.contains(process)).collect();
        if fresh.is_empty() {
            break;
        }
        for process in fresh {
            process.send(process::Signal::STOP);
            stopped.insert(process);
        }
        if began.elapsed() > STOP_TIMEOUT {
            break;
        }
    }
    for process in &stopped {
        process.send(process::Signal::KILL);
    }
    stopped.len()
}
#[cfg(test)]
mod tests;
