//! Whether opencode has begun a turn, and whether it is to be started again.
//!
//! Until `opencode run` has said something, no step of the turn has begun: no tool was at work, and a second start does nothing
//! twice but ask the model. So a start that stalls, and one that found another opencode at work on the database, is made again.

use crate::backoff;
use backon::ExponentialBackoff;
use opencode_run_core::ProcessExit;
use std::time::Duration;
use tokio::time::Instant;

/// How long opencode may say nothing while no request of it to its model has been seen, though it would have been. It takes a
/// few seconds to begin; a machine that starts many takes longer.
const METERED_SILENCE_TIMEOUT: Duration = Duration::from_mins(1);
/// How long it may say nothing where its requests are not seen: a provider that fails is asked for longer than a minute before
/// opencode says so.
const UNMETERED_SILENCE_TIMEOUT: Duration = Duration::from_mins(2);
/// How often opencode is started where it stalls.
const MAX_STARTS: u32 = 2;
/// How often it is restarted if its database is locked.
const MAX_LOCKED_RESTARTS: usize = 5;

/// The beginning of a turn.
#[derive(Debug)]
pub(super) struct Startup {
    /// Requests to the model are seen.
    seen: bool,
    starts: u32,
    began: Instant,
    stage: Stage,
    /// The pauses that are left if the database is locked.
    locked: ExponentialBackoff,
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    /// The database was found locked; opencode may still go on.
    Locked,
    /// It was given up.
    Stalled,
    /// The turn has begun: there is nothing to be started again.
    Begun,
}

impl Startup {
    /// A process was started. `seen` says whether its requests to the model are seen.
    pub(super) fn new(seen: bool) -> Self {
        let locked = backoff::locked_database(MAX_LOCKED_RESTARTS);
        Self { seen, starts: 1, began: Instant::now(), stage: Stage::Waiting, locked }
    }

    /// opencode has said something, or asked its model.
    pub(super) fn begun(&mut self) {
        self.stage = Stage::Begun;
    }

    /// opencode has found its database locked.
    pub(super) fn locked(&mut self) {
        if self.stage == Stage::Waiting {
            self.stage = Stage::Locked;
        }
    }

    /// Returns when the start has stalled. A second one that is not seen has all the time that the turn has: its model is slow.
    pub(super) fn due(&self) -> Option<Instant> {
        let waits = matches!(self.stage, Stage::Waiting | Stage::Locked) && (self.seen || self.starts < MAX_STARTS);
        waits.then(|| self.began + self.limit())
    }

    fn limit(&self) -> Duration {
        if self.seen { METERED_SILENCE_TIMEOUT } else { UNMETERED_SILENCE_TIMEOUT }
    }

    /// Notes that the start has stalled. Returns what is to be said where that was the last one.
    pub(super) fn stall(&mut self) -> Option<String> {
        self.stage = Stage::Stalled;
        tracing::warn!("opencode did not begin within {:?} and was ended", self.limit());
        (self.starts >= MAX_STARTS)
            .then(|| format!("it did not begin within {:?}, {} times", self.limit(), self.starts))
    }

    /// Returns whether the process that ended so is to be started again, and how long to wait before that.
    pub(super) fn again(&mut self, exit: ProcessExit) -> Option<Duration> {
        match self.stage {
            Stage::Stalled if self.starts < MAX_STARTS => Some(Duration::ZERO),
            Stage::Locked if exit != ProcessExit::Code(0) => self.locked.next(),
            _ => None,
        }
    }

    /// It was started again.
    pub(super) fn restart(&mut self) {
        tracing::info!("opencode is started again, as it had not begun the turn");
        (self.starts, self.began, self.stage) = (self.starts + 1, Instant::now(), Stage::Waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: ProcessExit = ProcessExit::Code(1);

    #[tokio::test(start_paused = true)]
    async fn a_stalled_start_is_made_again_once() {
        let mut startup = Startup::new(true);
        assert_eq!(startup.due(), Some(Instant::now() + METERED_SILENCE_TIMEOUT));
        assert_eq!((startup.stall(), startup.due()), (None, None));
        assert_eq!(startup.again(ProcessExit::Signal(9)), Some(Duration::ZERO));
        startup.restart();
        assert_eq!(startup.due(), Some(Instant::now() + METERED_SILENCE_TIMEOUT));
        assert!(startup.stall().is_some_and(|why| why.contains("2 times")));
        assert_eq!(startup.again(ProcessExit::Signal(9)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_start_that_nobody_sees_may_have_a_slow_model() {
        let mut startup = Startup::new(false);
        assert_eq!(startup.due(), Some(Instant::now() + UNMETERED_SILENCE_TIMEOUT));
        startup.stall();
        startup.restart();
        assert_eq!(startup.due(), None);
    }

    #[tokio::test]
    async fn what_has_begun_is_never_started_again() {
        let mut startup = Startup::new(true);
        startup.locked();
        startup.begun();
        assert_eq!((startup.due(), startup.again(FAILED)), (None, None));
    }

    #[tokio::test]
    async fn a_locked_database_is_tried_again_a_few_times() {
        let mut startup = Startup::new(false);
        assert_eq!(startup.again(FAILED), None, "it was not locked");
        for _ in 0..MAX_LOCKED_RESTARTS {
            startup.locked();
            assert_eq!(startup.again(ProcessExit::Code(0)), None);
            assert!(startup.again(FAILED).is_some_and(|pause| pause >= backoff::MIN_LOCKED_PAUSE));
            startup.restart();
        }
        startup.locked();
        assert_eq!(startup.again(FAILED), None);
    }
}
