//! Attempts on one opencode of this machine.

use super::attempt::Activity;
use super::folder::BatchFolder;
use super::throttles::Throttles;
use crate::workspace::{WorkspaceError, WorkspaceOptions, Workspaces};
use opencode_runner::{Host, ModelSource, Runner, TurnOptions};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::OnceCell;

/// The directories of tasks that are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::exhaustive_enums, reason = "all, none, or those of failed tasks")]
pub enum Keep {
    /// The clones of tasks that did not pass, and directories without a repository.
    #[default]
    Failed,
    /// All.
    All,
    /// None.
    None,
}

/// The settings of the executor of attempts.
#[derive(Debug)]
#[non_exhaustive]
pub struct HostRunnerOptions {
    /// The model sources.
    pub sources: ModelSource,
    /// The options of all turns; the options of a task override them.
    pub turn: TurnOptions,
    /// The directories of tasks that are kept.
    pub keep: Keep,
    /// The directory of the mirrors of repositories.
    pub workspaces: WorkspaceOptions,
    /// The time limit on the start of opencode for a turn. The turn's own limits count from then on.
    pub start_timeout: Duration,
    /// The time limit on the `setup` command.
    pub setup_timeout: Duration,
    /// The limit on `check`.
    pub check_timeout: Duration,
    /// The directory beside the results.
    pub folder: BatchFolder,
    /// The throttles of the host's gateway: they report rate limits to the batch, and pause sources.
    pub throttles: Throttles,
    /// Deletes the session of each task from opencode's history.
    pub deletes_sessions: bool,
}

impl HostRunnerOptions {
    /// Sets what has no default.
    #[must_use]
    pub fn new(folder: BatchFolder, workspaces: WorkspaceOptions) -> Self {
        Self {
            sources: ModelSource::new(),
            turn: TurnOptions::default(),
            keep: Keep::default(),
            workspaces,
            start_timeout: Duration::from_mins(5),
            setup_timeout: Duration::from_mins(30),
            check_timeout: Duration::from_mins(30),
            folder,
            throttles: Throttles::default(),
            deletes_sessions: false,
        }
    }
}

/// Executes attempts on a [`Host`]: its servers, gateway and keys are shared by all tasks.
#[derive(Debug)]
pub struct HostRunner {
    pub(super) host: Host,
    pub(super) options: HostRunnerOptions,
    pub(super) worker: String,
    workspaces: OnceCell<Result<Workspaces, Arc<WorkspaceError>>>,
    made_of: Mutex<Option<WorkspaceOptions>>,
    running: Mutex<HashMap<String, Live>>,
}

/// A running attempt.
#[derive(Debug, Clone)]
struct Live {
    step: &'static str,
    runner: Option<Runner>,
}

impl HostRunner {
    /// Executes attempts on a host. Starts nothing before the first attempt.
    #[must_use]
    pub fn new(host: Host, mut options: HostRunnerOptions) -> Self {
        let placeholder = WorkspaceOptions::new(PathBuf::new(), PathBuf::new());
        let made_of = std::mem::replace(&mut options.workspaces, placeholder);
        Self {
            host,
            options,
            worker: worker_name(),
            workspaces: OnceCell::new(),
            made_of: Mutex::new(Some(made_of)),
            running: Mutex::default(),
        }
    }

    /// Opens the workspaces, which removes leftovers of a killed batch. Called before the first task that needs them.
    ///
    /// # Errors
    ///
    /// If git is missing, or another batch uses the directory.
    pub async fn open_workspaces(&self) -> Result<&Workspaces, Arc<WorkspaceError>> {
        let opening = async {
            let options = self.made_of.lock().unwrap_or_else(PoisonError::into_inner).take();
            match options {
                Some(options) => Workspaces::open(options).await.map_err(Arc::new),
                None => Err(Arc::new(WorkspaceError::NoGit)),
            }
        };
        self.workspaces.get_or_init(|| opening).await.as_ref().map_err(Arc::clone)
    }

    pub(super) fn note(&self, id: &str, step: &'static str, runner: Option<&Runner>) {
        let live = Live { step, runner: runner.cloned() };
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), live);
    }

    pub(super) fn forget(&self, id: &str) {
        let live = self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        drop(live);
    }

    pub(super) fn activity_of(&self, id: &str) -> Option<Activity> {
        let live = self.running.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()?;
        let Some(runner) = live.runner else { return Some(Activity::new(live.step, 0.0)) };
        let conversation = runner.conversation();
        let cost = conversation.turns.iter().map(|turn| turn.cost).sum();
        let tool = conversation.turns.last().and_then(|turn| {
            turn.entries.iter().rev().find_map(|entry| match &entry.content {
                opencode_runner::EntryContent::Tool(tool) => Some(tool.tool.clone()),
                _ => None,
            })
        });
        Some(Activity::new(tool.unwrap_or_else(|| live.step.to_owned()), cost))
    }
}

/// Returns the name of this process, as `HOST:PID`.
fn worker_name() -> String {
    #[cfg(unix)]
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    #[cfg(not(unix))]
    let host = std::env::var("COMPUTERNAME").unwrap_or_default();
    format!("{host}:{}", std::process::id())
}
