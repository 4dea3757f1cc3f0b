//! Builds a runner: locates opencode, creates the task's directory and the executor.

use super::RunnerBuilder;
use crate::defaults::Defaults;
use crate::driver::{Driver, Transport};
use crate::host::Host;
use crate::journal::Beginning;
use crate::launch_options::Reach;
use crate::previous::ModelHistory;
use crate::runner::AtEnd;
use crate::task_place::Resolved;
use crate::{BuildError, Runner, RunnerError};
use opencode_run_core::{Executor, FailureKind, ModelChoice, ModelName, RunError, SessionId, StartError, Task};
use opencode_run_process::{SessionInfo, SessionModel, TaskDir, TaskDirError, TaskName};
use std::path::Path;
use std::sync::Arc;

impl RunnerBuilder {
    /// Locates opencode and creates the task's directory.
    ///
    /// If a session is continued, this asks opencode for its directory, which starts the server for the turns.
    ///
    /// # Errors
    ///
    /// If no usable opencode is found, or a setting cannot be used. No task directory is left behind then.
    pub async fn build(mut self) -> Result<Runner, BuildError> {
        let place = self.check_conflicts(false)?;
        self.check_names()?;
        let (host, owns_host) = if let Some(host) = self.host.take() {
            (host, false)
        } else {
            (Host::reach(self.reach(), false).await?, true)
        };
        if self.ephemeral && host.transport() == Some(Transport::Run) {
            return Err(wrong("only a server can delete a session, not `opencode run`").into());
        }
        Box::pin(self.assemble(place, host, owns_host)).await
    }

    fn reach(&mut self) -> Reach {
        let launch = std::mem::take(&mut self.launch);
        match self.attach.take() {
            Some(url) => Reach::Attach { url, environment: launch.environment, supervisor: launch.supervisor },
            None => Reach::Spawn(launch),
        }
    }

    /// Builds a runner with an existing executor, such as a mock, and creates the task's directory.
    ///
    /// A given session is not checked: whether it belongs to the directory is up to the executor.
    ///
    /// # Errors
    ///
    /// If a setting cannot be used, or concerns opencode or how it is started and reached, which is up to the
    /// executor. No task directory is left behind then.
    pub async fn build_with(self, executor: Arc<dyn Executor>) -> Result<Runner, BuildError> {
        let place = self.check_conflicts(true)?;
        self.check_names()?;
        let host = Host::with_supervised_executor(executor, self.launch.supervisor.clone());
        self.assemble(place, host, true).await
    }

    /// Checks the names, even if no directory is named after the task.
    fn check_names(&self) -> Result<(), BuildError> {
        self.place.name().parse::<TaskName>().map_err(TaskDirError::from)?;
        if let Some(text) = &self.model {
            text.parse::<ModelName>()?;
        }
        Ok(())
    }

    async fn assemble(mut self, place: Resolved, host: Host, owns_host: bool) -> Result<Runner, BuildError> {
        let mut options = std::mem::take(&mut self.options);
        if let Some(text) = self.model.take() {
            options.model = Some(ModelChoice::Named(text.parse()?));
        }
        let mut defaults = Defaults { options, sources: std::mem::take(&mut self.sources), keys: host.keys() };
        let is_isolated = host.is_isolated();
        let name = self.place.name();
        let located = locate_task(&place, name, host.driver(), &defaults).await?;
        let Located { directory, session_model } = located;
        let task = Task::new(name, directory.path()).isolated(is_isolated);
        let journals = self.journals.take();
        let resumes = matches!(place, Resolved::Resume { .. });
        // Blocking: the file system of the journals may be slow.
        let begin = move || match place {
            Resolved::Resume { session, .. } => {
                Beginning::resume(journals.as_deref(), &task.directory, session.as_ref())
            }
            Resolved::Session { session, .. } => Beginning::new(journals.as_deref(), task, Some(session)),
            Resolved::New { .. } | Resolved::Existing(_) => Beginning::new(journals.as_deref(), task, None),
        };
        let beginning = tokio::task::spawn_blocking(begin)
            .await
            .map_err(|error| StartError::new(FailureKind::Io, error.to_string()))??;
        if resumes {
            defaults.adopt_options_of(beginning.conversation.turns.last().map(AsRef::as_ref));
        }
        let history = ModelHistory::new(&beginning.conversation.turns, session_model.as_ref());
        let end = AtEnd { owns_host, ephemeral: self.ephemeral, cleanup: self.cleanup };
        Ok(Runner::new(host, end, beginning, directory, defaults, history))
    }
}

/// A task's directory, and the model of the session's last turn if opencode was asked for the session.
struct Located {
    directory: TaskDir,
    session_model: Option<SessionModel>,
}

/// Creates or opens the directory of a task.
async fn locate_task(
    place: &Resolved,
    name: &str,
    driver: &Driver,
    defaults: &Defaults,
) -> Result<Located, BuildError> {
    let directory = match place {
        Resolved::New { workspace } => TaskDir::create(workspace, name).await?,
        Resolved::Existing(directory) | Resolved::Resume { directory, .. } => TaskDir::open(directory).await?,
        Resolved::Session { session, expected } => {
            return locate_session(session, expected.as_deref(), name, driver, defaults).await;
        }
    };
    Ok(Located { directory, session_model: None })
}

/// Opens the directory of a session.
async fn locate_session(
    session: &SessionId,
    expected: Option<&Path>,
    name: &str,
    driver: &Driver,
    defaults: &Defaults,
) -> Result<Located, BuildError> {
    // If no model is available, the turn reports it.
    let model = match defaults.model_of(None, None, None, defaults.options.limits().total).await {
        // The time limit of the turn was reached.
        Err(RunnerError::Run(RunError::Start(error))) => return Err(error.into()),
        model => model.ok().flatten(),
    };
    let info =
        driver.session_info(session, &defaults.sources, model.as_ref(), defaults.options.agent.as_deref()).await?;
    let Some(SessionInfo { directory, model, .. }) = info else {
        // An executor provided by the caller handles the session itself.
        let directory = match expected {
            Some(directory) => TaskDir::open(directory).await?,
            None => TaskDir::create(Path::new("."), name).await?,
        };
        return Ok(Located { directory, session_model: None });
    };
    let found = match TaskDir::open(&directory).await {
        Err(_) if !directory.exists() => {
            return Err(BuildError::SessionDirectoryGone { session: session.clone(), directory });
        }
        found => found?,
    };
    if let Some(asked) = expected
        && TaskDir::open(asked).await? != found
    {
        return Err(BuildError::SessionElsewhere { session: session.clone(), directory, asked: asked.to_owned() });
    }
    Ok(Located { directory: found, session_model: model })
}

fn wrong(message: &str) -> StartError {
    StartError::new(FailureKind::Usage, message)
}
