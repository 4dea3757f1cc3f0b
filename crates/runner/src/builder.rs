//! The settings of a [`Runner`](crate::Runner).

mod build;
mod conflicts;

use crate::cleanup::DirectoryCleanup;
use crate::driver::Transport;
use crate::host::Host;
use crate::launch_options::LaunchOptions;
use crate::runner::Runner;
use crate::task_place::{PlaceSettings, TaskPlace};
use opencode_run_config::ModelSource;
use opencode_run_core::{
    Budget, Limit, Limits, ModelChoice, ModelSourceType, PermissionPolicy, SessionId, TurnOptions,
};
use opencode_run_process::Supervisor;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// The settings of a [`Runner`](crate::Runner), all of which are optional.
///
/// Settings that would have no effect in combination are rejected when the runner is built.
#[derive(Debug, Clone)]
pub struct RunnerBuilder {
    place: PlaceSettings,
    cleanup: DirectoryCleanup,
    /// The name of a model, which is validated when the runner is built.
    model: Option<String>,
    options: TurnOptions,
    sources: ModelSource,
    pub(crate) attach: Option<String>,
    /// The launch options of opencode, if the runner has no host.
    pub(crate) launch: LaunchOptions,
    host: Option<Host>,
    ephemeral: bool,
    journals: Option<PathBuf>,
}

impl Default for RunnerBuilder {
    fn default() -> Self {
        let mut options = TurnOptions::default();
        options.idle_timeout = Some(Limit::At(Limits::DEFAULT_IDLE));
        Self {
            place: PlaceSettings::default(),
            cleanup: DirectoryCleanup::default(),
            model: None,
            options,
            sources: ModelSource::new(),
            attach: None,
            launch: LaunchOptions::default(),
            host: None,
            ephemeral: false,
            journals: None,
        }
    }
}

impl Runner {
    /// Returns a builder for a runner.
    #[must_use]
    pub fn builder() -> RunnerBuilder {
        RunnerBuilder::default()
    }
}

impl Host {
    /// Returns a builder for a runner on this host.
    #[must_use]
    pub fn runner(&self) -> RunnerBuilder {
        RunnerBuilder::default().host(self)
    }
}

impl RunnerBuilder {
    /// Runs the turns on this host, which determines how opencode is started and reached.
    #[must_use]
    pub fn host(mut self, host: &Host) -> Self {
        self.host = Some(host.clone());
        self
    }

    /// Sets the directory of the task: a new one, an existing one, that of a session, or that of a conversation that is
    /// continued.
    ///
    /// [`task_name`](Self::task_name), [`workspace`](Self::workspace), [`dir`](Self::dir),
    /// [`session`](Self::session) and [`resume`](Self::resume) are shorthands for a place or add to it. Settings
    /// without effect are rejected by [`build`](Self::build) as a
    /// [`BuildError::Conflict`](crate::BuildError::Conflict).
    #[must_use]
    #[doc(alias = "cwd")]
    #[doc(alias = "working directory")]
    pub fn place(mut self, place: TaskPlace) -> Self {
        self.place.place = Some(place);
        self
    }

    /// Sets whether the task's new directory is removed when the runner is [closed](crate::Runner::close) or
    /// dropped; it stays by default. An existing directory always stays, so this setting is rejected in combination
    /// with one.
    #[must_use]
    pub fn cleanup(mut self, cleanup: DirectoryCleanup) -> Self {
        self.cleanup = cleanup;
        self
    }

    /// Sets the task's name, and with it that of its directory, `task_<name>_<8 hex>`; `task` by default.
    #[must_use]
    pub fn task_name(mut self, name: impl Into<String>) -> Self {
        self.place.task_name = Some(name.into());
        self
    }

    /// Sets the parent of the task's new directory, which is created if it does not exist; the current directory by
    /// default.
    #[must_use]
    pub fn workspace(mut self, workspace: impl Into<PathBuf>) -> Self {
        self.place.workspace = Some(workspace.into());
        self
    }

