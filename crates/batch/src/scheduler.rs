//! The scheduler: decides which task to start, retry, delay or stop.
//!
//! It is a plain value: time is an argument, and there is no clock, thread or channel in it. The code around it calls
//! [`next`](Scheduler::next) for the next step, and [`finished`](Scheduler::finished) for each ended attempt.

mod settings;
mod source;
mod status;
mod step;

pub use self::settings::{FailFast, Settings};
pub use self::source::SourceNumber;
pub use self::status::{Status, Totals};
pub use self::step::{After, Cancelled, Ended, Escalation, Hold, Next, Outcome, State, StopReason};

use self::settings::{fraction, retry_delay};
use self::source::Source;
use crate::ledger::Standing;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::time::Duration;

/// The maximum number of consecutive rate limits of a task before they count as an attempt, so that the wait ends.
const MAX_RATE_LIMITS: u32 = 100;

/// Decides what happens to the tasks of a batch. Times are counted from the start of the batch.
#[derive(Debug)]
pub struct Scheduler {
    settings: Settings,
    states: Vec<State>,
    /// The source of each task.
    of_source: Vec<u16>,
    sources: Vec<Source>,
    names: HashMap<String, u16>,
    priorities: HashMap<u32, i32>,
    attempts: HashMap<u32, Attempts>,
    delayed: BinaryHeap<Reverse<(Duration, u32)>>,
    running: usize,
    phase: Phase,
    is_paused: bool,
    is_input_open: bool,
    holds: BTreeSet<Hold>,
    signals: u32,
    starts: usize,
    next_start: Duration,
    totals: Totals,
}

#[derive(Debug, Clone, Copy, Default)]
struct Attempts {
    /// The number of the last attempt, counting those of earlier runs.
    number: u32,
    /// The number of attempts that count, in this run.
    used: u32,
    /// The number of consecutive rate limits.
    rate_limits: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    Draining(StopReason),
}

