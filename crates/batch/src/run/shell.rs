//! The loop of a batch: it performs I/O for the scheduler, and makes no decisions.

use super::attempt::{Attempt, AttemptEnd, AttemptRunner, Stop};
use super::control::{ControlMessage, ControlRequest};
use super::event::{BatchEvent, BatchFailure, Running, Summary};
use super::plan::{Plan, Planner};
use super::resources::{free_bytes, memory_in_use};
use super::throttles::RateLimit;
use crate::ledger::Standing;
use crate::ledger::{LedgerState, LedgerWriter, TaskResult, to_line};
use crate::scheduler::{
    After, Cancelled, Ended, Escalation, Hold, Next, Outcome, Scheduler, State, Status, StopReason,
};
use crate::shard::Shard;
use crate::task::IdHash;
use crate::tasks_file::{LoadOptions, TaskSet};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

/// The interval of checks of the limits, and of ticks.
const TICK: Duration = Duration::from_secs(1);
/// The fraction of the memory limit below which tasks are started again.
const MEMORY_RELEASE: f64 = 0.9;

/// The settings of a batch.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct BatchOptions {
    /// The shard of the batch, for the results.
    pub shard: Option<Shard>,
    /// A directory on the file system that must have room.
    pub results_folder: PathBuf,
    /// The minimum free space of the disk in bytes; no task is started below it.
    pub min_free: Option<u64>,
    /// The maximum memory of all processes of the batch in bytes; no task is started above it.
    pub max_memory: Option<u64>,
    /// The time after which no task is started and running tasks are interrupted.
    pub max_time: Option<Duration>,
    /// The options of loading a tasks file that is added to a running batch.
    pub load: LoadOptions,
}

/// A line of tasks that are streamed.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "a line and its number")]
pub struct TaskLine {
    /// The number of the line, from 1.
    pub number: u64,
    /// The line, a task as JSON in UTF-8.
    pub line: Vec<u8>,
}

/// A batch that was planned.
pub struct Batch {
    scheduler: Scheduler,
    sets: Vec<TaskSet>,
    /// Each task's set, and its number in that set.
    places: Vec<(u16, u32)>,
    options: BatchOptions,
    runner: Arc<dyn AttemptRunner>,
    writer: LedgerWriter,
    running: HashMap<usize, Live>,
    attempts: JoinSet<(usize, std::io::Result<AttemptEnd>)>,
    /// The task of each attempt, for one that panics.
    owners: HashMap<tokio::task::Id, usize>,
    began: Instant,
    /// Decides about tasks that are streamed or added.
    planner: Planner,
    /// The number of streamed lines that are not tasks.
    rejected: u64,
    failure: Option<BatchFailure>,
}

struct Live {
    id: String,
    attempt: u32,
    since: Instant,
    stop: watch::Sender<Stop>,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch").field("scheduler", &self.scheduler).finish_non_exhaustive()
    }
}

impl Batch {
    /// Creates a batch from its plan; [`run`](Self::run) runs it.
    #[must_use]
    pub fn new(
        tasks: TaskSet,
        plan: Plan,
        writer: LedgerWriter,
        runner: Arc<dyn AttemptRunner>,
        options: BatchOptions,
    ) -> Self {
        let places = (0..tasks.len()).map(|task| (0, u32::try_from(task).unwrap_or(u32::MAX))).collect();
        Self {
            scheduler: plan.scheduler,
            sets: vec![tasks],
            places,
            options,
            runner,
            writer,
            running: HashMap::new(),
            attempts: JoinSet::new(),
            owners: HashMap::new(),
            began: Instant::now(),
            planner: plan.planner,
            rejected: 0,
            failure: None,
        }
    }

