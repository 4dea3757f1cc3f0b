//! Determines which tasks of a batch must run, given the existing results.

use crate::ledger::{History, Standing};
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
    /// The tasks that failed, or whose check failed.
    Failed,
    /// All.
    All,
    /// Those of these ids.
    Ids(HashSet<IdHash>),
}

impl Redo {
    fn has(&self, id: &IdHash, standing: Standing) -> bool {
        match self {
            Self::No => false,
            Self::Failed => standing != Standing::Passed,
            Self::All => true,
            Self::Ids(ids) => ids.contains(id),
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
    /// No task has the id.
    #[error("no selected task has the id `{id}`")]
    UnknownId {
        /// The unknown id.
        id: String,
    },
}

impl Plan {
    /// Plans a batch.
    ///
    /// # Errors
    ///
    /// If the file has results and resuming was not requested, or a task cannot be read.
    pub fn new(
        tasks: &TaskSet,
        history: &History,
        settings: Settings,
        resumes: bool,
        redo: &Redo,
    ) -> Result<Self, PlanError> {
        if history.lines > 0 && !resumes {
            return Err(PlanError::HasResults { lines: history.lines });
        }
        let mut plan =
            Self { scheduler: Scheduler::new(settings), to_run: 0, again: 0, done: 0, changed: Vec::new(), redone: 0 };
        plan.scheduler.spend(history.cost, history.tokens);
        for task in 0..tasks.len() {
            plan.add(tasks, task, history, redo)?;
        }
        Ok(plan)
    }

    fn add(&mut self, tasks: &TaskSet, task: usize, history: &History, redo: &Redo) -> Result<(), Problem> {
        let id = tasks.id_hash(task);
        let source = self.scheduler.source(&tasks.source(task).unwrap_or_default());
        let priority = tasks.priority(task);
        let Some(past) = history.of(&id) else {
            self.to_run += 1;
            self.scheduler.add(source, priority, 0);
            return Ok(());
        };
        if past.standing.is_done() {
            let is_redone = redo.has(&id, past.standing);
            let loaded = if is_redone { None } else { Some(tasks.load_task(task)?) };
            match loaded {
                Some(loaded) if past.is_of_another(&loaded.hash) => self.changed.push(loaded.task.id),
                Some(_) => {
                    self.done += 1;
                    self.scheduler.add_done(source, priority, past.standing, past.attempt);
                    return Ok(());
                }
                None => self.redone += 1,
            }
        } else {
            self.again += 1;
        }
        self.to_run += 1;
        self.scheduler.add(source, priority, past.attempt);
        Ok(())
    }
}
