//! How opencode is started: which one, with what around it.

use crate::Opencode;
use crate::descriptors;
use crate::environment::{Environment, GIT_REPOSITORY};
use crate::model_route::ModelRoute;
use crate::query::{self, QueryOutput};
use crate::supervisor::{self, Supervisor};
use crate::tree::{EnvironmentTag, Tree};
use opencode_run_core::{FailureKind, ModelChoice, Remedy, StartError};
use opencode_run_gateway::Gateway;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::process::Command;

/// How opencode is started: the executable, its environment, and what stands around it. Both executors take one.
#[derive(Debug, Clone)]
pub struct Launch {
    opencode: Opencode,
    environment: Environment,
    supervisor: Option<Supervisor>,
    /// Where model sources are reached; started when the first is used. None where opencode reaches them itself.
    gateway: Option<Arc<Mutex<Option<Gateway>>>>,
    lean: bool,
    ignores_project: bool,
    /// Where what is the same for every run is kept.
    cache: Option<PathBuf>,
    /// How long a server may be without a turn; `None` for any time.
    server_idle_timeout: Option<Duration>,
    max_servers: usize,
}

/// How long a server may be without a turn before it is ended, unless [set](Launch::server_idle_timeout).
pub(crate) const SERVER_IDLE_TIMEOUT: Duration = Duration::from_mins(1);
/// How many servers of one executor may be alive, unless [set](Launch::max_servers): at 350 MB each they take 2.8 GB.
const MAX_SERVERS: usize = 8;

impl Launch {
    /// Starts `opencode` with these environment variables, such as [`std::env::vars_os`] gives.
    ///
    /// What an opencode around the caller left in them is not handed on, and loopback is kept from proxies. Model sources are
    /// reached through a gateway in this process, so that their keys stay here.
    pub fn new(opencode: Opencode, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let environment = Environment::from_caller(variables);
        Self {
            opencode,
            environment,
            supervisor: supervisor::current(),
            gateway: Some(Arc::default()),
            lean: false,
            ignores_project: false,
            cache: None,
            server_idle_timeout: Some(SERVER_IDLE_TIMEOUT),
            max_servers: MAX_SERVERS,
        }
    }

    /// Starts opencode under this supervisor, or under none: by default it is the program itself, if that has called
    /// [`supervisor::init`]. A supervisor ends all that opencode leaves, also when this process is ended by SIGKILL.
    #[must_use]
    pub fn supervised_by(mut self, supervisor: impl Into<Option<Supervisor>>) -> Self {
        self.supervisor = supervisor.into();
        self
    }

    /// Has opencode reach model sources by itself. It is given their keys then, and so are the commands that the agent runs.
    #[must_use]
    pub fn without_gateway(mut self) -> Self {
        self.gateway = None;
        self
    }

    /// Returns whether model sources are reached through a gateway.
    pub(crate) fn has_gateway(&self) -> bool {
        self.gateway.is_some()
    }

    /// Opens a way to a model, where it is a source that is reached through the gateway.
    ///
    /// # Errors
    ///
    /// If the gateway cannot be started, or the source cannot be reached by it.
    pub(crate) fn route(&self, model: Option<&ModelChoice>) -> Result<Option<ModelRoute>, StartError> {
        let (Some(slot), Some(ModelChoice::Source { source, config })) = (&self.gateway, model) else {
            return Ok(None);
        };
        if config.base_url.is_none() {
            return Ok(None);
        }
        let mut gateway = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if gateway.is_none() {
            *gateway = Some(Gateway::start().map_err(|error| {
                StartError::new(FailureKind::Io, "the gateway to the model cannot be started")
                    .remedy(Remedy::BypassGateway)
                    .caused_by(error)
            })?);
        }
        gateway.as_ref().map(|gateway| ModelRoute::open(gateway, *source, config)).transpose()
    }

    /// Starts opencode without what costs most: language servers, formatters, plugins, the sharing of sessions, the watch over
    /// files, and the snapshots by which changes could be undone. Its runtime, Bun, keeps its memory down, by a setting that a
    /// program on Bun which the agent starts inherits.
    #[must_use]
    pub fn lean(mut self) -> Self {
        self.lean = true;
        self
    }

    /// Returns whether opencode is started without what costs most.
    pub(crate) fn is_lean(&self) -> bool {
        self.lean
    }

    /// Has opencode ignore the configuration of the directory that it works in, and of the repository around it: settings, plugins,
    /// tools, commands, agents, and instructions. The user's own still applies.
    #[must_use]
    pub fn without_project_config(mut self) -> Self {
        self.ignores_project = true;
        self
    }

    /// Returns whether opencode ignores the configuration of the directory that it works in.
    pub(crate) fn ignores_project(&self) -> bool {
        self.ignores_project
    }

    /// Keeps in this folder what opencode is given to read and is the same for every run. Else it is a temporary file for each,
    /// which stays where this process is ended by SIGKILL.
    #[must_use]
    pub fn cache(mut self, folder: impl Into<Option<PathBuf>>) -> Self {
        self.cache = folder.into();
        self
    }

    /// Returns where what is the same for every run is kept.
    pub(crate) fn cache_dir(&self) -> Option<&Path> {
        self.cache.as_deref()
    }

