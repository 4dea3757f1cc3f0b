//! A server for turns: one that we started, or an attached one.

use super::directories::{EndedTurn, TurnDirectories};
use super::dispatcher::EventDispatcher;
use super::kill_batches::KillBatches;
use super::lease::ServerLease;
use super::memory_limit::memory_limit;
use super::models::{err_no_model, err_no_variant, missing_variant};
use super::process::ServerProcess;
use super::start_error::err_unreachable;
use crate::launch_key::{LaunchGuard, LaunchKey};
use crate::model_route::RouteLease;
use crate::protocol::{self, Client, ClientError, NewSession, StderrLine, remedy_for_server};
use crate::request::err_unmetered;
use crate::{Launch, Version};
use opencode_run_containment::{ToolProcess, kill_tools, memory};
use opencode_run_core::{Budget, FailureKind, ModelSourceType, SessionId, StartError, TurnFailure};
use reqwest::{StatusCode, Url};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// The pause between two checks of a server's memory: each costs a `/proc` scan.
const MEMORY_CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// The maximum number of requests for a session while the database is locked; opencode itself waits for five seconds
/// each time.
const MAX_LOCKED_REQUESTS: u32 = 5;

/// A server, and the state of its turns.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) client: Client,
    pub(crate) dispatcher: EventDispatcher,
    /// `None` for an attached server: it is never ended, and its processes are never killed.
    process: Option<ServerProcess>,
    exited: watch::Receiver<Option<String>>,
    directories: Mutex<TurnDirectories>,
    /// The directories that are being evicted from the server's memory.
    pub(super) evicting: watch::Sender<HashSet<PathBuf>>,
    kill_batches: KillBatches,
    /// The directories whose agents need no model that is missing.
    pub(super) known_agents: Mutex<HashSet<PathBuf>>,
    /// The models that the server has, each with its variants if the server lists them.
    known_models: Mutex<HashMap<String, Option<Vec<String>>>>,
    /// When the memory may be checked again.
    next_memory_check: Mutex<Instant>,
    /// The memory that the server took after its first turn, in bytes.
    baseline_memory: OnceLock<u64>,
    /// Whether a successor is being started.
    is_recycling: AtomicBool,
    /// The end of the last turn.
    idle_since: Mutex<Instant>,
    /// The version of its opencode.
    pub(crate) version: Version,
    /// The lease for being alive, which the process holds as well.
    lease: ServerLease,
    /// Holds the resources that the server was started with.
    launch_guard: Option<LaunchGuard>,
}

impl Server {
    /// Starts a server and checks that it answers. `monitors` gets the task that monitors its process, which ends when
    /// no process of the server is left.
    ///
    /// # Errors
    ///
    /// If the server does not start or does not answer. No process of it is left then.
    pub(crate) async fn start(
        launch: &Launch,
        launch_key: &LaunchKey,
        directory: &Path,
        monitors: &TaskTracker,
        lease: &ServerLease,
    ) -> Result<Self, StartError> {
        let (launch_guard, environment) = launch_key.prepare_on_thread(launch).await?;
        let (process, url, password) = ServerProcess::start(launch, &environment, directory, monitors, lease).await?;
        let generation = launch.opencode().generation();
        let client = Client::new(generation, url, None, Some(password)).map_err(|error| err_unreachable(&error))?;
        // Other errors are reported by later requests.
        if let Err(error @ ClientError::NoAnswer(_)) = client.version().await {
            process.end().await;
            return Err(err_unreachable(&error).remedy(remedy_for_server(launch.opencode().version())));
        }
        let exited = process.watch();
        let server = Self::over(client, launch.opencode().version(), Some(process), exited);
        Ok(Self { launch_guard: Some(launch_guard), lease: lease.clone(), ..server })
    }

    /// Connects to a server that this process did not start.
    pub(crate) async fn attach(
        address: Url,
        user: Option<String>,
        password: Option<String>,
    ) -> Result<Self, StartError> {
        let (client, version) = protocol::connect(address, user, password).await.map_err(|error| match error {
            ClientError::NotFound(_)
            | ClientError::Refused { .. }
            | ClientError::Unreadable
            | ClientError::TooLong { .. } => {
                let message = "this address is not that of an opencode server, or its version is too old";
                StartError::new(FailureKind::Opencode, message).hint("check the address").caused_by(error)
            }
            other => err_unreachable(&other),
        })?;
        let unsupported = |why: String| {
            StartError::new(FailureKind::Opencode, format!("the opencode server is not supported: {why}"))
        };
        let version: Version = version.parse().map_err(|_| unsupported("it reports no version".to_owned()))?;
        protocol::check_server_support(version)
            .map_err(|why| unsupported(format!("it is opencode {version}, {why}")))?;
        let (_, exited) = watch::channel(None);
        Ok(Self::over(client, version, None, exited))
    }

