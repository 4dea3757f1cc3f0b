//! The end of what the process above all supervisors is left with.

use crate::tree::{Identity, child_identities, kill_descendants};
use rustix::process::{WaitOptions, wait};
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// How long it is tried to end what is left. It takes milliseconds; what takes longer, the system holds.
const KILL_TIMEOUT: Duration = Duration::from_secs(3);
/// The pause between two rounds.
const KILL_INTERVAL: Duration = Duration::from_millis(5);
/// How many ended processes are waited for at a time: a fork bomb must not keep this process from killing it.
const MAX_REAPED: usize = 1000;

/// Children of this process at one moment. An id that is used again is not one of them.
#[derive(Debug, Default)]
pub struct Children(HashSet<Identity>);

impl Children {
    /// Returns the children that this process has now.
    #[must_use]
    pub fn now() -> Self {
        Self(child_identities())
    }
}

/// Kills every descendant of this process but `spared` and theirs, and waits for every child that ends meanwhile.
///
/// Each round stops all of them before it kills them, so that none forks and exits in between. It is for a process of one thread that is a
/// subreaper and whose own work is done: what falls to it is left over from supervisors that were killed. Blocks for at most
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
