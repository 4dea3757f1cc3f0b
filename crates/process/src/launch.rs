//! The settings with which opencode is started.

use crate::Opencode;
use crate::environment::Environment;
use crate::model_route::{ModelRoute, SharedGateway, Throttle};
use opencode_run_containment::supervisor::{self, Supervisor};
use opencode_run_containment::{EnvironmentTag, ProcessTree, QueryOutput, command_in_own_group};
use opencode_run_core::{ModelChoice, ModelSourceType, StartError};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::process::Command;

/// The settings with which opencode is started: executable, environment, supervisor, gateway and limits. Both executors
/// take one.
#[derive(Debug, Clone)]
pub struct Launch {
    opencode: Opencode,
    environment: Environment,
    supervisor: Option<Supervisor>,
    /// The gateway to model sources, started on first use; `None` if opencode connects to them directly.
    gateway: Option<SharedGateway>,
    /// The throttles of model sources.
    throttles: Arc<HashMap<ModelSourceType, Throttle>>,
    lean: bool,
    ignores_project: bool,
    /// The directory for files that are the same in every run.
    cache: Option<PathBuf>,
    /// The maximum time for which a server may be idle; `None` for no limit.
    server_idle_timeout: Option<Duration>,
    max_servers: usize,
    /// The maximum time for which a start may be silent; `None` for the default of its transport.
    start_timeout: Option<Duration>,
}

/// The default [time](Launch::server_idle_timeout) after which an idle server is ended.
pub(crate) const SERVER_IDLE_TIMEOUT: Duration = Duration::from_mins(1);
/// The default [maximum number](Launch::max_servers) of live servers of an executor: at 350 MB each they take 2.8 GB.
const MAX_SERVERS: usize = 8;

impl Launch {
    /// Starts `opencode` with these environment variables, such as those of [`std::env::vars_os`].
    ///
    /// Variables of a surrounding opencode are removed, and proxies are bypassed for loopback. Model sources are
    /// reached through a gateway in this process, so that their keys stay here, unless this crate was built without its
    /// feature `gateway`.
    pub fn new(opencode: Opencode, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let environment = Environment::from_caller(variables);
        Self {
            opencode,
            environment,
            supervisor: supervisor::current(),
            gateway: SharedGateway::new(),
            throttles: Arc::default(),
            lean: false,
            ignores_project: false,
            cache: None,
            server_idle_timeout: Some(SERVER_IDLE_TIMEOUT),
            max_servers: MAX_SERVERS,
            start_timeout: None,
        }
    }

    /// Sets or removes the supervisor of opencode. By default it is the program itself, if that has called
    /// [`supervisor::init`]. A supervisor kills all processes that opencode leaves, even if SIGKILL ends this process.
    #[must_use]
    pub fn supervised_by(mut self, supervisor: impl Into<Option<Supervisor>>) -> Self {
        self.supervisor = supervisor.into();
        self
    }

    /// Sets whether opencode reaches model sources through a credential gateway in this process; `true` by default. Without
    /// it, opencode gets their keys, and so do the commands that the agent runs.
    #[must_use]
    pub fn gateway(mut self, gateway: bool) -> Self {
        self.gateway = if gateway { self.gateway.or_else(SharedGateway::new) } else { None };
        self
    }

    /// Holds the requests to these model sources in the gateway: at their rate, and while their provider is paused.
    #[must_use]
    pub fn throttled(mut self, throttles: Arc<HashMap<ModelSourceType, Throttle>>) -> Self {
        self.throttles = throttles;
        self
    }

    /// Returns whether model sources are reached through a gateway.
    pub(crate) fn has_gateway(&self) -> bool {
        self.gateway.is_some()
    }

    /// Opens a route to a model, if it is a source that is reached through the gateway.
    ///
    /// # Errors
    ///
    /// If the gateway cannot be started, or the source cannot be reached by it.
    pub(crate) fn route(&self, model: Option<&ModelChoice>) -> Result<Option<ModelRoute>, StartError> {
        let (Some(gateway), Some(ModelChoice::Source { source, config })) = (&self.gateway, model) else {
            return Ok(None);
        };
        if config.base_url.is_none() {
            return Ok(None);
        }
        gateway.route(*source, config, self.throttles.get(source).cloned()).map(Some)
    }

    /// Sets whether opencode starts without its most expensive parts: language servers, formatters, plugins, session sharing, the
    /// file watcher, and snapshots for undoing changes. A setting makes its runtime, Bun, use less memory; other Bun
    /// programs that the agent starts inherit it.
    #[must_use]
    pub fn lean(mut self, lean: bool) -> Self {
        self.lean = lean;
        self
    }

