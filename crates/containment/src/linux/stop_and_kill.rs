//! Kills processes that may start others meanwhile.

use super::table::Identity;
use rustix::process::Signal;
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// The maximum number of scans for new processes while others are being stopped, before the found ones are killed.
const STOP_ROUNDS: usize = 20;
/// The time limit on these scans. A fork bomb that is faster than the scans would delay its own end; the found
/// processes are killed then, and the caller scans again.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// Stops all processes that `find` returns until there are no new ones, so that a fork bomb stands still, then kills
/// them. Returns their number.
pub(super) fn stop_and_kill(mut find: impl FnMut() -> Vec<Identity>) -> usize {
    let mut stopped = HashSet::new();
    let began = Instant::now();
    for _ in 0..STOP_ROUNDS {
        let fresh: Vec<_> = find().into_iter().filter(|process| !stopped.contains(process)).collect();
        if fresh.is_empty() {
            break;
        }
        for process in fresh {
            process.send(Signal::STOP);
            stopped.insert(process);
        }
        if began.elapsed() > STOP_TIMEOUT {
            break;
        }
    }
    for process in &stopped {
        process.send(Signal::KILL);
    }
    stopped.len()
}
