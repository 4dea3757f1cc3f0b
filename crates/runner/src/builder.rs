//! How a [`Runner`](crate::Runner) is put together.

mod build;
mod conflicts;

pub use build::locate_opencode;

use crate::cleanup::DirectoryCleanup;
use crate::driver::Transport;
use crate::host::Host;
use crate::launch_options::LaunchOptions;
use crate::task_place::{PlaceSettings, TaskPlace};
use opencode_run_config::ModelSource;
use opencode_run_core::{
    Budget, Limit, Limits, ModelChoice, ModelSourceType, PermissionPolicy, SessionId, TurnOptions,
};
use opencode_run_process::Supervisor;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// The settings of a [`Runner`](crate::Runner); every one of them can be left out.
///
/// A setting that would have no effect beside another is refused when the runner is built.
#[derive(Debug, Clone)]
pub struct RunnerBuilder {
    place: PlaceSettings,
    cleanup: DirectoryCleanup,
    /// A model as text, which is checked when the runner is built.
    model: Option<String>,
    options: TurnOptions,
    sources: ModelSource,
    pub(crate) attach: Option<String>,
    /// How opencode is started, if the runner has no host.
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

impl RunnerBuilder {
    /// Runs the turns on this host, which decides how opencode is started and reached.
    #[must_use]
    pub fn host(mut self, host: &Host) -> Self {
        self.host = Some(host.clone());
        self
    }

    /// Sets the place that the task works in: a new directory, an existing one, that of a session, or that of a conversation that is
    /// continued.
    ///
    /// [`task_name`](Self::task_name), [`workspace`](Self::workspace), [`dir`](Self::dir), [`session`](Self::session) and
    /// [`resume`](Self::resume) are shorthands for a place or add to it. One that would have no effect beside the others is refused by
    /// [`build`](Self::build) as a [`BuildError::Conflict`](crate::BuildError::Conflict).
    #[must_use]
    #[doc(alias = "cwd")]
    #[doc(alias = "working directory")]
    pub fn place(mut self, place: TaskPlace) -> Self {
        self.place.place = Some(place);
        self
    }

    /// Sets the treatment of the task's new directory when the runner is [closed](crate::Runner::close) or dropped; it stays by
    /// default. An existing directory always stays, so that this is refused beside one.
    #[must_use]
    pub fn cleanup(mut self, cleanup: DirectoryCleanup) -> Self {
        self.cleanup = cleanup;
        self
    }

    /// Names the task, and with it its directory, `task_<name>_<8 hex>`; `task` unless said.
    #[must_use]
    pub fn task_name(mut self, name: impl Into<String>) -> Self {
        self.place.task_name = Some(name.into());
        self
    }

    /// Sets the folder in which the task's directory is made, which is made itself where it does not exist; the current
    /// directory unless said.
    #[must_use]
    pub fn workspace(mut self, workspace: impl Into<PathBuf>) -> Self {
        self.place.workspace = Some(workspace.into());
        self
    }

    /// Works in a directory that exists, instead of making one.
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

    /// Sets the model of all turns that do not name another, `provider/model`. The name is checked by
    /// [`build`](Self::build).
    #[must_use]
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.model = Some(model.into());
        self
    }

    /// Sets the model of all turns that do not name another.
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

    /// Sets the kind of work of all turns that do not name another; its model source comes before
    /// [`model`](Self::model).
    #[must_use]
    #[doc(alias = "role")]
    pub fn source_type(mut self, source_type: ModelSourceType) -> Self {
        self.options.source_type = Some(source_type);
        self
    }

    /// Sets a system prompt, beside opencode's own, for all turns that do not bring theirs.
    #[must_use]
    #[doc(alias = "system prompt")]
    pub fn context(mut self, context: impl Into<String>) -> Self {
        self.options.context = Some(context.into());
        self
    }

    /// Sets opencode's agent of all turns that do not name another.
    #[must_use]
    pub fn agent(mut self, agent: impl Into<String>) -> Self {
        self.options.agent = Some(agent.into());
        self
    }

    /// Sets the model's variant of all turns that do not name another.
    #[must_use]
    pub fn variant(mut self, variant: impl Into<String>) -> Self {
        self.options.variant = Some(variant.into());
        self
    }

