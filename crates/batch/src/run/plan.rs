//! Determines which tasks of a batch must run, given the existing results.

use crate::ledger::{History, Past, Standing};
use crate::scheduler::{Scheduler, Settings};
use crate::task::IdHash;
use crate::tasks_file::{Problem, TaskSet};
use std::collections::HashSet;

/// The finished tasks that run again.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Redo {
    /// No task.
    #[default]
    No,
    /// All.
    All,
    /// Those of these ids.
    Ids(HashSet<IdHash>),
    /// Those that failed, or whose check failed, and those of these ids.
    FailedAnd(HashSet<IdHash>),
}

impl Redo {
    fn has(&self, id: &IdHash, standing: Standing) -> bool {
        match self {
            Self::No => false,
            Self::All => true,
            Self::Ids(ids) => ids.contains(id),
            Self::FailedAnd(ids) => standing != Standing::Passed || ids.contains(id),
        }
    }
}

/// The tasks of a batch that will run.
#[derive(Debug)]
#[non_exhaustive]
pub struct Plan {
    /// The scheduler with all tasks.
    pub scheduler: Scheduler,
    /// The number of tasks that will run.
    pub to_run: u64,
    /// The number of those whose last attempt does not count, so that they are retried.
    pub again: u64,
    /// The number of tasks that are done and will not run.
    pub done: u64,
    /// The ids of finished tasks that run again because they were changed.
    pub changed: Vec<String>,
    /// The number of finished tasks that run again on request.
    pub redone: u64,
    /// Also decides about tasks that are added to the running batch.
    pub(super) planner: Planner,
}

/// Decides which tasks run, given the results so far.
#[derive(Debug, Default)]
pub(super) struct Planner {
    history: History,
    redo: Redo,
}

/// The decision about a task.
pub(super) enum TaskDecision {
    New,
    Done(Past),
    Again(Past, RerunReason),
}

pub(super) enum RerunReason {
    Failed,
    Changed(String),
    Redone,
}

impl Planner {
    /// Adds a task to a scheduler: as done if it has a result that counts.
    ///
    /// # Errors
    ///
    /// If the task cannot be read again.
    pub(super) fn add(&self, scheduler: &mut Scheduler, tasks: &TaskSet, task: usize) -> Result<TaskDecision, Problem> {
        let source = scheduler.source(&tasks.source(task).unwrap_or_default());
        let priority = tasks.priority(task);
        let decision = self.decide(tasks, task)?;
        match &decision {
            TaskDecision::New => scheduler.add(source, priority, 0),
            TaskDecision::Done(past) => scheduler.add_done(source, priority, past.standing, past.attempt),
            TaskDecision::Again(past, _) => scheduler.add(source, priority, past.attempt),
        };
        Ok(decision)
    }

    fn decide(&self, tasks: &TaskSet, task: usize) -> Result<TaskDecision, Problem> {
        let id = tasks.id_hash(task);
        let Some(past) = self.history.of(&id).copied() else { return Ok(TaskDecision::New) };
        if !past.standing.is_done() {
            return Ok(TaskDecision::Again(past, RerunReason::Failed));
        }
        if self.redo.has(&id, past.standing) {
            return Ok(TaskDecision::Again(past, RerunReason::Redone));
        }
        let loaded = tasks.load_task(task)?;
        let is_changed = past.is_of_another(&loaded.hash);
        Ok(if is_changed {
            TaskDecision::Again(past, RerunReason::Changed(loaded.task.id))
        } else {
            TaskDecision::Done(past)
        })
    }
}

/// A batch that cannot be planned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The file has results, but resuming was not requested.
    #[error("the file already has {lines} results")]
    HasResults {
        /// The number of results.
        lines: u64,
    },
    /// The tasks file can no longer be read.
    #[error(transparent)]
    Tasks(#[from] Problem),
}

impl Plan {
    /// Plans a batch.
    ///
    /// # Errors
    ///
    /// If the file has results and resuming was not requested, or a task cannot be read.
    pub fn new(
        tasks: &TaskSet,
        history: History,
        settings: Settings,
        resumes: bool,
        redo: Redo,
    ) -> Result<Self, PlanError> {
        if history.lines > 0 && !resumes {
            return Err(PlanError::HasResults { lines: history.lines });
        }
        let mut scheduler = Scheduler::new(settings);
        scheduler.spend(history.cost, history.tokens);
        let planner = Planner { history, redo };
        let mut plan = Self { scheduler, to_run: 0, again: 0, done: 0, changed: Vec::new(), redone: 0, planner };
        for task in 0..tasks.len() {
            let decision = plan.planner.add(&mut plan.scheduler, tasks, task)?;
            plan.count(decision);
        }
        Ok(plan)
    }

    fn count(&mut self, decision: TaskDecision) {
        self.to_run += u64::from(!matches!(decision, TaskDecision::Done(_)));
        match decision {
            TaskDecision::New => {}
            TaskDecision::Done(_) => self.done += 1,
            TaskDecision::Again(_, RerunReason::Failed) => self.again += 1,
            TaskDecision::Again(_, RerunReason::Redone) => self.redone += 1,
            TaskDecision::Again(_, RerunReason::Changed(id)) => self.changed.push(id),
        }
    }
}
