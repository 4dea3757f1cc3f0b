//! The steps of one attempt: directory, `setup`, turns, patch, `check`.

use super::attempt::{Activity, Attempt, AttemptEnd, AttemptRunner, Stop};
use super::folder::make_private;
use super::host::{HostRunner, Keep};
use super::throttles::RateLimit;
use crate::ledger::{CheckResult, PatchResult, Standing, TaskResult};
use crate::policy::OutcomeRule;
use crate::scheduler::Outcome;
use crate::task::{JsonSchema, Permission};
use crate::workspace::{ArtifactLimits, RepositorySpec, TaskCommand, TaskWorkspace, WorkspaceError};
use async_trait::async_trait;
use jiff::Timestamp;
use opencode_runner::{
    FailureKind, Limit, ModelChoice, PermissionPolicy, Prompt, Report, ReportError, RunState, Runner, RunnerBuilder,
    TurnFailure, TurnRecord,
};
use serde_json::Value;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

#[async_trait]
impl AttemptRunner for HostRunner {
    async fn run(&self, attempt: Attempt, stop: watch::Receiver<Stop>) -> AttemptEnd {
        let id = attempt.task.id.clone();
        let end = Box::pin(Steps::new(self, attempt, stop).run()).await;
        self.forget(&id);
        end
    }

    fn activity(&self, id: &str) -> Option<Activity> {
        self.activity_of(id)
    }

    async fn rate_limit(&self) -> RateLimit {
        self.options.throttles.next_limit().await
    }

    fn pause(&self, source: &str, time: Duration) {
        self.options.throttles.pause(source, time);
    }

    async fn shut_down(&self) {
        self.host.shutdown().await;
    }
}

/// An attempt that is executed.
struct Steps<'a> {
    runner: &'a HostRunner,
    attempt: Attempt,
    stop: watch::Receiver<Stop>,
    /// The directory of the attempt's files.
    folder: PathBuf,
    result: TaskResult,
    /// Whether a time limit ended the turn while a rate limit held it for most of that time.
    was_held: bool,
}

/// The reason that an attempt has no turn, or cannot continue after it.
struct Failure {
    kind: FailureKind,
    message: String,
    hint: Option<String>,
    /// Whether the task itself is at fault, so that the failure proves nothing about its model source.
    is_of_task: bool,
}

/// The end of an attempt that was stopped.
struct Stopped;

impl Failure {
    fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, is_of_task: false }
    }

    fn of_task(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { is_of_task: true, ..Self::new(kind, message) }
    }
}

impl From<&WorkspaceError> for Failure {
    fn from(error: &WorkspaceError) -> Self {
        let kind = match error {
            WorkspaceError::NoGit | WorkspaceError::OldGit { .. } => FailureKind::Config,
            WorkspaceError::InvalidRepository { .. }
            | WorkspaceError::UnknownReference { .. }
            | WorkspaceError::PathEscapes { .. }
            | WorkspaceError::Pattern(_)
            | WorkspaceError::MissingCheckFile { .. } => FailureKind::Usage,
            // Another attempt would make the same build results.
            WorkspaceError::PatchTooLarge { .. } => FailureKind::Limit,
            _ => FailureKind::Io,
        };
        Self { is_of_task: kind == FailureKind::Usage, ..Self::new(kind, chain(error)) }
    }
}

