//! Start times of processes in the clock of `/proc`: clock ticks since boot.

use rustix::param::clock_ticks_per_second;
use rustix::time::{ClockId, clock_gettime};

/// A start time, in clock ticks since boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StartTime(pub(super) u64);

impl StartTime {
    /// Returns the current tick. A process that starts later has no earlier tick.
    pub(crate) fn now() -> Self {
        let now = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
        let ticks = clock_ticks_per_second();
        Self(seconds * ticks + nanos * ticks / 1_000_000_000)
    }

    /// Returns the tick that is so many ticks later.
    #[cfg(test)]
    pub(crate) fn after(self, ticks: u64) -> Self {
        Self(self.0 + ticks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::linux::identity;
    use std::process::Command;

    #[test]
    fn process_starts_between_surrounding_ticks() {
        for _ in 0..50 {
            let before = StartTime::now();
            let mut child = Command::new("true").spawn().unwrap();
            let after = StartTime::now();
            let started_at = StartTime(identity(child.id()).unwrap().started);
            child.wait().unwrap();
            assert!(before <= started_at && started_at <= after, "{before:?} {started_at:?} {after:?}");
        }
    }
}