    /// Ends a server that has been without a turn for this time, `None` for never; one minute unless set. The next turn starts another.
    #[must_use]
    pub fn server_idle_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.server_idle_timeout = limit.into();
        self
    }

    /// Returns how long a server may be without a turn.
    pub(crate) fn idle_timeout(&self) -> Option<Duration> {
        self.server_idle_timeout
    }

    /// Keeps at most so many servers alive, 8 unless set; at least one. Turns need a server each for settings that are fixed when a
    /// server starts, such as another key. If all are at work, a turn that needs a further one waits for up to ten minutes; the server
    /// that has been idle longest makes room.
    ///
    /// A server that accepts no new turns, because another has replaced it, is not counted while it finishes those that it has.
    #[must_use]
    pub fn max_servers(mut self, count: usize) -> Self {
        self.max_servers = count.clamp(1, tokio::sync::Semaphore::MAX_PERMITS);
        self
    }

    /// Returns how many servers may be alive.
    pub(crate) fn server_limit(&self) -> usize {
        self.max_servers
    }

    /// Returns the opencode that is started.
    #[must_use]
    pub fn opencode(&self) -> &Opencode {
        &self.opencode
    }

    /// Returns the environment that every opencode gets.
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
        let mut command = start(self.opencode.path(), self.supervisor.as_ref());
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

    /// Returns the processes of the run that was started as `leader` by such a command.
    pub(crate) fn tree(&self, tag: EnvironmentTag, leader: u32) -> Tree {
        tree(self.supervisor.as_ref(), tag, leader)
    }

    /// Asks opencode something that it answers by itself, in a directory.
    ///
    /// # Errors
    ///
    /// If it cannot be started, or does not end within the limit.
    pub(crate) async fn query(
        &self,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        directory: &Path,
        limit: Duration,
    ) -> io::Result<QueryOutput> {
        let tag = EnvironmentTag::new();
        let command = self.command(arguments, directory, self.environment.clone(), &tag);
        query::query(command, |leader| self.tree(tag, leader), limit).await
    }
}

/// The variables by which a program finds the user's directories.
const HOMES: [&str; 5] = ["HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"];

/// Asks a program that may be opencode something, with the environment of this process; if a home is given, in that directory and
/// with it for the home.
///
/// # Errors
///
/// If it cannot be started, or does not end within the limit.
pub(crate) async fn query(
    program: &Path,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    home: Option<&Path>,
    supervisor: Option<&Supervisor>,
    limit: Duration,
) -> io::Result<QueryOutput> {
    let tag = EnvironmentTag::new();
    let outer = std::env::var_os(EnvironmentTag::VARIABLE);
    let mut command = start(program, supervisor);
    command.args(arguments).env(EnvironmentTag::VARIABLE, tag.nested_in(outer.as_deref()));
    if let Some(home) = home {
        command.envs(HOMES.map(|name| (name, home))).env("PWD", home).current_dir(home);
    }
    query::query(command, |leader| tree(supervisor, tag, leader), limit).await
}

/// Returns the command that starts a program, under a watcher where there is one, in a process group of its own.
///
/// Ctrl-C on a terminal is for us to translate, not for opencode to receive: hence the group.
pub(crate) fn start(program: &Path, supervisor: Option<&Supervisor>) -> Command {
    let mut command = start_beside_us(program, supervisor);
    #[cfg(unix)]
    command.process_group(0);
    command
}

/// Returns the command that starts a program, under a watcher where there is one, in our own process group: where that has
/// the terminal, it can ask a person there.
pub(crate) fn start_beside_us(program: &Path, supervisor: Option<&Supervisor>) -> Command {
    let mut command = match supervisor {
        None => Command::new(program),
        Some(supervisor) => supervisor.command(program),
    };
    // Its tree ends it. Killed before the tree's scan, it would leave no trace of descendants that have cleared their environment.
    command.kill_on_drop(supervisor.is_none() && !cfg!(target_os = "linux"));
    // Started by a hook, a git below would work on the hook's repository.
    for variable in GIT_REPOSITORY {
        command.env_remove(variable);
    }
    descriptors::withhold_from(command.as_std_mut());
    command
}

/// Returns the processes of the run that [`start`] has started as `leader`. Without a supervisor they get a guard.
pub(crate) fn tree(supervisor: Option<&Supervisor>, tag: EnvironmentTag, leader: u32) -> Tree {
    match supervisor {
        None => Tree::with_watchdog(tag, leader),
        Some(_) => Tree::supervised(tag, leader),
    }
}

/// Returns the processes of the run that [`start_beside_us`] has started as `leader`. A guard would kill our own group.
pub(crate) fn tree_beside_us(supervisor: Option<&Supervisor>, tag: EnvironmentTag, leader: u32) -> Tree {
    match supervisor {
        None => Tree::new(tag, leader),
        Some(_) => Tree::supervised(tag, leader),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RunExecutor, ServeExecutor};

    #[test]
    fn what_is_started_with_it_shows_no_value_of_the_environment() {
        let opencode = Opencode::known("/x/opencode".into(), "1.18.33".parse().unwrap()).unwrap();
        let launch = Launch::new(opencode, [("OPENAI_API_KEY".into(), "sk-1234567890".into())]);
        let executors = (RunExecutor::new(launch.clone()), ServeExecutor::new(launch).unwrap());
        let shown = format!("{executors:?}");
        assert!(shown.contains("OPENAI_API_KEY") && !shown.contains("sk-1234567890"), "{shown}");
    }
}
