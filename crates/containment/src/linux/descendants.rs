//! Kills all descendants of this process, if it is a subreaper and so stays their ancestor.

use super::stop_and_kill::stop_and_kill;
use super::table::{Identity, ProcessStatus, all_processes, own_children, own_id, status, subtree};
use rustix::process::Signal;
use std::collections::HashSet;

/// Kills all descendants of this process except `spared` and their descendants. Returns their number.
///
/// A process that was missed because it was just being forked is reparented to this process: no descendant is left when
/// this process has no other child to wait for.
pub(crate) fn kill_descendants(spared: &HashSet<Identity>) -> usize {
    let root = status(own_id()).map(|status| status.identity).into_iter().collect();
    let killed = stop_and_kill(|| {
        // A process that forks and exits is gone before a `/proc` scan reaches it, but its child is a child of this
        // process.
        signal_children(spared, Signal::STOP);
        descendants(&root, spared, &all_processes())
    });
    signal_children(spared, Signal::KILL);
    killed
}

fn descendants(root: &HashSet<Identity>, spared: &HashSet<Identity>, all: &[ProcessStatus]) -> Vec<Identity> {
    let mut descendants = subtree(root, all);
    if !spared.is_empty() {
        let spared: HashSet<_> = subtree(spared, all).into_iter().collect();
        descendants.retain(|process| !spared.contains(process));
    }
    descendants
}

/// Returns the children of this process that have not been waited for.
pub(crate) fn child_identities() -> HashSet<Identity> {
    own_children().into_iter().filter_map(|id| status(id.as_raw_pid())).map(|status| status.identity).collect()
}

fn signal_children(spared: &HashSet<Identity>, signal: Signal) {
    for child in child_identities().difference(spared) {
        child.send(signal);
    }
}
