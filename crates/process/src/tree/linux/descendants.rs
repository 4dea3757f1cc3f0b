//! Ending all that descends from this process, where this process is a sub-reaper and so stays the ancestor of them all.

use super::stop_and_kill;
use super::table::{every_process, family, own_children, own_id, status};
use rustix::process::{Signal, kill_process};

/// Kills all that descends from this process.
///
/// What was missed, since it was just being made, has this process for its parent afterwards: nobody is left when there is
/// no child to wait for any more.
pub(crate) fn kill_descendants() {
    let root = status(own_id()).map(|status| status.identity).into_iter().collect();
    stop_and_kill(|| {
        // What forks and ends at once is gone before a look at all processes comes to it, but its child is here.
        signal_children(Signal::STOP);
        family(&root, &every_process())
    });
    signal_children(Signal::KILL);
}

fn signal_children(signal: Signal) {
    for child in own_children() {
        // One that has ended needs no signal.
        kill_process(child, signal).ok();
    }
}