    /// Runs the batch to its end. `input` streams further tasks, which [`TaskSet::streamed`] takes; `controls` receives
    /// requests of the user. `observe` is called in the loop of the batch, so it must not block.
    ///
    /// Dropping the future kills all running attempts; their tasks run again when the batch is resumed.
    pub async fn run(
        mut self,
        mut input: Option<mpsc::Receiver<TaskLine>>,
        mut controls: mpsc::Receiver<ControlMessage>,
        observe: &mut (dyn FnMut(&Self, BatchEvent<'_>) + Send),
    ) -> Summary {
        if input.is_none() {
            self.scheduler.close_input();
        }
        let mut ledger = self.writer.state();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut has_controls = true;
        let runner = Arc::clone(&self.runner);
        // Before the first task, so that none starts on a disk without room.
        self.look(observe);
        while let Next::Wait { until } = self.start_what_may(observe) {
            let timer = async {
                match until {
                    Some(until) => tokio::time::sleep_until(self.began + until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(joined) = self.attempts.join_next_with_id(), if !self.attempts.is_empty() => {
                    self.ended(joined, observe);
                }
                control = controls.recv(), if has_controls => match control {
                    Some(ControlMessage { request, answer }) => {
                        // The client has disconnected and needs no answer.
                        answer.send(self.control(&request)).ok();
                    }
                    None => has_controls = false,
                },
                line = next_line(&mut input), if input.is_some() => {
                    if let Some(line) = line {
                        self.take_line(&line, observe);
                    } else {
                        input = None;
                        self.scheduler.close_input();
                    }
                }
                Ok(()) = ledger.changed() => {
                    let is_full = *ledger.borrow_and_update() == LedgerState::Full;
                    self.hold(Hold::ResultsFull, is_full, observe);
                }
                limit = runner.rate_limit() => self.take_rate_limit(&limit),
                _ = tick.tick() => self.look(observe),
                () = timer => {}
            }
        }
        self.runner.shut_down().await;
        Summary {
            status: self.scheduler.status(),
            elapsed: self.began.elapsed(),
            rejected: self.rejected,
            error: self.failure,
        }
    }

    /// Returns the figures.
    #[must_use]
    pub fn status(&self) -> Status {
        self.scheduler.status()
    }

    /// Returns the running attempts, the oldest first.
    #[must_use]
    pub fn running(&self) -> Vec<Running> {
        let mut running: Vec<_> = self.running.values().collect();
        running.sort_by_key(|live| live.since);
        let shown = |live: &Live| Running {
            id: live.id.clone(),
            attempt: live.attempt,
            elapsed: live.since.elapsed(),
            activity: self.runner.activity(&live.id),
        };
        running.into_iter().map(shown).collect()
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Starts all attempts that may start. Returns the next step: wait or end.
    fn start_what_may(&mut self, observe: &mut (dyn FnMut(&Self, BatchEvent<'_>) + Send)) -> Next {
        loop {
            match self.scheduler.next(self.now()) {
                Next::Start { task, attempt } => self.start(task, attempt, observe),
                next => return next,
            }
        }
    }

    fn start(&mut self, task: usize, number: u32, observe: &mut (dyn FnMut(&Self, BatchEvent<'_>) + Send)) {
        let (set, place) = self.places[task];
        let loaded = match self.sets[usize::from(set)].load_task(place as usize) {
            Ok(loaded) => loaded,
            Err(problem) => {
                let ended = Ended { outcome: Outcome::Ended(Standing::Interrupted), cost: 0.0, tokens: 0 };
                self.scheduler.stop(StopReason::Failed);
                self.scheduler.finished(self.now(), task, ended);
                self.failure.get_or_insert(problem.into());
                return;
            }
        };
        let id = loaded.task.id.clone();
        let attempt = Attempt {
            task: loaded.task,
            base_id: loaded.base_id,
            hash: loaded.hash,
            number,
            shard: self.options.shard,
        };
        let (stop, stopped) = watch::channel(Stop::No);
        let runner = Arc::clone(&self.runner);
        let writer = self.writer.clone();
        let handle = self.attempts.spawn(async move {
            let end = runner.run(attempt, stopped).await;
            // The task counts as done when its line is on the disk.
            let written = writer.append(to_line(&end.result)).await;
            (task, written.map(|()| end))
        });
        self.owners.insert(handle.id(), task);
        let live = Live { id: id.clone(), attempt: number, since: Instant::now(), stop };
        self.running.insert(task, live);
        observe(self, BatchEvent::Started { id: &id, attempt: number });
    }

    fn ended(
        &mut self,
        joined: Result<(tokio::task::Id, (usize, std::io::Result<AttemptEnd>)), JoinError>,
        observe: &mut (dyn FnMut(&Self, BatchEvent<'_>) + Send),
    ) {
        let now = self.now();
        let lost = Ended { outcome: Outcome::Ended(Standing::Infrastructure), cost: 0.0, tokens: 0 };
        let (task, end) = match joined {
            Ok((job, ended)) => {
                self.owners.remove(&job);
                ended
            }
            Err(error) => {
                // The attempt panicked, which the panic hook has reported.
                let Some(task) = self.owners.remove(&error.id()) else { return };
                self.running.remove(&task);
                self.scheduler.finished(now, task, lost);
                return;
            }
        };
        self.running.remove(&task);
        let end = match end {
            Ok(end) => end,
            Err(error) => {
                self.scheduler.stop(StopReason::Failed);
                self.scheduler.finished(now, task, Ended { outcome: Outcome::Ended(Standing::Interrupted), ..lost });
                self.failure.get_or_insert(BatchFailure::Results(error));
                return;
            }
        };
        let (cost, tokens) = spent(&end.result);
        let after = self.scheduler.finished(now, task, Ended { outcome: end.outcome, cost, tokens });
        let standing = end.result.standing();
        let retry_in = match after {
            After::Done(_) => None,
            After::Retry { at } => Some(at.saturating_sub(now)),
        };
        observe(self, BatchEvent::Ended { result: &end.result, standing, retry_in });
    }

    /// Pauses the sources of a rate limit, in the scheduler and in the gateway.
    fn take_rate_limit(&mut self, limit: &RateLimit) {
        let now = self.now();
        for name in &limit.sources {
            let Some(source) = self.scheduler.known_source(name) else { continue };
            self.scheduler.rate_limited(now, source, limit.retry_after);
            if let Some(until) = self.scheduler.paused_until(source, now) {
                self.runner.pause(name, until.saturating_sub(now));
            }
        }
    }

    /// Checks the limits of the batch.
    fn look(&mut self, observe: &mut (dyn FnMut(&Self, BatchEvent<'_>) + Send)) {
        if let Some(min) = self.options.min_free
            && let Some(free) = free_bytes(&self.options.results_folder)
        {
            self.hold(Hold::Disk, free < min, observe);
        }
        if let Some(max) = self.options.max_memory
            && let Some(used) = memory_in_use()
        {
            #[expect(clippy::cast_precision_loss, reason = "a threshold")]
            let is_released = (used as f64) < max as f64 * MEMORY_RELEASE;
            // At least one task must be able to run; otherwise the batch would never end.
            if used > max && !self.running.is_empty() {
                self.hold(Hold::Memory, true, observe);
            } else if is_released || self.running.is_empty() {
                self.hold(Hold::Memory, false, observe);
            }
        }
        if self.options.max_time.is_some_and(|max| self.now() >= max) && self.scheduler.stop_reason().is_none() {
            self.scheduler.stop(StopReason::Deadline);
            self.stop_all(Stop::Interrupt);
        }
        observe(self, BatchEvent::Tick);
    }

    fn hold(&mut self, hold: Hold, is_set: bool, observe: &mut (dyn FnMut(&Self, BatchEvent<'_>) + Send)) {
        if self.scheduler.hold(hold, is_set) {
            observe(self, BatchEvent::Hold { hold, is_set });
        }
    }

    fn stop_all(&self, stop: Stop) {
        for live in self.running.values() {
            live.stop.send_if_modified(|known| {
                let is_more = stop > *known;
                *known = stop.max(*known);
                is_more
            });
        }
    }

    fn take_line(&mut self, input: &TaskLine, observe: &mut (dyn FnMut(&Self, BatchEvent<'_>) + Send)) {
        if input.line.trim_ascii().is_empty() {
            return;
        }
        let added = self.sets[0].push_line(&input.line, input.number).map_err(|error| error.to_string());
        let added = added.and_then(|mut tasks| tasks.try_for_each(|task| self.add(0, task)));
        if let Err(problem) = added {
            self.rejected += 1;
            observe(self, BatchEvent::BadTask { problem });
        }
    }

    fn add(&mut self, set: usize, task: usize) -> Result<(), String> {
        let added = self.planner.add(&mut self.scheduler, &self.sets[set], task);
        added.map_err(|problem| problem.to_string())?;
        self.places.push((u16::try_from(set).unwrap_or(u16::MAX), u32::try_from(task).unwrap_or(u32::MAX)));
        Ok(())
    }

    fn find(&self, id: &str) -> Option<usize> {
        let hash = IdHash::of(id);
        self.places.iter().position(|(set, task)| self.sets[usize::from(*set)].id_hash(*task as usize) == hash)
    }

    fn control(&mut self, request: &ControlRequest) -> Value {
        let unknown = |id: &str| json!({"error": format!("no task has the id `{id}`")});
        match request {
            ControlRequest::Status => {}
            ControlRequest::Pause => self.scheduler.pause(),
            ControlRequest::Resume => self.scheduler.resume(),
            ControlRequest::Jobs { jobs } if *jobs == 0 => return json!({"error": "at least one task must run"}),
            ControlRequest::Jobs { jobs } => self.scheduler.set_jobs(*jobs),
            ControlRequest::Cancel { id } => {
                let Some(task) = self.find(id) else { return unknown(id) };
                match self.scheduler.cancel(task) {
                    Cancelled::Removed => {}
                    Cancelled::Interrupt => {
                        if let Some(live) = self.running.get(&task) {
                            live.stop.send_replace(Stop::Interrupt);
                        }
                    }
                    Cancelled::Over => return json!({"error": format!("the task `{id}` has ended")}),
                }
            }
            ControlRequest::Requeue { id } => {
                let Some(task) = self.find(id) else { return unknown(id) };
                if !self.scheduler.requeue(task, self.running.contains_key(&task)) {
                    return json!({"error": format!("the task `{id}` has not ended")});
                }
            }
            // A pipe would block the batch.
            ControlRequest::Add { file } if file.exists() && !file.is_file() && !file.is_dir() => {
                return json!({"error": format!("{} is neither a file nor a directory", file.display())});
            }
            ControlRequest::Add { file } => match TaskSet::load(file, &self.options.load) {
                Ok(tasks) => return self.add_set(tasks),
                Err(error) => return json!({"error": error.to_string()}),
            },
            ControlRequest::Signal => self.signal(),
        }
        self.figures()
    }

    fn signal(&mut self) {
        match self.scheduler.signal() {
            Escalation::Drain => {}
            Escalation::Interrupt => self.stop_all(Stop::Interrupt),
            Escalation::Kill => {
                self.stop_all(Stop::Kill);
                self.writer.give_up();
            }
        }
    }

    fn add_set(&mut self, tasks: TaskSet) -> Value {
        let known: std::collections::HashSet<_> =
            self.places.iter().map(|(set, task)| self.sets[usize::from(*set)].id_hash(*task as usize)).collect();
        if (0..tasks.len()).any(|task| known.contains(&tasks.id_hash(task))) {
            return json!({"error": "the file has a task whose id is already in the batch"});
        }
        if self.sets.len() > usize::from(u16::MAX) {
            return json!({"error": "too many files were added"});
        }
        let set = self.sets.len();
        let count = tasks.len();
        self.sets.push(tasks);
        for task in 0..count {
            if let Err(problem) = self.add(set, task) {
                return json!({"error": format!("{problem}; the {task} tasks before it were added")});
            }
        }
        self.figures()
    }

    fn figures(&self) -> Value {
        let Status { tasks, running, delayed, not_run, jobs, is_paused, holds, stopped, stopped_sources, totals } =
            self.scheduler.status();
        let shown = |running: Running| {
            json!({
                "id": running.id,
                "attempt": running.attempt,
                "elapsed_ms": u64::try_from(running.elapsed.as_millis()).unwrap_or(u64::MAX),
                "step": running.activity.as_ref().map(|activity| activity.step.clone()),
                "cost": running.activity.map(|activity| activity.cost),
            })
        };
        let figures = json!({
            "tasks": tasks,
            "running": running,
            "delayed": delayed,
            "not_run": not_run,
            "jobs": jobs,
            "paused": is_paused,
            "holds": holds,
            "stopped": stopped,
            "stopped_sources": stopped_sources,
            "running_attempts": self.running().into_iter().map(shown).collect::<Vec<_>>(),
        });
        totals.merged_into(figures)
    }

    /// Returns whether a task is finished.
    #[must_use]
    pub fn is_over(&self, id: &str) -> bool {
        self.find(id).is_some_and(|task| matches!(self.scheduler.state(task), State::Done(_) | State::Cancelled))
    }
}

async fn next_line(input: &mut Option<mpsc::Receiver<TaskLine>>) -> Option<TaskLine> {
    match input {
        Some(input) => input.recv().await,
        None => std::future::pending().await,
    }
}

/// Returns the cost and the tokens of all turns of an attempt. opencode and the gateway count both; the higher figure counts.
fn spent(result: &TaskResult) -> (f64, u64) {
    let report = &result.report;
    let cost = report.earlier_turns.iter().map(|turn| turn.cost).sum::<f64>() + report.cost;
    let tokens = report.earlier_turns.iter().map(|turn| turn.usage.total()).sum::<u64>() + report.usage.total();
    let traffic = report.model_traffic.as_ref();
    let seen_cost = traffic.and_then(|traffic| traffic.cost_usd).unwrap_or(0.0);
    let seen_tokens = traffic.map_or(0, |traffic| traffic.input_tokens.saturating_add(traffic.output_tokens));
    (cost.max(seen_cost), tokens.max(seen_tokens))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