    /// Returns whether opencode is started without its most expensive parts.
    pub(crate) fn is_lean(&self) -> bool {
        self.lean
    }

    /// Sets whether opencode reads the configuration in its working directory and in the surrounding repository: settings,
    /// plugins, tools, commands, agents, and instructions; `true` by default. The user's own configuration still applies.
    #[must_use]
    pub fn project_config(mut self, project_config: bool) -> Self {
        self.ignores_project = !project_config;
        self
    }

    /// Returns whether opencode ignores the configuration in its working directory.
    pub(crate) fn ignores_project(&self) -> bool {
        self.ignores_project
    }

    /// Sets the directory for files that opencode reads and that are the same in every run. Without it, each run writes
    /// a temporary file, which is left behind if SIGKILL ends this process.
    #[must_use]
    pub fn cache(mut self, folder: impl Into<Option<PathBuf>>) -> Self {
        self.cache = folder.into();
        self
    }

    /// Returns the directory for files that are the same in every run.
    pub(crate) fn cache_dir(&self) -> Option<&Path> {
        self.cache.as_deref()
    }

    /// Ends a server that has been idle for this time; `None` for never, one minute by default. The next turn starts
    /// another.
    #[must_use]
    pub fn server_idle_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.server_idle_timeout = limit.into();
        self
    }

    /// Returns how long a server may be idle.
    pub(crate) fn idle_timeout(&self) -> Option<Duration> {
        self.server_idle_timeout
    }

    /// Sets the maximum number of live servers: 8 by default, at least one. Settings that are fixed when a server
    /// starts, such as the key, need a server each. If all are busy, a turn that needs another one waits for up to ten minutes;
    /// the server that has been idle longest is ended for it.
    ///
    /// A draining server, which has been recycled, is not counted while it finishes its turns.
    #[must_use]
    pub fn max_servers(mut self, count: usize) -> Self {
        self.max_servers = count.clamp(1, tokio::sync::Semaphore::MAX_PERMITS);
        self
    }

    /// Returns the maximum number of live servers.
    pub(crate) fn server_limit(&self) -> usize {
        self.max_servers
    }

    /// Sets how long a start of opencode may be silent before it is killed and retried once. By default a server has a
    /// minute to listen; `opencode run` has a minute to begin the turn, or two if the gateway does not see its requests.
    #[must_use]
    pub fn start_timeout(mut self, limit: Duration) -> Self {
        self.start_timeout = Some(limit);
        self
    }

    /// Returns how long a start may be silent, unless the default applies.
    pub(crate) fn start_limit(&self) -> Option<Duration> {
        self.start_timeout
    }

    /// Returns the opencode that is started.
    #[must_use]
    pub fn opencode(&self) -> &Opencode {
        &self.opencode
    }

    /// Returns the environment of every opencode.
    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Returns the command that starts opencode in a directory, with pipes for its output.
    pub(crate) fn command(
        &self,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        directory: &Path,
        environment: Environment,
        tag: &EnvironmentTag,
    ) -> Command {
        let environment = environment.working_in(directory).tagged(tag);
        let mut command = command_in_own_group(self.opencode.path(), self.supervisor.as_ref());
        command
            .args(arguments)
            .env_clear()
            .envs(environment.iter())
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Returns the process tree of a run that was started as `leader` by such a command.
    pub(crate) fn tree(&self, tag: EnvironmentTag, leader: u32) -> ProcessTree {
        ProcessTree::of_group_leader(self.supervisor.as_ref(), tag, leader)
    }

    /// Runs an opencode command in a directory and returns its output.
    ///
    /// # Errors
    ///
    /// If it cannot be started, or does not exit within the limit.
    pub(crate) async fn query(
        &self,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        directory: &Path,
        limit: Duration,
    ) -> io::Result<QueryOutput> {
        let tag = EnvironmentTag::new();
        let command = self.command(arguments, directory, self.environment.clone(), &tag);
        opencode_run_containment::query(command, |leader| self.tree(tag, leader), limit).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RunExecutor, ServeExecutor};

    #[test]
    fn debug_shows_no_environment_value() {
        let opencode = Opencode::known("/x/opencode".into(), "1.18.33".parse().unwrap()).unwrap();
        let launch = Launch::new(opencode, [("OPENAI_API_KEY".into(), "sk-1234567890".into())]);
        let executors = (RunExecutor::new(launch.clone()), ServeExecutor::new(launch).unwrap());
        let shown = format!("{executors:?}");
        assert!(shown.contains("OPENAI_API_KEY") && !shown.contains("sk-1234567890"), "{shown}");
    }
}
