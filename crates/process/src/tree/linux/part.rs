//! What of a run works in a directory: what one task on a shared server has left.

use super::table::{Identity, Status, every_process, family};
use super::{Leader, bears, stop_and_kill};
use crate::tree::Marker;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// The processes of a run that work in some directories, but for the server's own.
///
/// The server's own are those of its process group: itself, a watcher and npm's wrapper around it, and its helpers, such as
/// language servers and servers of tools. These work in the directories as well, but for more than one turn. opencode starts
/// every tool in a session of its own.
#[derive(Debug)]
pub(crate) struct Part {
    leader: Leader,
    directories: Vec<PathBuf>,
}

impl Part {
    /// The part of a run with this leader that works in one of these directories.
    pub(crate) fn new(leader: Leader, directories: Vec<PathBuf>) -> Self {
        Self { leader, directories }
    }

    /// Kills all that is there and returns how many were.
    pub(crate) fn kill_all(&self, marker: &Marker) -> usize {
        stop_and_kill(|| self.members(marker))
    }

    fn members(&self, marker: &Marker) -> Vec<Identity> {
        let all = every_process();
        let servers = self.servers_own(&all);
        // Below a watcher also who bears no marker any more.
        let below: HashSet<_> = family(&self.leader.0.into_iter().collect(), &all).into_iter().collect();
        let every = all.iter().map(|status| status.identity).filter(|process| !servers.contains(process));
        let works_here = |process: &Identity| process.directory().is_some_and(|place| self.is_within(&place));
        let tools = every.filter(|process| below.contains(process) || bears(*process, marker)).filter(works_here);
        family(&tools.collect(), &all).into_iter().filter(|process| !servers.contains(process)).collect()
    }

    fn is_within(&self, place: &Path) -> bool {
        self.directories.iter().any(|directory| place.starts_with(directory))
    }

    /// Returns the server's group, and who works for the helpers in it.
    fn servers_own(&self, all: &[Status]) -> HashSet<Identity> {
        let Some(leader) = self.leader.0 else { return HashSet::new() };
        let group: Vec<_> =
            all.iter().filter(|status| status.group == leader.id).map(|status| status.identity).collect();
        let home = leader.directory();
        let helpers = group
            .iter()
            .filter(|process| process.directory().is_some_and(|place| self.is_within(&place) && Some(place) != home));
        let mut own: HashSet<_> = family(&helpers.copied().collect(), all).into_iter().collect();
        own.extend(group);
        own
    }
}
