//! Decides whether opencode has begun a turn, and whether to restart it.
//!
//! Before the first output of `opencode run`, no step of the turn has begun: no tool was running, and a second start
//! repeats nothing but a request to the model. So a start that stalls, or that finds the database locked by another
//! opencode, is retried.

use opencode_run_core::ProcessExit;
use std::time::Duration;
use tokio::time::Instant;

/// How long opencode may be silent, without output and without a request to its model, if requests are metered. It
/// starts in a few seconds; a machine that starts many takes longer.
const METERED_SILENCE_TIMEOUT: Duration = Duration::from_mins(1);
/// The same limit if requests are not metered, on output alone: it retries a failing provider for more than a minute
/// before it reports the failure.
const UNMETERED_SILENCE_TIMEOUT: Duration = Duration::from_mins(2);
/// The maximum number of starts of an opencode that stalls.
const MAX_STARTS: u32 = 2;

/// The start of a turn.
#[derive(Debug)]
pub(super) struct Startup {
    is_metered: bool,
    /// How long a start may be silent.
    limit: Duration,
    starts: u32,
    began: Instant,
    stage: Stage,
    /// The remaining pauses if the database is locked.
    locked_pauses: std::vec::IntoIter<Duration>,
}

/// The stage of the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    /// The database was locked; opencode may still continue.
    Locked,
    /// The start has stalled, and the process is killed.
    Stalled,
    /// The turn has begun: no restart.
    Begun,
}

impl Startup {
    /// Returns the state of a process that was just started. `limit` is how long it may be silent, unless the default
    /// applies.
    pub(super) fn new(is_metered: bool, limit: Option<Duration>, locked_pauses: Vec<Duration>, now: Instant) -> Self {
        let limit = limit.unwrap_or(if is_metered { METERED_SILENCE_TIMEOUT } else { UNMETERED_SILENCE_TIMEOUT });
        let locked_pauses = locked_pauses.into_iter();
        Self { is_metered, limit, starts: 1, began: now, stage: Stage::Waiting, locked_pauses }
    }

    /// Records output of opencode, or a request to its model.
    pub(super) fn begun(&mut self) {
        self.stage = Stage::Begun;
    }

    /// Records that opencode has found its database locked.
    pub(super) fn locked(&mut self) {
        if self.stage == Stage::Waiting {
            self.stage = Stage::Locked;
        }
    }

    /// Returns when the start counts as stalled. A second unmetered start has no such limit: its model may be slow.
    pub(super) fn due(&self) -> Option<Instant> {
        let is_limited = self.is_metered || self.starts < MAX_STARTS;
        let waits = matches!(self.stage, Stage::Waiting | Stage::Locked) && is_limited;
        waits.then(|| self.began + self.limit)
    }

    /// Records that the start has stalled. Returns the error message if it was the last start.
    pub(super) fn stall(&mut self) -> Option<String> {
        self.stage = Stage::Stalled;
        tracing::warn!("opencode did not begin within {:?} and was killed", self.limit);
        (self.starts >= MAX_STARTS)
            .then(|| format!("it did not begin within {:?}, in {} attempts", self.limit, self.starts))
    }

    /// Returns the pause before a restart of the process after this exit; `None` if it is not restarted.
    pub(super) fn again(&mut self, exit: ProcessExit) -> Option<Duration> {
        match self.stage {
            Stage::Stalled if self.starts < MAX_STARTS => Some(Duration::ZERO),
            Stage::Locked if exit != ProcessExit::Code(0) => self.locked_pauses.next(),
            _ => None,
        }
    }

    /// Records a restart.
    pub(super) fn restart(&mut self, now: Instant) {
        tracing::info!("restarting opencode, which had not begun the turn");
        self.starts += 1;
        self.began = now;
        self.stage = Stage::Waiting;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: ProcessExit = ProcessExit::Code(1);
    const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];

    fn startup(is_metered: bool, now: Instant) -> Startup {
        Startup::new(is_metered, None, PAUSES.to_vec(), now)
    }

    #[test]
    fn stalled_start_is_retried_once() {
        let now = Instant::now();
        let mut startup = startup(true, now);
        assert_eq!(startup.due(), Some(now + METERED_SILENCE_TIMEOUT));
        assert_eq!((startup.stall(), startup.due()), (None, None));
        assert_eq!(startup.again(ProcessExit::Signal(9)), Some(Duration::ZERO));
        let later = now + METERED_SILENCE_TIMEOUT;
        startup.restart(later);
        assert_eq!(startup.due(), Some(later + METERED_SILENCE_TIMEOUT));
        assert!(startup.stall().is_some_and(|why| why.contains("2 attempts")));
        assert_eq!(startup.again(ProcessExit::Signal(9)), None);
    }

    #[test]
    fn second_unmetered_start_may_be_slow() {
        let now = Instant::now();
        let mut startup = startup(false, now);
        assert_eq!(startup.due(), Some(now + UNMETERED_SILENCE_TIMEOUT));
        startup.stall();
        startup.restart(now);
        assert_eq!(startup.due(), None);
    }

    #[test]
    fn begun_turn_is_never_restarted() {
        let mut startup = startup(true, Instant::now());
        startup.locked();
        startup.begun();
        assert_eq!((startup.due(), startup.again(FAILED)), (None, None));
    }

    #[test]
    fn locked_database_is_retried() {
        let now = Instant::now();
        let mut startup = startup(false, now);
        assert_eq!(startup.again(FAILED), None, "it was not locked");
        for pause in PAUSES {
            startup.locked();
            assert_eq!(startup.again(ProcessExit::Code(0)), None);
            assert_eq!(startup.again(FAILED), Some(pause));
            startup.restart(now);
        }
        startup.locked();
        assert_eq!(startup.again(FAILED), None);
    }
}