impl Scheduler {
    /// Creates a scheduler without tasks. More can be added until [`close_input`](Self::close_input).
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            states: Vec::new(),
            of_source: Vec::new(),
            sources: Vec::new(),
            names: HashMap::new(),
            priorities: HashMap::new(),
            attempts: HashMap::new(),
            delayed: BinaryHeap::new(),
            running: 0,
            phase: Phase::Running,
            is_paused: false,
            is_input_open: true,
            holds: BTreeSet::new(),
            signals: 0,
            starts: 0,
            next_start: Duration::ZERO,
            totals: Totals::default(),
        }
    }

    /// Returns where the batch stands.
    #[must_use]
    pub fn status(&self) -> Status {
        let sum = |of: fn(&Source) -> usize| self.sources.iter().map(of).sum::<usize>() as u64;
        let stopped = self.names.iter().filter(|(_, number)| self.sources[usize::from(**number)].is_stopped());
        let mut stopped_sources: Vec<_> = stopped.map(|(name, _)| name.clone()).collect();
        stopped_sources.sort();
        Status {
            tasks: self.states.len() as u64,
            running: self.running as u64,
            delayed: sum(|source| source.delayed),
            not_run: sum(|source| source.ready),
            jobs: self.settings.jobs,
            is_paused: self.is_paused,
            holds: self.holds.iter().copied().collect(),
            stopped: self.stop_reason(),
            stopped_sources,
            totals: self.totals,
        }
    }

    /// Returns the number of the model source with this name.
    pub fn source(&mut self, name: &str) -> SourceNumber {
        if let Some(number) = self.names.get(name) {
            return SourceNumber(*number);
        }
        // More models than any real batch has; the excess would share the last number.
        let number = u16::try_from(self.sources.len()).unwrap_or(u16::MAX);
        if usize::from(number) == self.sources.len() {
            self.sources.push(Source::new(self.settings.jobs));
        }
        self.names.insert(name.to_owned(), number);
        SourceNumber(number)
    }

    /// Returns the number of a model source that a task has.
    #[must_use]
    pub fn known_source(&self, name: &str) -> Option<SourceNumber> {
        self.names.get(name).copied().map(SourceNumber)
    }

    /// Adds a task, with the number of its attempts in earlier runs. Returns the number of the task, from 0.
    pub fn add(&mut self, source: SourceNumber, priority: i32, earlier_attempts: u32) -> usize {
        let number = self.push(source, priority, State::Ready, earlier_attempts);
        self.sources[usize::from(source.0)].push_back(number, priority);
        number as usize
    }

    /// Adds a task that was done in an earlier run. Returns its number.
    pub fn add_done(&mut self, source: SourceNumber, priority: i32, standing: Standing, attempts: u32) -> usize {
        self.totals.earlier += 1;
        self.totals.count(standing, 1);
        self.push(source, priority, State::Done(standing), attempts) as usize
    }

    fn push(&mut self, source: SourceNumber, priority: i32, state: State, attempts: u32) -> u32 {
        let number = u32::try_from(self.states.len()).unwrap_or(u32::MAX);
        self.states.push(state);
        self.of_source.push(source.0);
        if priority != 0 {
            self.priorities.insert(number, priority);
        }
        if attempts > 0 {
            self.attempts.insert(number, Attempts { number: attempts, ..Attempts::default() });
        }
        number
    }

    /// Records that no more tasks will be added: the batch ends with the last one.
    pub fn close_input(&mut self) {
        self.is_input_open = false;
    }

    /// Counts what earlier runs have used of the budget.
    pub fn spend(&mut self, cost: f64, tokens: u64) {
        self.totals.cost += cost;
        self.totals.tokens += tokens;
    }

    /// Decides what to do.
    pub fn next(&mut self, now: Duration) -> Next {
        self.release_due(now);
        let wait = Next::Wait { until: None };
        if self.phase != Phase::Running {
            return if self.running == 0 { Next::Finished } else { wait };
        }
        if self.running == 0 && !self.is_input_open && !self.has_work() {
            return Next::Finished;
        }
        if self.is_paused || !self.holds.is_empty() || self.running >= self.settings.jobs {
            return wait;
        }
        let Some(source) = self.best_source(now) else {
            return Next::Wait { until: self.next_change(now) };
        };
        if now < self.next_start {
            return Next::Wait { until: Some(self.next_start) };
        }
        if !self.has_budget_for_one_more() {
            if self.running == 0 {
                self.stop(StopReason::Budget);
                return Next::Finished;
            }
            return wait;
        }
        let Some(task) = self.sources[source].pop(&self.states) else { return wait };
        self.start(now, task, source)
    }

    fn start(&mut self, now: Duration, task: u32, source: usize) -> Next {
        self.states[task as usize] = State::Running;
        self.sources[source].running += 1;
        self.running += 1;
        self.starts += 1;
        // The first tasks start one after the other, so that they do not all clone, start servers and ask the model
        // at the same time.
        if self.starts < self.settings.jobs {
            let spacing = self.settings.start_spread.div_f64(fraction_of(self.settings.jobs));
            self.next_start = now + spacing.mul_f64(0.5 + fraction(task, 0));
        }
        let attempts = self.attempts.entry(task).or_default();
        attempts.number += 1;
        Next::Start { task: task as usize, attempt: attempts.number }
    }

    /// Handles the end of an attempt.
    pub fn finished(&mut self, now: Duration, task: usize, ended: Ended) -> After {
        let number = u32::try_from(task).unwrap_or(u32::MAX);
        let source_number = usize::from(self.of_source[task]);
        let was_cancelled = self.states[task] == State::Cancelled;
        self.running -= 1;
        self.totals.cost += ended.cost;
        self.totals.tokens += ended.tokens;
        self.totals.attempts += 1;
        self.totals.ended_cost += ended.cost;
        self.totals.ended_tokens += ended.tokens;
        let jobs = self.settings.jobs;
        let source = &mut self.sources[source_number];
        source.running -= 1;
        let attempts = self.attempts.entry(number).or_default();
        let (standing, delay) = match ended.outcome {
            Outcome::RateLimited { retry_after } => {
                let until = source.rate_limited(now, retry_after);
                self.totals.rate_limits += 1;
                attempts.rate_limits += 1;
                if attempts.rate_limits > MAX_RATE_LIMITS {
                    attempts.used += 1;
                }
                (Standing::Infrastructure, Some(until.saturating_sub(now)))
            }
            Outcome::Overloaded => {
                source.clean = 0;
                attempts.used += 1;
                (Standing::Infrastructure, None)
            }
            Outcome::Ended(standing) => {
                source.ended(standing, jobs);
                attempts.rate_limits = 0;
                attempts.used += 1;
                (standing, None)
            }
            Outcome::Unusable(standing) => {
                attempts.used += 1;
                (standing, None)
            }
        };
        let may_retry = standing == Standing::Infrastructure
            && attempts.used < self.settings.max_attempts
            && self.phase == Phase::Running
            && !was_cancelled;
        if may_retry {
            let at = now + delay.unwrap_or_else(|| retry_delay(&self.settings, number, attempts.used));
            self.totals.retries += 1;
            self.states[task] = State::Delayed;
            source.delayed += 1;
            self.delayed.push(Reverse((at, number)));
            return After::Retry { at };
        }
        // A start may fail on a busy machine: only tasks that used up their attempts count.
        if matches!(ended.outcome, Outcome::Unusable(_)) {
            source.count_unusable();
        }
        if !was_cancelled {
            self.states[task] = State::Done(standing);
            self.totals.count(standing, 1);
        }
        self.check_fail_fast();
        After::Done(standing)
    }

    /// Handles a rate limit reported for a request of a running attempt: the whole source waits.
    pub fn rate_limited(&mut self, now: Duration, source: SourceNumber, retry_after: Option<Duration>) {
        self.sources[usize::from(source.0)].rate_limited(now, retry_after);
        self.totals.rate_limits += 1;
    }

    /// Returns the time until which a source is paused; `None` if it is not.
    #[must_use]
    pub fn paused_until(&self, source: SourceNumber, now: Duration) -> Option<Duration> {
        Some(self.sources[usize::from(source.0)].paused_until).filter(|until| *until > now)
    }

    /// Starts no more tasks; running attempts continue. The first reason counts.
    pub fn stop(&mut self, reason: StopReason) {
        if self.phase == Phase::Running {
            self.phase = Phase::Draining(reason);
        }
    }

    /// Returns the reason why no more tasks are started; `None` while tasks are started.
    #[must_use]
    pub fn stop_reason(&self) -> Option<StopReason> {
        match self.phase {
            Phase::Running => None,
            Phase::Draining(reason) => Some(reason),
        }
    }

    /// Handles a signal of the user.
    pub fn signal(&mut self) -> Escalation {
        self.signals += 1;
        self.stop(StopReason::Interrupted);
        match self.signals {
            1 => Escalation::Drain,
            2 => Escalation::Interrupt,
            _ => Escalation::Kill,
        }
    }

    /// Starts no tasks until [`resume`](Self::resume).
    pub fn pause(&mut self) {
        self.is_paused = true;
    }

    /// Ends a pause.
    pub fn resume(&mut self) {
        self.is_paused = false;
    }

    /// Sets or clears a hold, during which no tasks are started. Returns whether that changed anything.
    pub fn hold(&mut self, hold: Hold, is_set: bool) -> bool {
        if is_set { self.holds.insert(hold) } else { self.holds.remove(&hold) }
    }

    /// Changes the maximum number of parallel tasks; running tasks continue.
    pub fn set_jobs(&mut self, jobs: usize) {
        self.settings.jobs = jobs.max(1);
        for source in &mut self.sources {
            source.set_jobs(self.settings.jobs);
        }
    }

    /// Cancels a task.
    pub fn cancel(&mut self, task: usize) -> Cancelled {
        let source = &mut self.sources[usize::from(self.of_source[task])];
        match self.states[task] {
            State::Ready => source.ready -= 1,
            State::Delayed => source.delayed -= 1,
            State::Running => {
                self.states[task] = State::Cancelled;
                self.totals.cancelled += 1;
                return Cancelled::Interrupt;
            }
            State::Done(_) | State::Cancelled => return Cancelled::Over,
        }
        self.states[task] = State::Cancelled;
        self.totals.cancelled += 1;
        Cancelled::Removed
    }

    /// Runs a finished or cancelled task again. Returns `false` if the task is neither.
    ///
    /// `is_running` means that a cancelled attempt has not ended yet; such a task cannot run again.
    pub fn requeue(&mut self, task: usize, is_running: bool) -> bool {
        match self.states[task] {
            State::Done(standing) => self.totals.count(standing, -1),
            State::Cancelled if !is_running => self.totals.cancelled -= 1,
            _ => return false,
        }
        let number = u32::try_from(task).unwrap_or(u32::MAX);
        self.states[task] = State::Ready;
        if let Some(attempts) = self.attempts.get_mut(&number) {
            *attempts = Attempts { number: attempts.number, ..Attempts::default() };
        }
        let priority = self.priorities.get(&number).copied().unwrap_or(0);
        let source = &mut self.sources[usize::from(self.of_source[task])];
        // The user has mended the cause.
        source.reopen();
        source.push_back(number, priority);
        true
    }

    /// Returns the state of a task.
    #[must_use]
    pub fn state(&self, task: usize) -> State {
        self.states[task]
    }

    fn release_due(&mut self, now: Duration) {
        while let Some(Reverse((at, task))) = self.delayed.peek().copied() {
            if at > now {
                return;
            }
            self.delayed.pop();
            if self.states[task as usize] != State::Delayed {
                continue;
            }
            self.states[task as usize] = State::Ready;
            let priority = self.priorities.get(&task).copied().unwrap_or(0);
            let source = &mut self.sources[usize::from(self.of_source[task as usize])];
            source.delayed -= 1;
            source.push_front(task, priority);
        }
    }

    fn has_work(&self) -> bool {
        self.sources.iter().any(|source| !source.is_stopped() && source.ready + source.delayed > 0)
    }

    /// Returns the source whose next task comes first: by priority, then by position in the file.
    fn best_source(&mut self, now: Duration) -> Option<usize> {
        let states = &self.states;
        let heads = self.sources.iter_mut().enumerate().filter(|(_, source)| source.may_start(now));
        heads
            .filter_map(|(number, source)| source.head(states).map(|head| (head, number)))
            .min()
            .map(|(_, number)| number)
    }

    /// Returns the next time that changes what can be started.
    fn next_change(&self, now: Duration) -> Option<Duration> {
        let pauses = self.sources.iter().filter(|source| source.ready > 0 && !source.is_stopped());
        let pauses = pauses.map(|source| source.paused_until).filter(|until| *until > now);
        let retry = self.delayed.peek().map(|Reverse((at, _))| *at);
        pauses.chain(retry).min()
    }

    /// Returns whether the budget has room for one more task, using an estimate for each running task.
    fn has_budget_for_one_more(&self) -> bool {
        let tasks = fraction_of(self.running + 1);
        let ended = fraction_of(usize::try_from(self.totals.attempts).unwrap_or(usize::MAX));
        let fits = |limit: f64, spent: f64, ended_sum: f64| {
            let mean = if ended > 0.0 { ended_sum / ended } else { limit * settings::FIRST_ESTIMATE };
            spent < limit && spent + mean * tasks <= limit * (1.0 + f64::EPSILON)
        };
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let count = |number: u64| number as f64;
        self.settings.max_cost.is_none_or(|limit| fits(limit, self.totals.cost, self.totals.ended_cost))
            && self
                .settings
                .max_tokens
                .is_none_or(|limit| fits(count(limit), count(self.totals.tokens), count(self.totals.ended_tokens)))
    }

    fn check_fail_fast(&mut self) {
        let failures = self.totals.failures();
        let is_reached = match self.settings.fail_fast {
            None => false,
            Some(FailFast::Count(count)) => failures >= count,
            Some(FailFast::Percent(percent)) => failures * 100 >= u64::from(percent) * self.states.len() as u64,
        };
        if is_reached && failures > 0 {
            self.stop(StopReason::FailFast);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn fraction_of(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests;
