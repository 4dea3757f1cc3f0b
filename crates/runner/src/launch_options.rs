//! The launch options of opencode, which are fixed for the lifetime of a server.

use crate::Transport;
use opencode_run_core::ModelSourceType;
use opencode_run_process::{Supervisor, Throttle, supervisor};
use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The launch options of opencode. They are fixed when a server starts, so they belong to a [`Host`](crate::Host).
#[derive(Debug, Clone)]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct LaunchOptions {
    /// The executable; `None` means the first on `PATH`, or the one installed by `opencode-run setup`.
    pub opencode: Option<PathBuf>,
    /// The environment of opencode; `None` means that of this process.
    pub environment: Option<EnvironmentVariables>,
    /// The transport; `None` means a server, or processes if the server of that version cannot be used.
    pub transport: Option<Transport>,
    /// Whether the features that cost opencode most time and memory are disabled.
    pub lean: bool,
    /// Whether opencode reads the configuration of the task's directory and of the repository around it.
    pub project_config: bool,
    /// Whether opencode gets an isolated home, which is deleted with the host.
    pub isolated: bool,
    /// The database of opencode for its sessions; `None` means the user's. The configuration and the logins stay the user's.
    pub database: Option<PathBuf>,
    /// Whether requests to model sources go through a credential gateway, so that their keys stay in this process.
    pub gateway: bool,
    /// The throttles of model sources, which hold requests in the gateway: at a rate, and after a rate limit.
    pub throttles: Arc<HashMap<ModelSourceType, Throttle>>,
    /// The maximum number of live servers; `None` means eight. A turn that needs another one waits.
    pub max_servers: Option<usize>,
    /// The time after which an idle server ends; `None` means a minute.
    pub server_idle_timeout: Option<Duration>,
    /// The supervisor of opencode and of commands that print keys. The default is the program itself, if it has
    /// called [`supervisor::init`].
    pub supervisor: Option<Supervisor>,
}

impl Default for LaunchOptions {
    fn default() -> Self {
        Self {
            opencode: None,
            environment: None,
            transport: None,
            lean: false,
            project_config: true,
            isolated: false,
            database: None,
            gateway: cfg!(feature = "gateway"),
            throttles: Arc::default(),
            max_servers: None,
            server_idle_timeout: None,
            supervisor: supervisor::current(),
        }
    }
}

/// The variables of an environment. `Debug` shows only their names, because values may be secrets.
#[derive(Clone)]
pub struct EnvironmentVariables(pub(crate) Vec<(OsString, OsString)>);

impl FromIterator<(OsString, OsString)> for EnvironmentVariables {
    fn from_iter<T: IntoIterator<Item = (OsString, OsString)>>(variables: T) -> Self {
        Self(variables.into_iter().collect())
    }
}

impl fmt::Debug for EnvironmentVariables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// The way in which opencode is reached.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Reach {
    /// opencode is started by the host.
    Spawn(LaunchOptions),
    /// A running server at this address, `http://HOST:PORT`. The credentials are taken from
    /// `OPENCODE_SERVER_USERNAME` and `OPENCODE_SERVER_PASSWORD` in the environment, by default that of this
    /// process.
    Attach {
        /// The address of the server.
        url: String,
        /// The environment that contains the credentials.
        environment: Option<EnvironmentVariables>,
        /// The supervisor of commands that print keys.
        supervisor: Option<Supervisor>,
    },
}

impl Default for Reach {
    fn default() -> Self {
        Self::Spawn(LaunchOptions::default())
    }
}