    /// Sets the title of the session; the name of the task's directory unless said.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.options.title = Some(title.into());
        self
    }

    /// Sets how long a turn may take, for all turns that bring no timeout; unlimited by default.
    #[must_use]
    #[doc(alias = "deadline")]
    pub fn timeout(mut self, timeout: impl Into<Limit<Duration>>) -> Self {
        self.options.timeout = Some(timeout.into());
        self
    }

    /// Sets how long a turn may make no progress, for all turns that bring no idle timeout; [`Limits::DEFAULT_IDLE`] unless
    /// said. [`Limit::Off`] switches it off.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: impl Into<Limit<Duration>>) -> Self {
        self.options.idle_timeout = Some(timeout.into());
        self
    }

    /// Sets the time limits that are given, for all turns that bring none. One that is `None` stays as it is: use
    /// [`Limit::Off`] with [`timeout`](Self::timeout) or [`idle_timeout`](Self::idle_timeout) to switch one off.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.options.set_limits(limits);
        self
    }

    /// Sets the options that are given, for all turns that do not bring their own; one that is `None` stays as it is.
    #[must_use]
    pub fn options(mut self, options: TurnOptions) -> Self {
        if options.model.is_some() {
            self.model = None;
        }
        self.options = options.or(&self.options);
        self
    }

    /// Sets what is answered in all turns when opencode asks whether a tool may do something; no unless said.
    #[must_use]
    #[doc(alias = "approve")]
    pub fn permissions(mut self, permissions: PermissionPolicy) -> Self {
        self.options.permissions = Some(permissions);
        self
    }

    /// Sets how opencode is driven. Unless said it is by a server, or by processes where that version's server cannot be
    /// used; [`Runner::transport`](crate::Runner::transport) returns it.
    #[must_use]
    pub fn transport(mut self, transport: Transport) -> Self {
        self.launch.transport = Some(transport);
        self
    }

    /// Uses the server that somebody else runs at this address, `http://HOST:PORT`, with the credentials that
    /// `OPENCODE_SERVER_USERNAME` and `OPENCODE_SERVER_PASSWORD` of the [environment](Self::environment) hold. The server
    /// works in the same file system, and is never ended. Nothing that it starts is ended either, but for what a turn's
    /// abort ends.
    #[must_use]
    #[doc(alias = "connect")]
    pub fn attach(mut self, url: impl Into<String>) -> Self {
        self.attach = Some(url.into());
        self
    }

    /// Leaves out what costs opencode most time and memory: language servers, formatters, plugins, the sharing of sessions,
    /// the watch over files, and the snapshots by which changes could be undone. opencode's runtime, Bun, keeps its memory down,
    /// by a setting that a program on Bun which the agent starts inherits. It is for many short tasks.
    #[must_use]
    pub fn lean(mut self, lean: bool) -> Self {
        self.launch.lean = lean;
        self
    }

    /// Sets whether opencode reads the configuration of the task's directory and of the repository around it: settings, plugins,
    /// tools, commands, agents, and instructions. It does by default. `false` is for directories whose author you do not trust with
    /// more than text; your own configuration still applies.
    #[must_use]
    pub fn project_config(mut self, project_config: bool) -> Self {
        self.launch.project_config = project_config;
        self
    }

    /// Deletes the session from opencode's history, and the journal, when the runner is [closed](crate::Runner::close). Only a server
    /// can do that.
    #[must_use]
    pub fn ephemeral(mut self, ephemeral: bool) -> Self {
        self.ephemeral = ephemeral;
        self
    }

    /// Takes this opencode instead of the one that is found on `PATH` or was installed by `opencode-run setup`.
    #[must_use]
    pub fn opencode(mut self, path: impl Into<PathBuf>) -> Self {
        self.launch.opencode = Some(path.into());
        self
    }

    /// Sets the environment that opencode is started with; that of this process unless said.
    #[must_use]
    #[doc(alias = "env")]
    pub fn environment(mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        self.launch.environment = Some(variables.into_iter().collect());
        self
    }

    /// Has opencode reach model sources through a gateway in this process, which has their keys; on by default. If it is off, opencode is
    /// given the keys, and so are the commands that the agent runs.
    #[must_use]
    pub fn gateway(mut self, gateway: bool) -> Self {
        self.launch.gateway = gateway;
        self
    }

    /// Gives opencode a home of its own, with its own configuration, logins, history and database, which is gone when the
    /// runner is. Only the project's own configuration applies. A session of it cannot be continued by another runner.
    #[must_use]
    #[doc(alias = "sandbox")]
    pub fn isolated(mut self, isolated: bool) -> Self {
        self.launch.isolated = isolated;
        self
    }

    /// Sets the limits on the use of the model that are given, for all turns that do not bring their own. One that is `None`
    /// stays as it is. It needs a model source with a base URL.
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Self {
        self.options.set_budget(budget);
        self
    }

    /// Starts opencode, and the commands that print keys, under this supervisor, or under none. By default it is the program
    /// itself, if that has called [`supervisor::init`](crate::supervisor::init). A supervisor ends all that they leave, also when this process is ended by
    /// SIGKILL.
    #[must_use]
    #[doc(alias = "supervisor")]
    pub fn watcher(mut self, watcher: impl Into<Option<Supervisor>>) -> Self {
        self.launch.supervisor = watcher.into();
        self
    }

    /// Keeps a journal of the conversation in a folder below this one, such as
    /// [`default_journals`](crate::default_journals), so that nothing of it is lost whatever happens to this process. None
    /// is kept unless said.
    ///
    /// A journal that cannot be written harms no turn: see [`Runner::journal_error`](crate::Runner::journal_error). A [`session`](Self::session) that has
    /// one goes on in it, with the turns that it holds. When one is begun, those below the folder that nobody has written to for
    /// [30 days](opencode_run_journal::RETENTION_PERIOD) are deleted.
    #[must_use]
    pub fn journal(mut self, journals: impl Into<PathBuf>) -> Self {
        self.journals = Some(journals.into());
        self
    }

    /// Goes on with the conversation that was last at work in the directory of [`dir`](Self::dir), the current one unless
    /// said, from its [`journal`](Self::journal); a [`session`](Self::session) picks one of several.
    ///
    /// A turn that was cut short is there with what it had produced, as a failed one. The agent and the context of the last
    /// turn apply to further ones that bring none, which opencode would forget.
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
    fn no_secret_is_shown() {
        let config = ModelConfig { api_key: Some("sk-of-a-source".into()), ..ModelConfig::new("m") };
        let builder = Runner::builder()
            .model_source([(ModelSourceType::Code, config)].into_iter().collect())
            .environment([("OPENAI_API_KEY".into(), "sk-of-the-environment".into())]);
        let shown = format!("{builder:?}");
        assert!(shown.contains("OPENAI_API_KEY") && shown.contains("REDACTED"), "{shown}");
        assert!(!shown.contains("sk-of"), "{shown}");
    }
}
