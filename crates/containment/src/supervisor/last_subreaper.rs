//! Kills the orphans of the subreaper above all supervisors.

use crate::linux::descendants::{child_identities, kill_descendants};
use crate::linux::table::Identity;
use rustix::process::{WaitOptions, wait};
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// The maximum time of the attempt to kill the orphans. It usually takes milliseconds, unless the kernel holds a
/// process.
const KILL_TIMEOUT: Duration = Duration::from_secs(3);
/// The pause between two rounds.
const KILL_INTERVAL: Duration = Duration::from_millis(5);
/// The maximum number of exited processes that are reaped at a time: a fork bomb must not keep this process
/// from killing it.
const MAX_REAPED: usize = 1000;

/// The children of this process at one moment. A process that reuses one of their ids is not one of them.
#[derive(Debug, Default)]
pub struct Children(HashSet<Identity>);

impl Children {
    /// Returns the current children of this process.
    #[must_use]
    pub fn now() -> Self {
        Self(child_identities())
    }
}

/// Kills every descendant of this process except `spared` and their descendants, and reaps the children that exit
/// meanwhile.
///
/// Each round stops all of them before it kills them, so that none forks and exits in between. For a single-threaded
/// subreaper whose own work is done: its remaining descendants are orphans of killed supervisors. Blocks for at most
/// three seconds.
pub fn end_descendants(spared: &Children) {
    let began = Instant::now();
    loop {
        for _ in 0..MAX_REAPED {
            if !wait(WaitOptions::NOHANG).is_ok_and(|ended| ended.is_some()) {
                break;
            }
        }
        if child_identities().is_subset(&spared.0) || began.elapsed() > KILL_TIMEOUT {
            return;
        }
        kill_descendants(&spared.0);
        std::thread::sleep(KILL_INTERVAL);
    }
}
