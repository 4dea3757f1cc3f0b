//! Resources that many tasks share: opencode and its servers, the gateway, keys.

use crate::driver::Driver;
use crate::isolation::Isolation;
use crate::keys::Keys;
use crate::launch_options::{LaunchOptions, Reach, Variables};
use crate::{BuildError, RunnerBuilder, Transport, locate_opencode, paths};
use opencode_run_core::{Executor, FailureKind, StartError};
use opencode_run_process::{Launch, Opencode, ServeExecutor, Supervisor, supervisor};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// opencode and what belongs to it, for any number of tasks: its servers, the gateway to the models, the keys that commands
/// printed.
///
/// A clone is another handle to the same host. When the last handle and the last [`Runner`](crate::Runner) of a host are dropped,
/// its servers end in the background; [`shutdown`](Self::shutdown) waits for that.
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use opencode_runner::Host;
///
/// let host = Host::builder().lean(true).build().await?;
/// let (one, two) = tokio::join!(host.runner().task_name("one").build(), host.runner().task_name("two").build());
/// let (one, two) = (one?, two?);
/// let answers = tokio::try_join!(one.ask("Say one."), two.ask("Say two."))?;
/// println!("{answers:?}");
/// host.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    driver: Driver,
    opencode: Option<Opencode>,
    keys: Arc<Keys>,
    /// After the driver: opencode may still write there when it is ended.
    isolation: Option<Isolation>,
}

impl Host {
    /// Begins to describe a host.
    #[must_use]
    pub fn builder() -> HostBuilder {
        HostBuilder::default()
    }

    /// Makes a host of an executor that exists already, such as a mock or one for another agent.
    #[must_use]
    pub fn with_executor(executor: Arc<dyn Executor>) -> Self {
        Self::with_supervised_executor(executor, supervisor::current())
    }

    /// As [`with_executor`](Self::with_executor); commands that print keys are started under this supervisor.
    pub(crate) fn with_supervised_executor(executor: Arc<dyn Executor>, supervisor: Option<Supervisor>) -> Self {
        Self::new(Driver::Brought(executor), None, None, supervisor)
    }

    fn new(
        driver: Driver,
        opencode: Option<Opencode>,
        isolation: Option<Isolation>,
        supervisor: Option<Supervisor>,
    ) -> Self {
        let keys = Arc::new(Keys::new(supervisor));
        Self { inner: Arc::new(Inner { driver, opencode, keys, isolation }) }
    }

    /// Starts opencode with these options, or attaches to a server. `is_shared` means that the host outlives its runners: a server that
    /// has no turn ends after a while.
    pub(crate) async fn reach(reach: Reach, is_shared: bool) -> Result<Self, BuildError> {
        match reach {
            Reach::Attach { url, environment, supervisor } => {
                let driver = attach(&url, &variables(environment)).await?;
                Ok(Self::new(driver, None, None, supervisor))
            }
            Reach::Spawn(options) => Self::spawn(options, is_shared).await,
        }
    }

    async fn spawn(options: LaunchOptions, is_shared: bool) -> Result<Self, BuildError> {
        let LaunchOptions {
            opencode, environment, transport, lean, project_config, isolated, gateway, supervisor, ..
        } = options;
        let (max_servers, idle_timeout) = (options.max_servers, options.server_idle_timeout);
        let variables = variables(environment);
        let isolation = isolated.then(Isolation::new).transpose().map_err(|error| {
            StartError::new(FailureKind::Io, "there is no place for a home of its own")
                .hint("set TMPDIR to a directory that exists, is writable and has room")
                .caused_by(error)
        })?;
        let opencode = locate_opencode(opencode, &variables, supervisor.clone()).await?;
        let variables = match &isolation {
            Some(isolation) => isolation.apply(variables),
            None => variables,
        };
        // It may try out the user's shell.
        let found = opencode.clone();
        let launch = tokio::task::spawn_blocking(move || Launch::new(found, variables)).await;
        let mut launch = launch
            .map_err(|error| StartError::new(FailureKind::Io, error.to_string()))?
            .supervised_by(supervisor.clone())
            .cache(paths::cache_dir());
        if let Some(most) = max_servers {
            launch = launch.max_servers(most);
        }
        launch = match idle_timeout {
            Some(timeout) => launch.server_idle_timeout(timeout),
            // The runner's own server ends with the runner: a person who thinks for a minute finds it warm.
            None if !is_shared => launch.server_idle_timeout(None),
            None => launch,
        };
        if lean {
            launch = launch.lean();
        }
        if !project_config {
            launch = launch.without_project_config();
        }
        if !gateway {
            launch = launch.without_gateway();
        }
        Ok(Self::new(Driver::new(launch, transport)?, Some(opencode), isolation, supervisor))
    }

