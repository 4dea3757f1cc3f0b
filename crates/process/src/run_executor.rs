//! The executor that starts `opencode run` for each turn.

use crate::Launch;
use crate::background::Background;
use crate::backoff;
use crate::launch_key::{LaunchGuard, LaunchKey, write_private};
use crate::model_route::RouteLease;
use crate::protocol::{self, RunPlan, RunProtocol};
use crate::redaction::Redaction;
use crate::request::{check, err_unmetered, err_wrong_directory};
use crate::run_process::RunCommand;
use crate::run_turn::RunTurn;
use crate::session::{SessionLookupError, session_info};
use crate::session_info::SessionInfo;
use async_trait::async_trait;
use opencode_run_containment::blocking;
use opencode_run_core::{
    Executor, FailureKind, PermissionPolicy, Remedy, SessionId, StartError, StartedTurn, TurnRequest,
};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use tempfile::TempPath;
use tokio::runtime::Handle;
use tokio::time::Instant;
use tracing::Instrument;

/// The number of signals that may wait for the consumer. Beyond that opencode blocks on its full pipe.
const SIGNAL_CAPACITY: usize = 64;
/// The maximum number of restarts because the database is locked.
const MAX_LOCKED_RESTARTS: usize = 5;

/// Runs each turn as a process of its own, `opencode run`.
///
/// - The message is written to stdin verbatim, and stdin is then closed.
/// - opencode works in the task's directory, regardless of the caller's.
/// - A start that stalls, or finds the database locked by another opencode, is retried: the turn has not begun then.
/// - The system prompt is written to a private temporary file, which is deleted at the end of the turn.
/// - The user's own configuration of opencode applies; the turn's settings are merged over it.
/// - The turns run on the executor's own thread and runtime, so they continue after the caller's runtime was dropped. A
///   [`Recorder`](opencode_run_core::Recorder) runs on that thread, too: what blocks there blocks all turns.
/// - Dropping the last handle ends the turns: it waits for those that are being ended, and kills others after ten
///   seconds.
/// - However the turn ends, even if it is dropped, no process of it is left (on Linux; elsewhere none of opencode's
///   process group). Untagged orphans are found only with a [`Supervisor`](crate::Supervisor).
///
/// Limitations of `opencode run`: text appears when a part of it is finished, not as it is written; an interrupt loses
/// the unfinished part; a permission request is refused and ends the turn, unless all are allowed.
#[derive(Debug, Clone)]
pub struct RunExecutor {
    launch: Launch,
    /// The runtime of the turns, which starts with the first one.
    background: Arc<OnceLock<Arc<Background>>>,
}

impl RunExecutor {
    /// Returns an executor that starts opencode with these settings.
    #[must_use]
    pub fn new(launch: Launch) -> Self {
        Self { launch, background: Arc::default() }
    }

    /// Returns the directory that a session belongs to. Starts opencode once.
    ///
    /// # Errors
    ///
    /// If there is no such session, or opencode does not answer.
    pub async fn session_directory(&self, session: &SessionId) -> Result<PathBuf, SessionLookupError> {
        self.session_info(session).await.map(|info| info.directory)
    }

    /// Returns opencode's record of a session. Starts opencode once.
    ///
    /// # Errors
    ///
    /// If there is no such session, or opencode does not answer.
    pub async fn session_info(&self, session: &SessionId) -> Result<SessionInfo, SessionLookupError> {
        session_info(&self.launch, session).await
    }

    /// Returns the runtime of the turns.
    fn background(&self) -> Result<Arc<Background>, StartError> {
        match self.background.get() {
            Some(background) => Ok(Arc::clone(background)),
            None => Background::of_executor().map(|started| Arc::clone(self.background.get_or_init(|| started))),
        }
    }

