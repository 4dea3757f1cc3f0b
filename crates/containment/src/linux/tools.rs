//! The tool processes of a server's run: those that its turns have started.

use super::stop_and_kill::stop_and_kill;
use super::table::{EXEC_TIMEOUT, Identity, ProcessStatus, all_processes, children_of, identity, status, subtree};
use crate::environment_tag::EnvironmentTag;
use crate::start_time::StartTime;
use crate::tool_process::ToolProcess;
use rustix::process::Signal;
use std::collections::HashSet;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Instant;

/// The suffix that the kernel adds to the name of a removed directory.
const REMOVED: &[u8] = b" (deleted)";

/// A server's own processes: its leader, and the processes between that and the server. Empty if the leader had exited
/// before the scan.
#[derive(Debug, Clone, Default)]
pub struct OwnProcesses {
    leader: Option<Identity>,
    own: HashSet<Identity>,
}

impl OwnProcesses {
    /// Returns the processes of the group that a process leads. Scans all processes.
    pub(crate) fn of(leader: u32) -> Self {
        let leader = identity(leader);
        let all = all_processes();
        let group = all.iter().filter(|status| leader.is_some_and(|leader| status.group == leader.id));
        Self { leader, own: group.map(|status| status.identity).collect() }
    }
}

#[cfg(test)]
impl OwnProcesses {
    /// Returns these processes with this leader, which has reused another process's id.
    pub(super) fn reused(mut self, leader: Identity) -> Self {
        self.leader = Some(leader);
        self
    }
}

/// The tool processes of a run, which are not the server's own.
///
/// The server's own processes are those of its process group: itself, a supervisor, a wrapper, and helpers such as
/// language servers and MCP servers; and the descendants of the helpers, a browser for example. The server starts every
/// tool in a session of its own, and a process cannot change into a group of another session.
#[derive(Debug)]
pub(crate) struct ToolProcesses {
    tag: EnvironmentTag,
    own_processes: OwnProcesses,
    since: StartTime,
}

impl ToolProcesses {
    /// Selects the processes that are not older than `since`.
    pub(crate) fn new(tag: EnvironmentTag, own_processes: OwnProcesses, since: StartTime) -> Self {
        Self { tag, own_processes, since }
    }

    /// Kills the processes for which `is_leftover` is true, and returns their number.
    pub(crate) fn kill_all(&self, is_leftover: impl Fn(&[ToolProcess]) -> Vec<bool>) -> usize {
        stop_and_kill(|| {
            self.stop_orphans(&is_leftover);
            self.members(&is_leftover)
        })
    }

    fn members(&self, is_leftover: impl Fn(&[ToolProcess]) -> Vec<bool>) -> Vec<Identity> {
        let all = all_processes();
        let own = self.servers_own(&all);
        // Below a supervisor, untagged processes are found as well.
        let below: HashSet<_> = subtree(&self.own_processes.leader.into_iter().collect(), &all).into_iter().collect();
        let young = all.iter().filter(|status| self.is_young(status)).map(|status| status.identity);
        let deadline = Instant::now() + EXEC_TIMEOUT;
        let tools: Vec<_> = young
            .filter(|process| !own.contains(process))
            .filter(|process| below.contains(process) || process.has_tag(&self.tag, deadline))
            .collect();
        // A child of a turn's process belongs to that turn, wherever it works.
        let left = subtree(&left(&tools, is_leftover), &all);
        left.into_iter().filter(|process| !own.contains(process)).collect()
    }

    /// Stops the orphans below a supervisor before the scan, so that they cannot fork and exit before the scan reaches
    /// them.
    fn stop_orphans(&self, is_leftover: impl Fn(&[ToolProcess]) -> Vec<bool>) {
        let Some(leader) = self.own_processes.leader else { return };
        let children = children_of(leader.id).into_iter().filter_map(|id| status(id.as_raw_pid()));
        let orphans =
            children.filter(|child| child.parent == leader.id && child.group != leader.id && !child.has_exited);
        let orphans: Vec<_> = orphans.filter(|child| self.is_young(child)).map(|child| child.identity).collect();
        if leader.is_there() {
            for orphan in left(&orphans, is_leftover) {
                orphan.send(Signal::STOP);
            }
        }
    }

    fn is_young(&self, status: &ProcessStatus) -> bool {
        StartTime(status.identity.started) >= self.since
    }

    /// Returns the server's group, and the descendants of the helpers in it.
    fn servers_own(&self, all: &[ProcessStatus]) -> HashSet<Identity> {
        let Some(leader) = self.own_processes.leader else { return HashSet::new() };
        let group: HashSet<_> =
            all.iter().filter(|status| status.group == leader.id).map(|status| status.identity).collect();
        let helpers = group.difference(&self.own_processes.own).copied().collect();
        let mut own: HashSet<_> = subtree(&helpers, all).into_iter().collect();
        own.extend(group);
        own
    }
}

/// Returns the processes for which `is_leftover` is true.
fn left(processes: &[Identity], is_leftover: impl Fn(&[ToolProcess]) -> Vec<bool>) -> HashSet<Identity> {
    if processes.is_empty() {
        return HashSet::new();
    }
    let tool = |process: &Identity| ToolProcess::new(StartTime(process.started), works_in(*process));
    let tools: Vec<_> = processes.iter().map(tool).collect();
    processes.iter().zip(is_leftover(&tools)).filter(|(_, left)| *left).map(|(process, _)| *process).collect()
}

/// Returns the working directory of a process, even if the directory was removed.
fn works_in(process: Identity) -> Option<PathBuf> {
    let place = process.directory()?.into_os_string();
    let removed = place.as_bytes().strip_suffix(REMOVED).map(|path| OsString::from_vec(path.to_vec()));
    Some(removed.unwrap_or(place).into())
}