    /// Begins to describe a runner on this host.
    #[must_use]
    pub fn runner(&self) -> RunnerBuilder {
        RunnerBuilder::default().host(self)
    }

    /// Ends all servers of this host with all that they started, and returns when nothing of them is left. Turns that still run
    /// fail. A further turn starts a server again. An attached server is not ended.
    pub async fn shutdown(&self) {
        if let Some(server) = self.inner.driver.own_server() {
            server.shutdown().await;
        }
    }

    /// Returns the opencode that is driven; `None` for an executor of the caller's, and for an attached server.
    #[must_use]
    pub fn opencode(&self) -> Option<&Opencode> {
        self.inner.opencode.as_ref()
    }

    /// Returns how opencode is driven; `None` for an executor of the caller's.
    #[must_use]
    pub fn transport(&self) -> Option<Transport> {
        self.inner.driver.transport()
    }

    pub(crate) fn driver(&self) -> &Driver {
        &self.inner.driver
    }

    pub(crate) fn is_isolated(&self) -> bool {
        self.inner.isolation.is_some()
    }

    pub(crate) fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.inner.keys)
    }
}

fn variables(given: Option<Variables>) -> Vec<(OsString, OsString)> {
    given.map_or_else(|| std::env::vars_os().collect(), |Variables(given)| given)
}

async fn attach(url: &str, variables: &[(OsString, OsString)]) -> Result<Driver, BuildError> {
    let value = |wanted: &str| {
        let (_, value) = variables.iter().find(|(name, _)| name == wanted)?;
        value.to_str().filter(|value| !value.is_empty()).map(str::to_owned)
    };
    let (user, password) = (value("OPENCODE_SERVER_USERNAME"), value("OPENCODE_SERVER_PASSWORD"));
    Ok(Driver::Attached(ServeExecutor::attach(url, user, password).await?))
}

/// The settings of a [`Host`]; each can be left out.
#[derive(Debug, Clone, Default)]
pub struct HostBuilder {
    options: LaunchOptions,
}

impl HostBuilder {
    /// Takes this opencode instead of the one that is found on `PATH` or was installed by `opencode-run setup`.
    #[must_use]
    pub fn opencode(mut self, path: impl Into<PathBuf>) -> Self {
        self.options.opencode = Some(path.into());
        self
    }

    /// Sets the environment that opencode is started with; that of this process by default.
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

    /// Leaves out what costs opencode most time and memory, see [`RunnerBuilder::lean`].
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

    /// Gives opencode a home of its own, see [`RunnerBuilder::isolated`]. It is deleted with the host.
    #[must_use]
    pub fn isolated(mut self, isolated: bool) -> Self {
        self.options.isolated = isolated;
        self
    }

    /// Has opencode reach model sources through a gateway in this process, see [`RunnerBuilder::gateway`].
    #[must_use]
    pub fn gateway(mut self, gateway: bool) -> Self {
        self.options.gateway = gateway;
        self
    }

    /// Limits how many servers are alive, eight by default: turns need one for each key of a model source. A turn that needs
    /// another waits.
    #[must_use]
    pub fn max_servers(mut self, most: usize) -> Self {
        self.options.max_servers = Some(most);
        self
    }

    /// Sets how long a server without a turn lives, a minute by default.
    #[must_use]
    pub fn server_idle_timeout(mut self, timeout: Duration) -> Self {
        self.options.server_idle_timeout = Some(timeout);
        self
    }

    /// Starts opencode under this supervisor, or under none.
    #[must_use]
    pub fn watcher(mut self, supervisor: impl Into<Option<Supervisor>>) -> Self {
        self.options.supervisor = supervisor.into();
        self
    }

    /// Sets all options at once.
    #[must_use]
    pub fn launch_options(mut self, options: LaunchOptions) -> Self {
        self.options = options;
        self
    }

    /// Finds opencode. No server is started before the first turn.
    ///
    /// # Errors
    ///
    /// If there is no opencode that can be driven in this way.
    pub async fn build(self) -> Result<Host, BuildError> {
        Host::reach(Reach::Spawn(self.options), true).await
    }

    /// Attaches to a running server at this address, `http://HOST:PORT`. It is never ended.
    ///
    /// # Errors
    ///
    /// If another setting than [`environment`](Self::environment) is set, or the server does not answer.
    pub async fn attach(self, url: impl Into<String>) -> Result<Host, BuildError> {
        let url = url.into();
        let mut builder = RunnerBuilder::default().attach(&url);
        builder.launch = self.options;
        builder.check_conflicts(false)?;
        let LaunchOptions { environment, supervisor, .. } = builder.launch;
        Host::reach(Reach::Attach { url, environment, supervisor }, true).await
    }
}