    /// Returns the argument that makes opencode allow all permission requests.
    ///
    /// # Errors
    ///
    /// If this version has no such argument: it refuses all requests.
    fn approval(&self) -> Result<&'static str, StartError> {
        let opencode = self.launch.opencode();
        opencode.generation().approval_argument(opencode.version()).ok_or_else(|| {
            let message = format!("`run` of opencode {} cannot allow permission requests", opencode.version());
            StartError::new(FailureKind::Usage, message).remedy(Remedy::UseServer)
        })
    }

    fn prepare(&self, request: &TurnRequest) -> Result<(RunCommand, TurnResources), StartError> {
        let prompt = &request.prompt;
        let context = prompt.options.context.as_deref().filter(|context| !context.is_empty());
        let context = context.map(|context| write_private("context-", ".md", context)).transpose()?;
        let (launch_key, model) = LaunchKey::for_turn(
            &self.launch,
            prompt.options.model.as_ref(),
            prompt.options.agent.as_deref(),
            context.as_deref(),
        )?;
        let mut environment = self.launch.environment().clone();
        let launch_guard = launch_key.prepare(&self.launch, &mut environment)?;
        let route_lease = match launch_guard.routes.first() {
            Some(route) => {
                let route_lease = route.lease_for_process(prompt.options.budget());
                Some(route_lease.map(|lease| lease.with_idle_limit(prompt.options.limits().idle))?)
            }
            None if prompt.options.budget().is_unlimited() => None,
            None => return Err(err_unmetered()),
        };
        let mut arguments = self.launch.opencode().generation().run_arguments(request, model.as_deref());
        if matches!(prompt.options.permissions, Some(PermissionPolicy::Allow)) {
            arguments.push(self.approval()?.into());
        }
        let command = RunCommand {
            launch: self.launch.clone(),
            arguments,
            directory: request.task.directory.clone(),
            environment,
        };
        Ok((command, TurnResources { route_lease, redaction: launch_key.redaction(), launch_guard, context }))
    }
}

/// The resources of a turn besides its process. Keep them for as long as the process lives.
struct TurnResources {
    route_lease: Option<RouteLease>,
    redaction: Redaction,
    launch_guard: LaunchGuard,
    context: Option<TempPath>,
}

#[async_trait]
impl Executor for RunExecutor {
    async fn start(&self, mut request: TurnRequest) -> Result<StartedTurn, StartError> {
        let has_gateway = self.launch.has_gateway();
        let request = blocking::call(move || check(&mut request, has_gateway).map(|()| request)).await?;
        let version = self.launch.opencode().version();
        if let Some(why) = protocol::why_not_run(version) {
            let message = format!("opencode {version} is not supported by `run`: {why}");
            return Err(StartError::new(FailureKind::Opencode, message).remedy(Remedy::UseServerOrTestedOpencode));
        }
        let generation = self.launch.opencode().generation();
        generation.check_run_in(&request.task.directory).map_err(|why| err_wrong_directory(&request, &why))?;
        if request.prompt.schema.is_some() {
            return Err(StartError::new(FailureKind::Usage, "`opencode run` does not support a schema for the answer")
                .remedy(Remedy::UseServer));
        }
        let executor = self.clone();
        let prepare = move || (executor.prepare(&request), request);
        let (prepared, request) = blocking::call(prepare).await;
        let (command, resources) = prepared?;
        let plan = RunPlan {
            session: request.session,
            agent: request.prompt.options.agent,
            is_metered: resources.route_lease.is_some(),
            start_limit: self.launch.start_limit(),
            locked_pauses: backoff::locked_database(MAX_LOCKED_RESTARTS).collect(),
        };
        let background = self.background()?;
        let start = async move {
            let process = command.start()?;
            let (started, driver) = StartedTurn::channel(SIGNAL_CAPACITY);
            let protocol = RunProtocol::new(plan, Instant::now());
            let turn =
                RunTurn::new(command, driver, process, protocol).through(resources.redaction, resources.route_lease);
            let launch_guard = resources.launch_guard;
            let context = resources.context;
            let running = async move {
                turn.run(request.prompt.message).await;
                drop((launch_guard, context));
            };
            tokio::spawn(running.in_current_span());
            Ok(started)
        };
        background.run(start).await
    }

    fn runtime(&self) -> Option<Handle> {
        self.background.get()?.handle()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use opencode_run_core::{Prompt, Task};
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;
    use std::time::Duration;

    #[tokio::test]
    async fn slow_consumers_turn_is_killed_on_drop() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("opencode");
        let pid = folder.path().join("pid");
        // More output than fits between the turn and its consumer, so that the turn blocks; afterwards the script would
        // sleep.
        let text = format!(
            "#!/bin/sh\nseq 100000 | sed 's/.*/{{\"type\":\"x\"}}/' &\necho $$ > {}\nwait\nsleep 60\n",
            pid.display()
        );
        std::fs::write(&script, text).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let opencode = crate::Opencode::known(script, "1.18.33".parse().unwrap()).unwrap();
        let executor = RunExecutor::new(Launch::new(opencode, std::env::vars_os()));
        let request = TurnRequest::new(Prompt::new("m"), Task::new("t", folder.path()));
        let StartedTurn { controls, mut signals } = executor.start(request).await.unwrap();
        signals.recv().await.unwrap();
        while signals.len() < signals.max_capacity() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(signals);
        let process = PathBuf::from(format!("/proc/{}", std::fs::read_to_string(pid).unwrap().trim()));
        let gone = async {
            while process.exists() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(20), gone).await.is_ok());
        drop(controls);
    }
}
