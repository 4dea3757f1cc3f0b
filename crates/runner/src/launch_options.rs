//! How opencode is started: what is fixed for a server's life.

use crate::Transport;
use opencode_run_process::{Supervisor, supervisor};
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How opencode is started. It is fixed when a server starts, so it belongs to a [`Host`](crate::Host).
#[derive(Debug, Clone)]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct LaunchOptions {
    /// The executable; `None` takes the first on `PATH`, or the one that `opencode-run setup` has installed.
    pub opencode: Option<PathBuf>,
    /// The environment of opencode; `None` is that of this process.
    pub environment: Option<Variables>,
    /// How opencode is driven; `None` is by a server, or by processes if that version's server cannot be used.
    pub transport: Option<Transport>,
    /// Leave out what costs opencode most time and memory.
    pub lean: bool,
    /// Have opencode read the configuration of the task's directory and of the repository around it.
    pub project_config: bool,
    /// Give opencode a home of its own, which is deleted with the host.
    pub isolated: bool,
    /// Keep the keys of model sources in this process: opencode reaches the models through a gateway.
    pub gateway: bool,
    /// At most this many servers are alive; `None` is eight. A turn that needs another waits.
    pub max_servers: Option<usize>,
    /// A server without a turn ends after this time; `None` is a minute.
    pub server_idle_timeout: Option<Duration>,
    /// The supervisor that opencode, and the commands that print keys, are started under. By default it is the program itself, if that
    /// has called [`supervisor::init`].
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
            gateway: true,
            max_servers: None,
            server_idle_timeout: None,
            supervisor: supervisor::current(),
        }
    }
}

/// The variables of an environment. `Debug` shows their names alone: values may be secrets.
#[derive(Clone)]
pub struct Variables(pub(crate) Vec<(OsString, OsString)>);

impl FromIterator<(OsString, OsString)> for Variables {
    fn from_iter<T: IntoIterator<Item = (OsString, OsString)>>(variables: T) -> Self {
        Self(variables.into_iter().collect())
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// How opencode is reached.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Reach {
    /// It is started by the host.
    Spawn(LaunchOptions),
    /// A running server of another owner at this address, `http://HOST:PORT`. The credentials are those that
    /// `OPENCODE_SERVER_USERNAME` and `OPENCODE_SERVER_PASSWORD` hold in the environment, which is this process's unless given.
    Attach {
        /// The address.
        url: String,
        /// The environment that holds the credentials.
        environment: Option<Variables>,
        /// The supervisor that commands which print keys are started under.
        supervisor: Option<Supervisor>,
    },
}

impl Default for Reach {
    fn default() -> Self {
        Self::Spawn(LaunchOptions::default())
    }
}
