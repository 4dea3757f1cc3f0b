//! Finds processes in `/proc`, and signals them through pidfds, so that no signal hits a reused id.

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

/// How many scans look for new processes while others are being stopped, before the found ones are killed.
const STOP_ROUNDS: usize = 20;
/// How long these scans may take. A fork bomb that is faster than the scans would delay its own end; the found
/// processes are killed then, and the caller scans again.
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

    /// Signals the leader's process group: a supervisor or npm's wrapper may be the parent of opencode.
    pub(crate) fn signal_leader(&self, signal: Signal) {
        let signal = match signal {
            Signal::Interrupt => process::Signal::INT,
            Signal::Terminate => process::Signal::TERM,
        };
        // While the leader exists, dead or alive, its process id and group id cannot be reused.
        if let Some(leader) = self.leader.filter(|leader| leader.is_there())
            && let Some(group) = Pid::from_raw(leader.id)
        {
            process::kill_process_group(group, signal).ok();
        }
    }

    /// Requests a supervisor to kill all of its descendants, and to exit.
    pub(crate) fn request_kill(&self) {
        if let Some(supervisor) = self.leader {
            supervisor.send(supervisor::program::KILL_REQUEST);
        }
        self.resume_supervisor();
    }

    /// Resumes a supervisor: a process of the run may have stopped it.
    pub(crate) fn resume_supervisor(&self) {
        if let Some(supervisor) = self.leader {
            supervisor.send(process::Signal::CONT);
        }
    }

    /// Returns whether the leader is alive.
    pub(crate) fn leader_lives(&self) -> bool {
        self.leader.is_some_and(Identity::is_alive)
    }

    pub(crate) fn record_descendants(&mut self, tag: &EnvironmentTag) {
        self.known.extend(self.members(tag));
    }

    /// Kills the found processes and returns their number.
    pub(crate) fn kill_all(&mut self, tag: &EnvironmentTag) -> usize {
        stop_and_kill(|| {
            // Before the scan, so that an orphan cannot fork and exit before the scan reaches it.
            orphans::stop();
            let members = self.members(tag);
            self.known.extend(&members);
            members
        })
    }

    /// Returns the living processes of the run: those with the environment tag, those that were known before, orphans
    /// of a killed supervisor that were reparented to this process, and the descendants of all these.
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

/// Returns whether a process has an environment tag.
fn has_tag(process: Identity, tag: &EnvironmentTag, deadline: Instant) -> bool {
    process.has_in_environment(deadline, |entry| tag.is_in_entry(entry))
}

/// Returns the memory of the process group that a process leads, in bytes.
pub(crate) fn memory(leader: u32) -> Option<u64> {
    table::memory_of_group(i32::try_from(leader).ok()?)
}

/// Stops all processes that `find` returns until there are no new ones, so that a fork bomb stands still, then kills
/// them. Returns their number.
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
