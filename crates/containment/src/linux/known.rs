//! The processes of one run: those that were seen before, and those that a scan finds.

use super::orphans;
use super::stop_and_kill::stop_and_kill;
use super::table::{EXEC_TIMEOUT, Identity, all_processes, identity, subtree};
use crate::environment_tag::EnvironmentTag;
use crate::stop_signal::StopSignal;
use crate::supervisor::program::KILL_REQUEST;
use rustix::process::{self, Pid};
use std::collections::HashSet;
use std::time::Instant;

/// The processes of one run.
#[derive(Debug)]
pub(crate) struct KnownProcesses {
    pub(super) leader: Option<Identity>,
    pub(super) known: HashSet<Identity>,
}

impl KnownProcesses {
    pub(crate) fn new(leader: u32) -> Self {
        let leader = identity(leader);
        Self { leader, known: leader.into_iter().collect() }
    }

    /// Returns processes without a leader, which are found by their tag alone.
    #[cfg(test)]
    pub(super) fn without_leader() -> Self {
        Self { leader: None, known: HashSet::new() }
    }

    /// Signals the leader's process group: a supervisor or a wrapper may be the parent of the program.
    pub(crate) fn signal_leader(&self, signal: StopSignal) {
        // While the leader exists, dead or alive, its process id and group id cannot be reused.
        if let Some(leader) = self.leader.filter(|leader| leader.is_there())
            && let Some(group) = Pid::from_raw(leader.id)
        {
            process::kill_process_group(group, signal.of_system()).ok();
        }
    }

    /// Requests a supervisor to kill all of its descendants, and to exit.
    pub(crate) fn request_kill(&self) {
        if let Some(supervisor) = self.leader {
            supervisor.send(KILL_REQUEST);
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
    pub(super) fn members(&self, tag: &EnvironmentTag) -> Vec<Identity> {
        let all = all_processes();
        let every = all.iter().map(|status| status.identity);
        let deadline = Instant::now() + EXEC_TIMEOUT;
        let tagged = every.filter(|process| self.known.contains(process) || process.has_tag(tag, deadline));
        let roots = tagged.chain(orphans::found()).collect();
        subtree(&roots, &all)
    }
}