impl From<WorkspaceError> for Failure {
    fn from(error: WorkspaceError) -> Self {
        Self::from(&error)
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

impl<'a> Steps<'a> {
    fn new(runner: &'a HostRunner, attempt: Attempt, stop: watch::Receiver<Stop>) -> Self {
        let folder = runner.options.folder.attempt(&attempt.task.id, attempt.number);
        let name = attempt.task.task_name.clone().unwrap_or_else(|| "task".to_owned());
        let report = Report::without_turn(&name, RunState::Interrupted);
        let mut result =
            TaskResult::new(&attempt.task.id, attempt.number, attempt.hash.clone(), Timestamp::now(), report);
        result.base_id = Some(attempt.base_id.clone()).filter(|base| *base != attempt.task.id);
        result.worker.clone_from(&runner.worker);
        result.shard = attempt.shard;
        result.metadata.clone_from(&attempt.task.metadata);
        Self { runner, attempt, stop, folder, result, was_held: false }
    }

    async fn run(mut self) -> AttemptEnd {
        let mut workspace = None;
        let outcome = match Box::pin(self.carry_out(&mut workspace)).await {
            Ok(outcome) => outcome,
            Err(failure) => {
                let stops_source = OutcomeRule::of_failure(failure.kind).stops_source && !failure.is_of_task;
                self.fail(failure);
                ended(stops_source, self.result.standing())
            }
        };
        if let Some(workspace) = workspace {
            self.tidy(workspace).await;
        }
        AttemptEnd { result: self.result, outcome }
    }

    fn fail(&mut self, Failure { kind, message, hint, is_of_task: _ }: Failure) {
        self.result.report.state = RunState::Error;
        self.result.report.error = Some(ReportError::new(kind, message, hint));
    }

    async fn carry_out(&mut self, kept: &mut Option<TaskWorkspace>) -> Result<Outcome, Failure> {
        let stopped = Ok(Outcome::Ended(Standing::Interrupted));
        make_private(&self.folder).map_err(|error| {
            Failure::new(FailureKind::Io, format!("the directory {} cannot be created: {error}", self.folder.display()))
        })?;
        self.step("workspace", None);
        let Ok(made) = self.unless_stopped(Box::pin(self.make_workspace())).await else { return stopped };
        let workspace = kept.insert(made?);
        if let Some(repository) = workspace.repository() {
            self.result.base_commit = Some(repository.base_commit().to_owned());
        }
        let subdir = self.attempt.task.subdir.as_ref().map(|subdir| subdir.display().to_string());
        let directory = workspace.working_directory(subdir.as_deref())?;
        self.result.report.task_dir = Some(workspace.directory().to_owned());
        if let Some(setup) = self.attempt.task.setup.clone() {
            self.step("setup", None);
            let command = TaskCommand::new(setup, self.folder.join("setup.log"))
                .subdir(subdir.clone())
                .limit(self.runner.options.setup_timeout);
            let Ok(ran) = self.unless_stopped(workspace.run(&command)).await else { return stopped };
            let ran = ran?;
            if !ran.passed() {
                let how = how(ran.timed_out, ran.exit_code, self.runner.options.setup_timeout);
                let log = self.runner.options.folder.relative(&self.folder.join("setup.log"));
                return Err(Failure::new(FailureKind::Io, format!("setup {how}; its output is in {}", log.display())));
            }
        }
        // Found before the agent's work is paid for.
        if let Some(check_files) = &self.attempt.task.check_files {
            workspace.find_check_files(check_files)?;
        }
        let Some(record) = self.take_turns(&directory).await? else { return stopped };
        let rule = match (&record.failure, record.state) {
            (Some(_), _) if self.was_held => OutcomeRule::of_failure(FailureKind::Provider),
            (Some(failure), _) => OutcomeRule::of_failure(failure.kind()),
            (None, RunState::Completed) => OutcomeRule::of_completed(),
            _ => OutcomeRule::of_interrupted(),
        };
        if rule.grade {
            let Ok(graded) = self.unless_stopped(self.grade(workspace, subdir)).await else { return stopped };
            let (patch, check, artifacts) = graded?;
            self.result.patch = patch;
            self.result.check = check;
            self.result.artifacts = artifacts;
        }
        if self.was_held {
            return Ok(Outcome::RateLimited { retry_after: None });
        }
        Ok(outcome(&record, self.result.standing()))
    }

    fn step(&self, step: &'static str, runner: Option<&Runner>) {
        self.runner.note(&self.attempt.task.id, step, runner);
    }

    /// Waits for a step, and drops it if the attempt must end first.
    async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T, Stopped> {
        let mut stop = self.stop.clone();
        let is_stopped = async { stop.wait_for(|stop| *stop != Stop::No).await.map(drop) };
        tokio::select! {
            done = work => Ok(done),
            Ok(()) = is_stopped => Err(Stopped),
        }
    }

    async fn make_workspace(&self) -> Result<TaskWorkspace, Failure> {
        let workspaces = self.runner.open_workspaces().await.map_err(|error| Failure::from(error.as_ref()))?;
        let task = &self.attempt.task;
        let name = task.task_name.as_deref().unwrap_or(&task.id);
        if let Some(dir) = &task.dir {
            if !dir.is_dir() {
                let message = format!("the directory {} does not exist", dir.display());
                return Err(Failure::of_task(FailureKind::Usage, message));
            }
            return Ok(workspaces.existing(dir).await?);
        }
        let Some(repo) = &task.repo else { return Ok(workspaces.new_directory(name).await?) };
        let mut spec = RepositorySpec::new(repo);
        if let Some(reference) = &task.git_ref {
            spec = spec.reference(reference);
        }
        let repository = workspaces.resolve(&spec).await?;
        Ok(workspaces.clone_repository(&repository, name).await?)
    }

    /// Runs the turns. Returns the record of the last one; `None` if the attempt was stopped before there was one.
    async fn take_turns(&mut self, directory: &Path) -> Result<Option<Arc<TurnRecord>>, Failure> {
        self.step("start", None);
        let schema = self.schema().await?;
        let building = Box::pin(self.builder(directory).build());
        let Ok(built) = self.unless_stopped(building).await else { return Ok(None) };
        let runner = built.map_err(|error| Failure {
            hint: error.remedy().as_ref().map(ToString::to_string),
            ..Failure::new(error.kind(), chain(&error))
        })?;
        let source = self.source_name();
        let paused_before = self.runner.options.throttles.paused_total(&source);
        let turns = self.converse(&runner, schema).await;
        let paused = self.runner.options.throttles.paused_total(&source).saturating_sub(paused_before);
        self.report(&runner).await;
        if let Ok(Some(record)) = &turns
            && let Some(TurnFailure::Timeout { limit, .. }) = &record.failure
            && paused.saturating_mul(2) >= *limit
        {
            self.was_held = true;
            let message = format!(
                "the provider refused requests for {}s of the turn's time limit of {}s",
                paused.as_secs(),
                limit.as_secs()
            );
            self.fail(Failure::new(FailureKind::Provider, message));
        }
        if let Err(error) = runner.close().await {
            tracing::warn!("{}: {}", self.attempt.task.id, chain(&error));
        }
        turns
    }

    async fn converse(&self, runner: &Runner, schema: Option<Value>) -> Result<Option<Arc<TurnRecord>>, Failure> {
        let messages = &self.attempt.task.messages;
        let mut last = None;
        for (number, message) in messages.iter().enumerate() {
            let mut prompt = Prompt::new(message.clone());
            if number == 0 {
                prompt.files.clone_from(&self.attempt.task.files);
            }
            if number + 1 == messages.len() {
                prompt.schema.clone_from(&schema);
            }
            let limit = self.runner.options.start_timeout;
            let starting = tokio::time::timeout(limit, Box::pin(runner.start(prompt)));
            let Ok(started) = self.unless_stopped(starting).await else { return Ok(last) };
            let started = started.map_err(|_| {
                Failure::new(FailureKind::ServerLost, format!("opencode did not start within {}s", limit.as_secs()))
            })?;
            let turn = started.map_err(|error| Failure {
                hint: error.remedy().as_ref().map(ToString::to_string),
                ..Failure::new(kind_of_start(error.kind()), chain(&error))
            })?;
            self.step("model", Some(runner));
            let control = turn.control();
            let mut stop = self.stop.clone();
            let ending = async {
                // The sender lives as long as the attempt.
                if stop.wait_for(|stop| *stop != Stop::No).await.is_ok() {
                    control.interrupt();
                }
                if stop.wait_for(|stop| *stop == Stop::Kill).await.is_ok() {
                    control.kill();
                }
                std::future::pending::<Infallible>().await
            };
            let record = tokio::select! {
                record = turn.wait() => record,
                never = ending => match never {},
            };
            let is_completed = record.state == RunState::Completed;
            last = Some(record);
            if !is_completed {
                break;
            }
        }
        Ok(last)
    }

    fn builder(&self, directory: &Path) -> RunnerBuilder {
        let task = &self.attempt.task;
        let mut turn = self.runner.options.turn.clone();
        if task.model.is_some() || task.model_source_type.is_some() {
            turn.model = task.model.clone().map(ModelChoice::Named);
            turn.source_type = task.model_source_type;
        }
        turn.agent = task.agent.clone().or(turn.agent);
        turn.timeout = task.timeout.or(turn.timeout);
        turn.idle_timeout = task.idle_timeout.or(turn.idle_timeout);
        turn.title = Some(task.id.clone());
        turn.permissions = match task.permission {
            Some(Permission::Allow) => Some(PermissionPolicy::Allow),
            Some(Permission::Deny) => Some(PermissionPolicy::Deny),
            None => turn.permissions,
        };
        turn.context = task.context.clone().or(turn.context);
        if let Some(Limit::At(limit)) = turn.timeout {
            let deadline = deadline(limit);
            turn.context =
                Some(turn.context.map_or_else(|| deadline.clone(), |context| format!("{context}\n\n{deadline}")));
        }
        let name = task.task_name.as_deref().unwrap_or("task");
        let builder = self.runner.host.runner().task_name(name).dir(directory);
        let sources = self.runner.options.sources.clone();
        builder.model_source(sources).options(turn).ephemeral(self.runner.options.deletes_sessions)
    }

    /// Returns the name of the task's model source for the scheduler; empty if the task names none.
    fn source_name(&self) -> String {
        let task = &self.attempt.task;
        let role = task.model_source_type.map(|role| role.as_str().to_owned());
        task.model.as_ref().map(ToString::to_string).or(role).unwrap_or_default()
    }

    async fn schema(&self) -> Result<Option<Value>, Failure> {
        match &self.attempt.task.json_schema {
            None => Ok(None),
            Some(JsonSchema::Inline(schema)) => Ok(Some(schema.clone())),
            Some(JsonSchema::File(path)) => {
                let failed = |why: String| {
                    Failure::of_task(FailureKind::Usage, format!("the schema {} cannot be used: {why}", path.display()))
                };
                let text = tokio::fs::read(path).await.map_err(|error| failed(error.to_string()))?;
                serde_json::from_slice(&text).map(Some).map_err(|error| failed(error.to_string()))
            }
        }
    }

    /// Copies the report of the turns, and saves the transcript.
    async fn report(&mut self, runner: &Runner) {
        let task_dir = self.result.report.task_dir.take();
        self.result.report = runner.report();
        if self.result.report.state == RunState::Idle {
            self.result.report.state = RunState::Interrupted;
        }
        self.result.report.task_dir = task_dir;
        if runner.conversation().turns.is_empty() {
            return;
        }
        match runner.save_markdown(Some(&self.folder.join("conversation.md"))).await {
            Ok(path) => self.result.report.transcript = Some(self.runner.options.folder.relative(&path)),
            Err(error) => tracing::warn!("{}: {}", self.attempt.task.id, chain(&error)),
        }
    }

    /// Takes the patch, runs the check and collects the artifacts.
    async fn grade(
        &self,
        workspace: &TaskWorkspace,
        subdir: Option<String>,
    ) -> Result<(Option<PatchResult>, Option<CheckResult>, Vec<PathBuf>), Failure> {
        let task = &self.attempt.task;
        let files = &self.runner.options.folder;
        let mut patch = None;
        if workspace.repository().is_some() {
            self.step("patch", None);
            let taken = workspace.take_patch(&self.folder.join("patch.diff")).await?;
            for warning in &taken.warnings {
                tracing::warn!("{}: {warning}", task.id);
            }
            patch = Some(PatchResult::new(files.relative(&taken.path), taken.sha256, taken.bytes, taken.files));
        }
        if let Some(check_files) = &task.check_files {
            workspace.lay_over(check_files).await?;
        }
        let mut check = None;
        if let Some(line) = &task.check {
            self.step("check", None);
            let log = self.folder.join("check.log");
            let command = TaskCommand::new(line, &log).subdir(subdir).limit(self.runner.options.check_timeout);
            let ran = workspace.run(&command).await?;
            check = Some(CheckResult::new(ran.passed(), ran.exit_code, Some(files.relative(&log))));
        }
        let mut artifacts = Vec::new();
        if !task.artifacts.is_empty() {
            let folder = self.folder.join("artifacts");
            let collected = workspace.collect_artifacts(&task.artifacts, &folder, ArtifactLimits::default()).await?;
            artifacts = collected.files.iter().map(|file| files.relative(&folder.join(file))).collect();
        }
        Ok((patch, check, artifacts))
    }

    /// Keeps or removes the directory of the task.
    async fn tidy(&mut self, workspace: TaskWorkspace) {
        let keeps = match self.runner.options.keep {
            Keep::All => true,
            Keep::None => false,
            // Without a patch the directory is the result.
            Keep::Failed => workspace.repository().is_none() || self.result.standing() != Standing::Passed,
        };
        let tidied = if keeps { workspace.keep().await } else { workspace.remove().await };
        match tidied {
            Ok(()) if !keeps && self.attempt.task.dir.is_none() => self.result.report.task_dir = None,
            Ok(()) => {}
            Err(error) => tracing::warn!("{}: {}", self.attempt.task.id, chain(&error)),
        }
    }
}

/// Returns the kind of a failed start. A turn that did not start within its limits has not been tried.
fn kind_of_start(kind: FailureKind) -> FailureKind {
    match kind {
        FailureKind::Timeout | FailureKind::IdleTimeout => FailureKind::ServerLost,
        other => other,
    }
}

fn how(timed_out: bool, exit_code: Option<i32>, limit: Duration) -> String {
    match (timed_out, exit_code) {
        (true, _) => format!("did not end within {}s", limit.as_secs()),
        (false, Some(code)) => format!("failed with exit code {code}"),
        (false, None) => "was ended by a signal".to_owned(),
    }
}

/// Describes the time limit to the agent.
fn deadline(limit: Duration) -> String {
    let ends = Timestamp::now().checked_add(limit).map(|ends| ends.strftime("%H:%M:%S UTC").to_string());
    let until = ends.map(|ends| format!(", until {ends}")).unwrap_or_default();
    format!(
        "You have {} for your answer to each message{until}. Keep the files in a usable state, since the work is ended \
         then.",
        humantime::format_duration(Duration::from_secs(limit.as_secs().max(1)))
    )
}

fn outcome(record: &TurnRecord, standing: Standing) -> Outcome {
    match &record.failure {
        Some(TurnFailure::Provider { status: Some(429), .. }) => Outcome::RateLimited { retry_after: None },
        Some(TurnFailure::Provider { status: Some(500..), .. }) => Outcome::Overloaded,
        failure => {
            let kind = failure.as_ref().map(TurnFailure::kind);
            ended(kind.is_some_and(|kind| OutcomeRule::of_failure(kind).stops_source), standing)
        }
    }
}

fn ended(stops_source: bool, standing: Standing) -> Outcome {
    if stops_source { Outcome::Unusable(standing) } else { Outcome::Ended(standing) }
}
