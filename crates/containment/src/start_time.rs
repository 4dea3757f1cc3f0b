//! Start times of processes in the clock of `/proc`: clock ticks since boot.

/// A start time, in clock ticks since boot. Always the same except on Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StartTime(pub(crate) u64);

impl StartTime {
    /// Returns the current tick. A process that starts later has no earlier tick.
    #[must_use]
    pub fn now() -> Self {
        #[cfg(target_os = "linux")]
        return Self(ticks_since_boot());
        #[cfg(not(target_os = "linux"))]
        Self(0)
    }

    /// Returns the time that is `ticks` ticks later.
    #[must_use]
    pub fn after(self, ticks: u64) -> Self {
        Self(self.0.saturating_add(ticks))
    }
}

#[cfg(target_os = "linux")]
fn ticks_since_boot() -> u64 {
    use rustix::param::clock_ticks_per_second;
    use rustix::time::{ClockId, clock_gettime};

    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    let ticks = clock_ticks_per_second();
    seconds * ticks + nanos * ticks / 1_000_000_000
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::linux::table::identity;
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
