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
    /// The tasks that failed, or whose check failed.
    Failed,
    /// All.
    All,
    /// Those of these ids.
    Ids(HashSet<IdHash>),
    /// Those of these ids, and those that failed.
    FailedAnd(HashSet<IdHash>),
}

impl Redo {
    fn has(&self, id: &IdHash, standing: Standing) -> bool {
        match self {
            Self::No => false,
            Self::Failed => standing != Standing::Passed,
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
    /// The results so far and the finished tasks that run again, for tasks that are added to the running batch.
    pub(super) late: Late,
}

/// Decides about tasks that arrive while a batch runs.
#[derive(Debug, Default)]
pub(super) struct Late {
    history: History,
    redo: Redo,
}

/// The decision about a task.
enum Fate {
    New,
    Done(Past),
    Again(Past, Why),
}

enum Why {
    Failed,
    Changed(String),
    Redone,
}

impl Late {
    /// Adds a task to a scheduler: as done if it has a result that counts.
    ///
    /// # Errors
    ///
    /// If the task cannot be read again.
    pub(super) fn add(&self, scheduler: &mut Scheduler, tasks: &TaskSet, task: usize) -> Result<(), Problem> {
        add(scheduler, tasks, task, &self.history, &self.redo).map(drop)
    }
}

fn add(
    scheduler: &mut Scheduler,
    tasks: &TaskSet,
    task: usize,
    history: &History,
    redo: &Redo,
) -> Result<Fate, Problem> {
    let source = scheduler.source(&tasks.source(task).unwrap_or_default());
    let priority = tasks.priority(task);
    let fate = decide(tasks, task, history, redo)?;
    match &fate {
        Fate::New => scheduler.add(source, priority, 0),
        Fate::Done(past) => scheduler.add_done(source, priority, past.standing, past.attempt),
        Fate::Again(past, _) => scheduler.add(source, priority, past.attempt),
    };
    Ok(fate)
}

fn decide(tasks: &TaskSet, task: usize, history: &History, redo: &Redo) -> Result<Fate, Problem> {
    let id = tasks.id_hash(task);
    let Some(past) = history.of(&id).copied() else { return Ok(Fate::New) };
    if !past.standing.is_done() {
        return Ok(Fate::Again(past, Why::Failed));
    }
    if redo.has(&id, past.standing) {
        return Ok(Fate::Again(past, Why::Redone));
    }
    let loaded = tasks.load_task(task)?;
    let is_changed = past.is_of_another(&loaded.hash);
    Ok(if is_changed { Fate::Again(past, Why::Changed(loaded.task.id)) } else { Fate::Done(past) })
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
        let late = Late { history, redo };
        let mut plan = Self { scheduler, to_run: 0, again: 0, done: 0, changed: Vec::new(), redone: 0, late };
        for task in 0..tasks.len() {
            let Late { history, redo } = &plan.late;
            let fate = add(&mut plan.scheduler, tasks, task, history, redo)?;
            plan.count(fate);
        }
        Ok(plan)
    }

    fn count(&mut self, fate: Fate) {
        self.to_run += u64::from(!matches!(fate, Fate::Done(_)));
        match fate {
            Fate::New => {}
            Fate::Done(_) => self.done += 1,
            Fate::Again(_, Why::Failed) => self.again += 1,
            Fate::Again(_, Why::Redone) => self.redone += 1,
            Fate::Again(_, Why::Changed(id)) => self.changed.push(id),
        }
    }
}
