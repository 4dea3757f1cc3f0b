//! A model source: its waiting tasks, and the rate of requests that its provider accepts.

use super::State;
use crate::ledger::Standing;
use crate::policy::MAX_CONFIGURATION_FAILURES;
use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// The first pause after a rate limit that names no time; it doubles each further time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_mins(2);
/// The maximum pause, even if a provider requests a longer one: its clock may be wrong.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(6);
/// The time within which rate limits count as answers to the same burst of requests.
const BURST: Duration = Duration::from_secs(1);
/// The factor of concurrency after a rate limit.
const DECREASE: f64 = 0.8;
/// The factor after a round without one.
const INCREASE: f64 = 1.05;

/// The number of a model source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SourceNumber(pub(super) u16);

#[derive(Debug)]
pub(super) struct Source {
    /// The waiting tasks by priority, the highest first. Cancelled tasks are skipped when they are reached.
    queues: BTreeMap<Reverse<i32>, VecDeque<u32>>,
    pub(super) ready: usize,
    pub(super) delayed: usize,
    pub(super) running: usize,
    /// The number of tasks that may run.
    limit: f64,
    pub(super) paused_until: Duration,
    /// The time until which a rate limit belongs to the previous burst.
    burst_until: Duration,
    /// The number of pauses since a task last ended without a rate limit.
    pauses: u32,
    /// The number of tasks that ended without a rate limit since `limit` last changed.
    pub(super) clean: usize,
    unusable_tasks: u32,
}

impl Source {
    pub(super) fn new(jobs: usize) -> Self {
        Self {
            queues: BTreeMap::new(),
            ready: 0,
            delayed: 0,
            running: 0,
            limit: as_limit(jobs),
            paused_until: Duration::ZERO,
            burst_until: Duration::ZERO,
            pauses: 0,
            clean: 0,
            unusable_tasks: 0,
        }
    }

    pub(super) fn push_back(&mut self, task: u32, priority: i32) {
        self.queues.entry(Reverse(priority)).or_default().push_back(task);
        self.ready += 1;
    }

    pub(super) fn push_front(&mut self, task: u32, priority: i32) {
        self.queues.entry(Reverse(priority)).or_default().push_front(task);
        self.ready += 1;
    }

    /// Returns the order of the next task: its priority and its number.
    pub(super) fn head(&mut self, states: &[State]) -> Option<(Reverse<i32>, u32)> {
        loop {
            let mut entry = self.queues.first_entry()?;
            let priority = *entry.key();
            let queue = entry.get_mut();
            while queue.front().is_some_and(|task| states[*task as usize] != State::Ready) {
                queue.pop_front();
            }
            match queue.front() {
                Some(task) => return Some((priority, *task)),
                None => drop(entry.remove()),
            }
        }
    }

    pub(super) fn pop(&mut self, states: &[State]) -> Option<u32> {
        let (priority, task) = self.head(states)?;
        self.queues.get_mut(&priority)?.pop_front();
        self.ready -= 1;
        Some(task)
    }

    /// Returns the number of tasks that may run in parallel.
    pub(super) fn limit(&self) -> usize {
        // The limit is at least 1 and at most the number of jobs.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
        let limit = self.limit as usize;
        limit.max(1)
    }

    pub(super) fn set_jobs(&mut self, jobs: usize) {
        self.limit = as_limit(jobs);
    }

    /// Returns whether another task of this source may start.
    pub(super) fn may_start(&self, now: Duration) -> bool {
        self.ready > 0 && !self.is_stopped() && now >= self.paused_until && self.running < self.limit()
    }

    /// Returns whether the source is stopped because its tasks showed that it cannot be used.
    pub(super) fn is_stopped(&self) -> bool {
        self.unusable_tasks >= MAX_CONFIGURATION_FAILURES
    }

    pub(super) fn reopen(&mut self) {
        self.unusable_tasks = 0;
    }

    /// Pauses the source. Returns until when.
    pub(super) fn rate_limited(&mut self, now: Duration, retry_after: Option<Duration>) -> Duration {
        let is_new_burst = now >= self.burst_until;
        if is_new_burst {
            self.limit = (self.limit * DECREASE).max(1.0);
            self.pauses += 1;
        }
        let doubled = || FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(self.pauses.saturating_sub(1))).min(MAX_PAUSE);
        let pause = retry_after.map_or_else(doubled, |after| after.min(MAX_RETRY_AFTER));
        self.paused_until = self.paused_until.max(now + pause);
        self.burst_until = self.paused_until.max(now + BURST);
        self.clean = 0;
        self.paused_until
    }

    /// Handles a task that is not retried because its source cannot be used.
    pub(super) fn count_unusable(&mut self) {
        self.unusable_tasks += 1;
    }

    /// Handles the end of an attempt without a rate limit.
    pub(super) fn ended(&mut self, standing: Standing, jobs: usize) {
        match standing {
            // The task is at fault: this proves nothing about its source.
            Standing::Configuration | Standing::Interrupted => {}
            Standing::Infrastructure => self.unusable_tasks = 0,
            Standing::Passed | Standing::CheckFailed | Standing::Failed => {
                self.unusable_tasks = 0;
                self.pauses = 0;
                self.clean += 1;
                if self.clean >= self.limit() {
                    self.clean = 0;
                    self.limit = (self.limit * INCREASE).min(as_limit(jobs));
                }
            }
        }
    }
}

fn as_limit(jobs: usize) -> f64 {
    f64::from(u32::try_from(jobs).unwrap_or(u32::MAX))
}