    fn over(
        client: Client,
        version: Version,
        process: Option<ServerProcess>,
        exited: watch::Receiver<Option<String>>,
    ) -> Self {
        let dispatcher = EventDispatcher::start(client.clone());
        let directories = Mutex::default();
        let evicting = watch::Sender::default();
        let kill_batches = KillBatches::default();
        let next_memory_check = Mutex::new(Instant::now());
        let baseline_memory = OnceLock::new();
        let is_recycling = AtomicBool::new(false);
        let known_agents = Mutex::default();
        let known_models = Mutex::default();
        Self {
            client,
            version,
            dispatcher,
            process,
            exited,
            directories,
            evicting,
            kill_batches,
            known_agents,
            known_models,
            next_memory_check,
            baseline_memory,
            is_recycling,
            idle_since: Mutex::new(Instant::now()),
            lease: ServerLease::default(),
            launch_guard: None,
        }
    }

    /// Returns whether the server has a route to a model source.
    pub(crate) fn has_route(&self, source: Option<ModelSourceType>) -> bool {
        let mut routes = self.launch_guard.iter().flat_map(|launch_guard| &launch_guard.routes);
        routes.any(|route| Some(route.source()) == source)
    }

    /// Leases the route to a model source for a turn; `None` if the gateway does not carry its requests.
    ///
    /// # Errors
    ///
    /// If the budget cannot be enforced.
    pub(crate) fn lease_route(
        &self,
        source: Option<ModelSourceType>,
        session: &SessionId,
        budget: Budget,
    ) -> Result<Option<RouteLease>, StartError> {
        let routes = self.launch_guard.iter().flat_map(|launch_guard| &launch_guard.routes);
        match routes.into_iter().find(|route| Some(route.source()) == source) {
            Some(route) => route.lease(session, budget).map(Some),
            None if budget.is_unlimited() => Ok(None),
            None => Err(err_unmetered()),
        }
    }

    /// Checks that the server has a model with the requested variant, before a session is created. opencode itself
    /// ignores an unknown variant.
    ///
    /// The models are requested once, and again for a variant that was not among them. If another directory has other
    /// models, or the server does not list its models, the turn itself reports the problem.
    ///
    /// # Errors
    ///
    /// If there is no such model, with suggestions; if it has no such variant, with the available ones. The error calls
    /// the model `known_as`, which is its name for the caller.
    pub(crate) async fn check_model(
        &self,
        directory: &Path,
        model: &str,
        known_as: &str,
        variant: Option<&str>,
    ) -> Result<(), StartError> {
        let known = || self.known_models.lock().unwrap_or_else(PoisonError::into_inner);
        if known().get(model).is_some_and(|variants| missing_variant(variants.as_deref(), variant).is_none()) {
            return Ok(());
        }
        let models = match self.client.models(directory, Some(model)).await {
            Ok(models) => models,
            Err(error) => {
                tracing::debug!(%error, "the server does not list its models");
                return Ok(());
            }
        };
        let Some(found) = models.iter().find(|known| known.name == model) else {
            return Err(err_no_model(model, &models));
        };
        known().insert(found.name.clone(), found.variants.clone());
        match missing_variant(found.variants.as_deref(), variant) {
            None => Ok(()),
            Some((variant, variants)) => Err(err_no_variant(known_as, variant, variants)),
        }
    }

    /// Creates a session in a directory.
    ///
    /// If another opencode has locked the database for so long that the request failed, nothing was created, and the
    /// request is retried.
    pub(crate) async fn new_session(&self, new: NewSession<'_>) -> Result<SessionId, ClientError> {
        for _ in 0..MAX_LOCKED_REQUESTS {
            let made = self.client.new_session(new).await;
            if !self.saw_locked_database(&made).await {
                return made;
            }
            tracing::info!("another opencode has locked the database: retrying to create the session");
        }
        Err(ClientError::Locked)
    }

    /// Returns whether a request failed because another opencode has locked the database.
    async fn saw_locked_database<T>(&self, answer: &Result<T, ClientError>) -> bool {
        let Err(ClientError::Refused { reference, .. }) = answer else { return false };
        let line = self.log_line(reference.as_deref()).await;
        line.is_some_and(|line| self.client.generation().read_stderr(&line) == StderrLine::DatabaseBusy)
    }

