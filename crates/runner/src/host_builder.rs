//! The settings of a [`Host`].

use crate::builder::RunnerBuilder;
use crate::host::Host;
use crate::launch_options::{LaunchOptions, Reach};
use crate::{BuildError, Transport};
use opencode_run_core::ModelSourceType;
use opencode_run_process::{Supervisor, Throttle};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

impl Host {
    /// Returns a builder for a host.
    #[must_use]
    pub fn builder() -> HostBuilder {
        HostBuilder::default()
    }
}

/// The settings of a [`Host`], all of which are optional.
#[derive(Debug, Clone, Default)]
pub struct HostBuilder {
    options: LaunchOptions,
}

impl HostBuilder {
    /// Uses this opencode instead of the one on `PATH` or the one installed by `opencode-run setup`.
    #[must_use]
    pub fn opencode(mut self, path: impl Into<PathBuf>) -> Self {
        self.options.opencode = Some(path.into());
        self
    }

    /// Sets the environment of opencode; that of this process by default.
    #[must_use]
    pub fn environment(mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        self.options.environment = Some(variables.into_iter().collect());
        self
    }

    /// Sets how opencode is driven.
    #[must_use]
    pub fn transport(mut self, transport: Transport) -> Self {
        self.options.transport = Some(transport);
        self
    }

    /// Disables the features that cost opencode most time and memory, see [`RunnerBuilder::lean`].
    #[must_use]
    pub fn lean(mut self, lean: bool) -> Self {
        self.options.lean = lean;
        self
    }

    /// Sets whether opencode reads the configuration of a task's directory, see [`RunnerBuilder::project_config`].
    #[must_use]
    pub fn project_config(mut self, project_config: bool) -> Self {
        self.options.project_config = project_config;
        self
    }

    /// Gives opencode an isolated home, see [`RunnerBuilder::isolated`]. It is deleted with the host.
    #[must_use]
    pub fn isolated(mut self, isolated: bool) -> Self {
        self.options.isolated = isolated;
        self
    }

    /// Keeps the sessions in an opencode database at this absolute path, which is created, instead of the user's. The
    /// user's configuration and logins still apply.
    #[must_use]
    pub fn database(mut self, path: impl Into<PathBuf>) -> Self {
        self.options.database = Some(path.into());
        self
    }

    /// Routes requests to model sources through a credential gateway, see [`RunnerBuilder::gateway`].
    #[must_use]
    pub fn gateway(mut self, gateway: bool) -> Self {
        self.options.gateway = gateway;
        self
    }

    /// Holds the requests to a model source in the gateway: at the rate of the throttle, and while the provider refuses them.
    #[must_use]
    pub fn throttle(mut self, source: ModelSourceType, throttle: Throttle) -> Self {
        Arc::make_mut(&mut self.options.throttles).insert(source, throttle);
        self
    }

    /// Sets the maximum number of live servers, eight by default: each set of model sources needs one. A turn that
    /// needs another one waits.
    #[must_use]
    pub fn max_servers(mut self, most: usize) -> Self {
        self.options.max_servers = Some(most);
        self
    }

    /// Sets the time after which an idle server ends, a minute by default.
    #[must_use]
    pub fn server_idle_timeout(mut self, timeout: Duration) -> Self {
        self.options.server_idle_timeout = Some(timeout);
        self
    }

    /// Starts opencode under this supervisor, or without one.
    #[must_use]
    pub fn supervisor(mut self, supervisor: impl Into<Option<Supervisor>>) -> Self {
        self.options.supervisor = supervisor.into();
        self
    }

    /// Sets all options together.
    #[must_use]
    pub fn launch_options(mut self, options: LaunchOptions) -> Self {
        self.options = options;
        self
    }

    /// Locates opencode. Starts no server before the first turn.
    ///
    /// # Errors
    ///
    /// If no opencode is found that can be driven in this way.
    pub async fn build(self) -> Result<Host, BuildError> {
        Host::reach(Reach::Spawn(self.options), true).await
    }

    /// Attaches to a running server at this address, `http://HOST:PORT`. It is never stopped.
    ///
    /// # Errors
    ///
    /// If a setting other than [`environment`](Self::environment) is set, or the server does not answer.
    pub async fn attach(self, url: impl Into<String>) -> Result<Host, BuildError> {
        let url = url.into();
        let mut builder = RunnerBuilder::default().attach(&url);
        builder.launch = self.options;
        builder.check_conflicts(false)?;
        let LaunchOptions { environment, supervisor, .. } = builder.launch;
        Host::reach(Reach::Attach { url, environment, supervisor }, true).await
    }
}