    /// Works in an existing directory instead of creating one.
    #[must_use]
    #[doc(alias = "cwd")]
    #[doc(alias = "working directory")]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.place.dir = Some(dir.into());
        self
    }

    /// Continues a session of opencode, in that session's own directory.
    #[must_use]
    pub fn session(mut self, session: impl Into<SessionId>) -> Self {
        self.place.session = Some(session.into());
        self
    }

    /// Sets the default model of the turns, `provider/model`. The name is validated by [`build`](Self::build).
    #[must_use]
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.model = Some(model.into());
        self
    }

    /// Sets the default model of the turns.
    #[must_use]
    pub fn model_choice(mut self, model: impl Into<ModelChoice>) -> Self {
        self.model = None;
        self.options.model = Some(model.into());
        self
    }

    /// Sets the model sources.
    #[must_use]
    pub fn model_source(mut self, sources: ModelSource) -> Self {
        self.sources = sources;
        self
    }

    /// Sets the default role of the turns; its model source takes precedence over [`model`](Self::model).
    #[must_use]
    #[doc(alias = "role")]
    pub fn source_type(mut self, source_type: ModelSourceType) -> Self {
        self.options.source_type = Some(source_type);
        self
    }

    /// Sets the default system prompt of the turns, which is added to opencode's own.
    #[must_use]
    #[doc(alias = "system prompt")]
    pub fn context(mut self, context: impl Into<String>) -> Self {
        self.options.context = Some(context.into());
        self
    }

    /// Sets the default agent of the turns.
    #[must_use]
    pub fn agent(mut self, agent: impl Into<String>) -> Self {
        self.options.agent = Some(agent.into());
        self
    }

    /// Sets the default variant of the model.
    #[must_use]
    pub fn variant(mut self, variant: impl Into<String>) -> Self {
        self.options.variant = Some(variant.into());
        self
    }

    /// Sets the title of the session; the name of the task's directory by default.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.options.title = Some(title.into());
        self
    }

    /// Sets the default limit on a whole turn; unlimited by default.
    #[must_use]
    #[doc(alias = "deadline")]
    pub fn timeout(mut self, timeout: impl Into<Limit<Duration>>) -> Self {
        self.options.timeout = Some(timeout.into());
        self
    }

    /// Sets the default limit on the time without progress; [`Limits::DEFAULT_IDLE`] by default. [`Limit::Off`]
    /// switches it off.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: impl Into<Limit<Duration>>) -> Self {
        self.options.idle_timeout = Some(timeout.into());
        self
    }

    /// Sets the given default time limits; a `None` changes nothing. To switch one off, pass [`Limit::Off`] to
    /// [`timeout`](Self::timeout) or [`idle_timeout`](Self::idle_timeout).
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.options.set_limits(limits);
        self
    }

    /// Sets the given default options of the turns; a `None` changes nothing.
    #[must_use]
    pub fn options(mut self, options: TurnOptions) -> Self {
        if options.model.is_some() {
            self.model = None;
        }
        self.options = options.or(&self.options);
        self
    }

    /// Sets the default policy for permission requests; deny by default.
    #[must_use]
    #[doc(alias = "approve")]
    pub fn permissions(mut self, permissions: PermissionPolicy) -> Self {
        self.options.permissions = Some(permissions);
        self
    }

    /// Sets how opencode is driven. The default is a server, or processes if the server of that version cannot be
    /// used; [`Runner::transport`](crate::Runner::transport) returns it.
    #[must_use]
    pub fn transport(mut self, transport: Transport) -> Self {
        self.launch.transport = Some(transport);
        self
    }

    /// Uses a server that is already running at this address, `http://HOST:PORT`, with the credentials in
    /// `OPENCODE_SERVER_USERNAME` and `OPENCODE_SERVER_PASSWORD` of the [environment](Self::environment). The
    /// server must share the file system, and is never stopped. Processes that it starts are ended only by aborting
    /// a turn.
    #[must_use]
    #[doc(alias = "connect")]
    pub fn attach(mut self, url: impl Into<String>) -> Self {
        self.attach = Some(url.into());
        self
    }

    /// Disables the features that cost opencode most time and memory: language servers, formatters, plugins,
    /// session sharing, file watching, and snapshots for undo. It also limits the memory of opencode's runtime,
    /// Bun, by a variable that Bun programs started by the agent inherit. Intended for many short tasks.
    #[must_use]
    pub fn lean(mut self, lean: bool) -> Self {
        self.launch.lean = lean;
        self
    }

    /// Sets whether opencode reads the configuration of the task's directory and of the repository around it:
    /// settings, plugins, tools, commands, agents, and instructions; `true` by default. Use `false` for directories
    /// whose author you do not trust beyond text; your own configuration still applies.
    #[must_use]
    pub fn project_config(mut self, project_config: bool) -> Self {
        self.launch.project_config = project_config;
        self
    }

    /// Deletes the session from opencode's history, and the journal, when the runner is
    /// [closed](crate::Runner::close). Requires a server.
    #[must_use]
    pub fn ephemeral(mut self, ephemeral: bool) -> Self {
        self.ephemeral = ephemeral;
        self
    }

    /// Uses this opencode instead of the one on `PATH` or the one installed by `opencode-run setup`.
    #[must_use]
    pub fn opencode(mut self, path: impl Into<PathBuf>) -> Self {
        self.launch.opencode = Some(path.into());
        self
    }

    /// Sets the environment of opencode; that of this process by default.
    #[must_use]
    #[doc(alias = "env")]
    pub fn environment(mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        self.launch.environment = Some(variables.into_iter().collect());
        self
    }

    /// Routes requests to model sources through a credential gateway in this process, which holds their keys; on by
    /// default. If it is off, opencode and the commands that the agent runs have the keys.
    #[must_use]
    pub fn gateway(mut self, gateway: bool) -> Self {
        self.launch.gateway = gateway;
        self
    }

    /// Gives opencode an isolated home, with its own configuration, logins, history and database, which is deleted
    /// with the runner. Only the project's own configuration applies. Its sessions cannot be continued by another
    /// runner.
    #[must_use]
    #[doc(alias = "sandbox")]
    pub fn isolated(mut self, isolated: bool) -> Self {
        self.launch.isolated = isolated;
        self
    }

    /// Sets the given default limits on the use of the model; a `None` changes nothing. Requires a model source
    /// with a base URL.
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Self {
        self.options.set_budget(budget);
        self
    }

    /// Starts opencode, and the commands that print keys, under this supervisor, or without one. The default is the
    /// program itself, if it has called [`supervisor::init`](crate::supervisor::init). A supervisor ends all
    /// processes that they leave behind, even if this process is killed by SIGKILL.
    #[must_use]
    pub fn supervisor(mut self, supervisor: impl Into<Option<Supervisor>>) -> Self {
        self.launch.supervisor = supervisor.into();
        self
    }

    /// Records the conversation in a journal below this directory, such as
    /// [`default_journals`](crate::default_journals), so that a crash of this process loses
    /// nothing. By default there is no journal.
    ///
    /// A journal that cannot be written does not affect turns: see
    /// [`Runner::journal_error`](crate::Runner::journal_error). A [`session`](Self::session) with a journal
    /// continues it, including its turns. Starting a journal deletes those below the directory that were not
    /// written to for [30 days](opencode_run_journal::RETENTION_PERIOD).
    #[must_use]
    pub fn journal(mut self, journals: impl Into<PathBuf>) -> Self {
        self.journals = Some(journals.into());
        self
    }

    /// Resumes the most recent conversation in the directory of [`dir`](Self::dir), by default the current one,
    /// from its [`journal`](Self::journal). A [`session`](Self::session) selects one of several.
    ///
    /// A turn that was cut off is included as a failed one, with its output. The agent and the system prompt of the
    /// last turn are the defaults for further turns, because opencode would forget them.
    #[must_use]
    pub fn resume(mut self) -> Self {
        self.place.resume = true;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Runner;
    use opencode_run_core::ModelConfig;

    #[test]
    fn builder_debug_hides_secrets() {
        let config = ModelConfig { api_key: Some("sk-of-a-source".into()), ..ModelConfig::new("m") };
        let builder = Runner::builder()
            .model_source([(ModelSourceType::Code, config)].into_iter().collect())
            .environment([("OPENAI_API_KEY".into(), "sk-of-the-environment".into())]);
        let shown = format!("{builder:?}");
        assert!(shown.contains("OPENAI_API_KEY") && shown.contains("REDACTED"), "{shown}");
        assert!(!shown.contains("sk-of"), "{shown}");
    }
}