    /// Returns the log line that explains the answer with this reference, if we started the server.
    pub(super) async fn log_line(&self, reference: Option<&str>) -> Option<String> {
        self.process.as_ref()?.log_line(reference?).await
    }

    /// Returns how the server ended, or `None` while it runs.
    pub(crate) fn exit(&self) -> Option<String> {
        self.exited.borrow().clone()
    }

    /// Returns the receiver of the server's end.
    pub(crate) fn exit_watch(&self) -> watch::Receiver<Option<String>> {
        self.exited.clone()
    }

    // Held for plain look-ups and assignments only.
    pub(super) fn directories(&self) -> MutexGuard<'_, TurnDirectories> {
        self.directories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether all models of a directory's agents exist. A positive answer is cached.
    ///
    /// # Errors
    ///
    /// If the server does not answer.
    pub(crate) async fn has_models_of_agents(&self, directory: &Path) -> Result<bool, ClientError> {
        let known = || self.known_agents.lock().unwrap_or_else(PoisonError::into_inner);
        if known().contains(directory) {
            return Ok(true);
        }
        let has_models = self.client.has_models_of_agents(directory).await?;
        if has_models {
            known().insert(directory.to_owned());
        }
        Ok(has_models)
    }

    /// Waits until the server's stream is open, so that no later event is missed.
    ///
    /// # Errors
    ///
    /// If the server ends first, or the stream is not open in time.
    pub(crate) async fn connected(&self) -> Result<(), ClientError> {
        let mut exited = self.exited.clone();
        tokio::select! {
            open = self.dispatcher.connected() => open,
            // The end of an attached server is never reported.
            Ok(how) = exited.wait_for(Option::is_some) => Err(ClientError::NoAnswer(how.clone().unwrap_or_default())),
        }
    }

    /// Returns whether any client has an active turn in a session.
    ///
    /// The server is queried once; later changes come from the stream. The stream lags slightly, so only its report
    /// that the session is idle is trusted.
    pub(crate) async fn is_busy(&self, directory: &Path, session: &SessionId) -> Result<bool, ClientError> {
        self.connected().await?;
        if self.dispatcher.is_idle(session) {
            return Ok(false);
        }
        self.dispatcher.track_activity(session.clone());
        let busy = self.client.is_busy(directory, session).await;
        if !matches!(busy, Ok(false)) {
            self.dispatcher.untrack_activity(session);
        }
        busy
    }

    /// Registers a turn in a directory, and waits until the directory is not being evicted.
    pub(crate) async fn begin_turn(self: &Arc<Self>, directory: &Path) -> TurnGuard {
        let began = self.directories().begin_turn(directory);
        let turn = EndedTurn { directory: directory.to_owned(), began };
        let guard = TurnGuard { server: Arc::clone(self), turn, was_ended: false };
        // The sender is this server's.
        self.evicting.subscribe().wait_for(|evicting| !evicting.contains(directory)).await.ok();
        guard
    }

    /// Kills the processes that a finished turn left.
    ///
    /// A process that may belong to an active turn is left to that turn.
    pub(super) async fn kill_leftovers(self: &Arc<Self>, turn: EndedTurn) {
        let Some(process) = &self.process else { return };
        let kill_leftovers = |mut ended: Vec<EndedTurn>| async move {
            let Some(since) = self.directories().take_deferred(&mut ended) else { return };
            let server = Arc::clone(self);
            let is_leftover = move |tools: &[ToolProcess]| server.directories().are_leftovers(tools, &ended);
            kill_tools(process.tag(), process.own_processes(), since, is_leftover).await;
        };
        self.kill_batches.kill_leftovers(turn, kill_leftovers).await;
    }

    /// Returns the server's lease.
    pub(crate) fn lease(&self) -> &ServerLease {
        &self.lease
    }

