//! The resources that many tasks share: opencode and its servers, the gateway, keys.

use crate::driver::Driver;
use crate::isolation::Isolation;
use crate::keys::Keys;
use crate::launch_options::{EnvironmentVariables, LaunchOptions, Reach};
use crate::locate_opencode::locate_opencode;
use crate::{BuildError, Transport, paths};
use opencode_run_core::{Executor, FailureKind, StartError};
use opencode_run_process::{
    Launch, Opencode, ServeExecutor, Supervisor, server_credentials, supervisor, with_database,
};
use std::ffi::OsString;
use std::sync::Arc;

/// opencode and its resources for any number of tasks: its servers, the gateway to the models, the keys printed by
/// commands.
///
/// A clone is another handle to the same host. When the last handle and the last [`Runner`](crate::Runner) of a
/// host are dropped, its servers end in the background; [`shutdown`](Self::shutdown) waits for that.
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use opencode_runner::Host;
///
/// let host = Host::builder().lean(true).build().await?;
/// let (one, two) = tokio::join!(host.runner().task_name("one").build(), host.runner().task_name("two").build());
/// let one = one?;
/// let two = two?;
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
    // Field order is drop order: opencode may still write to its home while the driver ends it.
    isolation: Option<Isolation>,
}

impl Host {
    /// Creates a host with an existing executor, such as a mock or one for another agent.
    #[must_use]
    pub fn with_executor(executor: Arc<dyn Executor>) -> Self {
        Self::with_supervised_executor(executor, supervisor::current())
    }

    /// Creates a host like [`with_executor`](Self::with_executor); commands that print keys run under this
    /// supervisor.
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

    /// Starts opencode with these options, or attaches to a server. `is_shared` is whether the host outlives its
    /// runners; then an idle server ends after a while.
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
            opencode,
            environment,
            transport,
            lean,
            project_config,
            isolated,
            database,
            gateway,
            throttles,
            supervisor,
            ..
        } = options;
        if gateway && !cfg!(feature = "gateway") {
            return Err(BuildError::MissingFeature { setting: "gateway", feature: "gateway" });
        }
        let max_servers = options.max_servers;
        let idle_timeout = options.server_idle_timeout;
        let variables = variables(environment);
        let isolation = isolated.then(Isolation::new).transpose().map_err(|error| {
            StartError::new(FailureKind::Io, "the isolated home cannot be created")
                .hint("set TMPDIR to a directory that exists, is writable and has room")
                .caused_by(error)
        })?;
        let opencode = locate_opencode(opencode, &variables, supervisor.clone()).await?;
        let variables = match &isolation {
            Some(isolation) => isolation.apply(variables),
            None => variables,
        };
        let variables = match database {
            Some(path) => with_database(variables, &path),
            None => variables,
        };
        // Creating a launch may run the user's shell, which blocks.
        let found = opencode.clone();
        let launch = tokio::task::spawn_blocking(move || Launch::new(found, variables)).await;
        let mut launch = launch
            .map_err(|error| StartError::new(FailureKind::Io, error.to_string()))?
            .supervised_by(supervisor.clone())
            .throttled(throttles)
            .lean(lean)
            .project_config(project_config)
            .gateway(gateway)
            .cache(paths::cache_dir());
        if let Some(most) = max_servers {
            launch = launch.max_servers(most);
        }
        launch = match idle_timeout {
            Some(timeout) => launch.server_idle_timeout(timeout),
            // The runner's own server ends with the runner, so that it stays warm while a user thinks.
            None if !is_shared => launch.server_idle_timeout(None),
            None => launch,
        };
        Ok(Self::new(Driver::new(launch, transport)?, Some(opencode), isolation, supervisor))
    }

    /// Ends all servers of this host and all processes that they started, and returns when none is left. Turns that
    /// still run fail. A later turn starts a new server. An attached server is not ended.
    pub async fn shutdown(&self) {
        if let Some(server) = self.inner.driver.own_server() {
            server.shutdown().await;
        }
    }

    /// Returns opencode; `None` for an executor provided by the caller and for an attached server.
    #[must_use]
    pub fn opencode(&self) -> Option<&Opencode> {
        self.inner.opencode.as_ref()
    }

    /// Returns the transport; `None` for an executor provided by the caller.
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

fn variables(given: Option<EnvironmentVariables>) -> Vec<(OsString, OsString)> {
    given.map_or_else(|| std::env::vars_os().collect(), |EnvironmentVariables(given)| given)
}

async fn attach(url: &str, variables: &[(OsString, OsString)]) -> Result<Driver, BuildError> {
    let (user, password) = server_credentials(variables);
    Ok(Driver::Attached(ServeExecutor::attach(url, user, password).await?))
}