    /// Returns the time since which the server has been idle; `None` while it has a turn.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        let since = *self.idle_since.lock().unwrap_or_else(PoisonError::into_inner);
        (!self.is_active()).then_some(since)
    }

    /// Returns whether a turn is active.
    pub(crate) fn is_active(&self) -> bool {
        self.directories().is_active()
    }

    /// Returns whether it is a server that we started, with more than one active turn.
    pub(crate) fn has_several_turns(&self) -> bool {
        self.process.is_some() && self.directories().active_turn_count() > 1
    }

    /// Kills a server that we started, with its process tree.
    pub(crate) async fn end(&self) {
        if let Some(process) = &self.process {
            process.end().await;
        }
    }

    /// Returns the memory of a server that we started, in bytes; `None` if it is unknown or was checked just before.
    pub(crate) async fn memory(&self) -> Option<u64> {
        let process = self.process.as_ref()?;
        {
            let mut next_memory_check = self.next_memory_check.lock().unwrap_or_else(PoisonError::into_inner);
            if Instant::now() < *next_memory_check {
                return None;
            }
            *next_memory_check = Instant::now() + MEMORY_CHECK_INTERVAL;
        }
        memory(process.id()).await
    }

    /// Returns the memory limit above which the server is recycled, in bytes. It is 15 % above the
    /// memory of the first call, which follows the server's first turn, and higher with many active turns: plugins and
    /// language servers are the user's choice. The memory that each further directory adds is never freed.
    pub(crate) fn baseline_limit(&self, memory: u64) -> u64 {
        memory_limit(*self.baseline_memory.get_or_init(|| memory), self.directories().active_turn_count())
    }

    /// Marks the server as being recycled. Returns `false` if it is already.
    pub(crate) fn begin_recycling(&self) -> bool {
        !self.is_recycling.swap(true, Ordering::Relaxed)
    }

    /// Records that no successor has taken the server's place.
    pub(crate) fn cancel_recycling(&self) {
        self.is_recycling.store(false, Ordering::Relaxed);
    }

    /// Returns how the server ended if a request got no answer for that reason.
    pub(super) async fn exit_after_disconnect(&self) -> Option<String> {
        // The exit of a process is noticed a moment after the end of its connections.
        let mut exited = self.exited.clone();
        let exit = tokio::time::timeout(Duration::from_millis(500), exited.wait_for(Option::is_some)).await;
        exit.ok()?.ok()?.clone()
    }

    /// Returns whether we started the server.
    pub(super) fn is_ours(&self) -> bool {
        self.process.is_some()
    }

    /// Returns the failure of a turn whose request failed.
    pub(crate) async fn failure(&self, error: ClientError, session: &SessionId) -> TurnFailure {
        match error {
            ClientError::NoAnswer(why) => {
                TurnFailure::ServerLost { message: self.exit_after_disconnect().await.unwrap_or(why) }
            }
            ClientError::Configuration(message) => TurnFailure::Configuration { message },
            ClientError::NoAgent(agent) => TurnFailure::AgentNotFound { agent },
            ClientError::NotFound(_) => TurnFailure::SessionNotFound { session: session.clone() },
            ClientError::Refused { status, message, reference } => {
                let line = self.log_line(reference.as_deref()).await;
                let explained = line.and_then(|line| self.client.generation().read_log(&line));
                let message =
                    message.unwrap_or_else(|| format!("the opencode server answered {status} and gave no reason"));
                explained.unwrap_or(match status {
                    StatusCode::BAD_REQUEST => TurnFailure::Protocol { message },
                    _ => TurnFailure::Opencode { message },
                })
            }
            error @ (ClientError::Locked | ClientError::NoModel(_) | ClientError::OtherDirectory { .. }) => {
                TurnFailure::Opencode { message: error.to_string() }
            }
            error @ (ClientError::Unauthorized | ClientError::Unreadable | ClientError::TooLong { .. }) => {
                TurnFailure::Protocol { message: error.to_string() }
            }
        }
    }
}

/// Registers a turn on a server and in its directory, from before its session is created. Dropping it ends the turn;
/// the next turn that ends kills the processes that it left.
#[derive(Debug)]
pub(crate) struct TurnGuard {
    server: Arc<Server>,
    turn: EndedTurn,
    was_ended: bool,
}

impl TurnGuard {
    /// Returns the server.
    pub(crate) fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// Returns the turn as it will be known after its end.
    pub(crate) fn turn(&self) -> &EndedTurn {
        &self.turn
    }

    /// Ends the turn, and kills the processes that it left.
    pub(crate) async fn end(mut self) {
        let server = Arc::clone(&self.server);
        let turn = self.turn.clone();
        self.was_ended = true;
        drop(self);
        server.kill_leftovers(turn).await;
    }
}

impl Drop for TurnGuard {
    fn drop(&mut self) {
        *self.server.idle_since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        let mut directories = self.server.directories();
        directories.end_turn(&self.turn);
        if !self.was_ended {
            directories.defer_kill(&self.turn);
        }
        drop(directories);
        self.server.lease.announce_idle();
    }
}
