//! A server that turns run on: one of ours, or one that somebody else runs.

use super::directories::{EndedTurn, TurnDirectories};
use super::dispatcher::EventDispatcher;
use super::kill_batches::KillBatches;
use super::lease::Lease;
use super::models::{lacking, no_model, no_variant};
use super::process::ServerProcess;
use super::start_error::unreachable;
use crate::launch_key::{LaunchGuard, LaunchKey};
use crate::model_route::{RouteLease, err_unmetered};
use crate::protocol::{self, Client, ClientError, NewSession, StderrLine};
use crate::tree::ToolProcess;
use crate::{Launch, Version, tree};
use opencode_run_core::{Budget, FailureKind, SessionId, StartError, TurnFailure};
use reqwest::{StatusCode, Url};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// How long is waited between two looks at a server's memory: a look takes as long as a look at all processes.
const MEMORY_CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// How often a session is asked for where the database is locked; opencode itself waits for five seconds each time.
const MAX_LOCKED_REQUESTS: u32 = 5;

/// How much memory a server may take at least before it is replaced. An idle one takes 310 to 360 MB, and while one is
/// replaced there are two.
const MIN_MEMORY_LIMIT: u64 = 500 << 20;
/// How many turns at work fit into that: of lean servers, one with eight and its successor stay within a gigabyte together, also
/// where the turns of the one take until the other has some.
const TURNS_IN_MIN_LIMIT: usize = 8;
/// How much more a server may take for each further turn at work. With many it fills sooner, and if it lived no longer, they
/// would wait for the start of another most of the time: one that has just started has compiled nothing yet, and its first
/// tasks cost twice as much processor time. A lean server with sixteen levels off at 0.9 to 1.2 GB, and is not replaced.
const MEMORY_PER_FURTHER_TURN: u64 = 105 << 20;

/// A server and what runs on it.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) client: Client,
    pub(crate) dispatcher: EventDispatcher,
    /// None for a server that somebody else runs: it is never ended, and what it starts is not ours to end.
    process: Option<ServerProcess>,
    exited: watch::Receiver<Option<String>>,
    directories: Mutex<TurnDirectories>,
    kill_batches: KillBatches,
    /// The directories whose agents were seen to have no model that is not there.
    known_agents: Mutex<HashSet<PathBuf>>,
    /// The models that were seen to be there, each with its variants where the server says them.
    known_models: Mutex<HashMap<String, Option<Vec<String>>>>,
    /// When the memory is to be looked at again.
    next_memory_check: Mutex<Instant>,
    /// How much memory the server took after its first turn.
    baseline_memory: OnceLock<u64>,
    /// Another is being started in its place.
    is_recycling: AtomicBool,
    /// When the last turn left.
    idle_since: Mutex<Instant>,
    /// The version of its opencode.
    pub(crate) version: Version,
    /// Its lease of being alive, which its process holds as well.
    lease: Lease,
    /// What the server was given when it started; it goes with this.
    launch_guard: Option<LaunchGuard>,
}

impl Server {
    /// Starts a server of ours, and sees that it answers. `monitors` gets the task that watches over its process and ends when
    /// nothing of it is left.
    ///
    /// # Errors
    ///
    /// If there is no server that answers. Then nothing of it is left.
    pub(crate) async fn start(
        launch: &Launch,
        launch_key: &LaunchKey,
        directory: &Path,
        monitors: &TaskTracker,
        lease: &Lease,
    ) -> Result<Self, StartError> {
        let (launch_guard, environment) = launch_key.prepare_on_thread(launch).await?;
        let (process, url, password) = ServerProcess::start(launch, &environment, directory, monitors, lease).await?;
        let generation = launch.opencode().generation();
        let client = Client::new(generation, url, None, Some(password)).map_err(|error| unreachable(&error))?;
        // What it answers, other requests will tell.
        if let Err(error @ ClientError::NoAnswer(_)) = client.version().await {
            process.end().await;
            return Err(unreachable(&error));
        }
        let exited = process.watch();
        let server = Self::over(client, launch.opencode().version(), Some(process), exited);
        Ok(Self { launch_guard: Some(launch_guard), lease: lease.clone(), ..server })
    }

    /// Takes a server that somebody else runs.
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
                let message =
                    "what answers at this address is no opencode server, or one that is older than can be driven";
                StartError::new(FailureKind::Opencode, message).hint("check the address").caused_by(error)
            }
            other => unreachable(&other),
        })?;
        let unsupported = |why: String| {
            StartError::new(FailureKind::Opencode, format!("the opencode server cannot be driven: {why}"))
        };
        let version: Version = version.parse().map_err(|_| unsupported("it does not say its version".to_owned()))?;
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
        let (directories, kill_batches, next_memory_check) =
            (Mutex::default(), KillBatches::default(), Mutex::new(Instant::now()));
        let (baseline_memory, is_recycling) = (OnceLock::new(), AtomicBool::new(false));
        let (known_agents, known_models) = (Mutex::default(), Mutex::default());
        Self {
            client,
            version,
            dispatcher,
            process,
            exited,
            directories,
            kill_batches,
            known_agents,
            known_models,
            next_memory_check,
            baseline_memory,
            is_recycling,
            idle_since: Mutex::new(Instant::now()),
            lease: Lease::default(),
            launch_guard: None,
        }
    }

    /// Lets the requests of a turn through to its model source; none where they are not seen by us.
    ///
    /// # Errors
    ///
    /// If the turn cannot be held to its budget.
    pub(crate) fn lease_route(&self, session: &SessionId, budget: Budget) -> Result<Option<RouteLease>, StartError> {
        match self.launch_guard.as_ref().and_then(|launch_guard| launch_guard.route.as_ref()) {
            Some(route) => route.lease(session, budget).map(Some),
            None if budget.is_unlimited() => Ok(None),
            None => Err(err_unmetered()),
        }
    }

    /// Checks that a model that opencode has to know is there and has the variant that a turn wants, before anything is made for
    /// the turn. opencode takes no notice of a variant that a model does not have.
    ///
    /// A model is looked for once, and once more for a variant that was not among its own. Where a directory has others than
    /// the one that it was seen in, and where the server does not say, the turn itself tells.
    ///
    /// # Errors
    ///
    /// If it is not there, with the nearest ones that are; if it has no such variant, with those that it has. It is then called
    /// `known_as`, which is how whoever asked for it calls it.
    pub(crate) async fn check_model(
        &self,
        directory: &Path,
        model: &str,
        known_as: &str,
        variant: Option<&str>,
    ) -> Result<(), StartError> {
        let known = || self.known_models.lock().unwrap_or_else(PoisonError::into_inner);
        if known().get(model).is_some_and(|variants| lacking(variants.as_deref(), variant).is_none()) {
            return Ok(());
        }
        let models = match self.client.models(directory, Some(model)).await {
            Ok(models) => models,
            Err(error) => {
                tracing::debug!(%error, "the server does not say which models there are");
                return Ok(());
            }
        };
        let Some(found) = models.iter().find(|known| known.name == model) else {
            return Err(no_model(model, &models));
        };
        known().insert(found.name.clone(), found.variants.clone());
        match lacking(found.variants.as_deref(), variant) {
            None => Ok(()),
            Some((variant, variants)) => Err(no_variant(known_as, variant, variants)),
        }
    }

    /// Makes a session in a directory.
    ///
    /// Where the server finds another opencode at work on the database, and has waited for it in vain, nothing is made yet, and
    /// it is asked again.
    pub(crate) async fn new_session(&self, new: NewSession<'_>) -> Result<SessionId, ClientError> {
        for _ in 0..MAX_LOCKED_REQUESTS {
            let made = self.client.new_session(new).await;
            if !self.saw_locked_database(&made).await {
                return made;
            }
            tracing::info!("another opencode is at work on the database: the session is asked for again");
        }
        Err(ClientError::Locked)
    }

    /// Returns whether a request failed since another opencode was at work on the database.
    async fn saw_locked_database<T>(&self, answer: &Result<T, ClientError>) -> bool {
        let Err(ClientError::Refused { reference, .. }) = answer else { return false };
        let line = self.log_line(reference.as_deref()).await;
        line.is_some_and(|line| self.client.generation().read_stderr(&line) == StderrLine::DatabaseBusy)
    }

    /// Returns what the log of a server of ours says of an answer with this reference.
    pub(super) async fn log_line(&self, reference: Option<&str>) -> Option<String> {
        self.process.as_ref()?.log_line(reference?).await
    }

    /// Returns how the server ended, if it did.
    pub(crate) fn exit(&self) -> Option<String> {
        self.exited.borrow().clone()
    }

    /// Returns the watch that receives the server's end.
    pub(crate) fn exit_watch(&self) -> watch::Receiver<Option<String>> {
        self.exited.clone()
    }

    // The lock is held for plain look-ups and assignments only.
    fn directories(&self) -> MutexGuard<'_, TurnDirectories> {
        self.directories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether the agents of a directory have all of their models; it is looked at once.
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

    /// Waits until the server's stream is open, so that nothing that happens from then on is missed.
    ///
    /// # Errors
    ///
    /// If the server ends before, or it takes too long.
    pub(crate) async fn connected(&self) -> Result<(), ClientError> {
        let mut exited = self.exited.clone();
        tokio::select! {
            open = self.dispatcher.connected() => open,
            // One that somebody else runs says nothing of its end.
            Ok(how) = exited.wait_for(Option::is_some) => Err(ClientError::NoAnswer(how.clone().unwrap_or_default())),
        }
    }

    /// Returns whether somebody is at work in a session.
    ///
    /// The server is asked once, and the stream says what comes after that; what it says is late by a moment, so it is only
    /// believed where it says that nobody is.
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

    /// Notes that a turn comes to work in a directory.
    pub(crate) fn begin_turn(self: &Arc<Self>, directory: &Path) -> TurnGuard {
        let began = self.directories().begin_turn(directory);
        let turn = EndedTurn { directory: directory.to_owned(), began };
        TurnGuard { server: Arc::clone(self), turn, was_ended: false }
    }

    /// Ends what a turn left, after it has left.
    ///
    /// A process that may be another turn's, one that is under way, is left to that one.
    async fn kill_leftovers(self: &Arc<Self>, turn: EndedTurn) {
        let Some(process) = &self.process else { return };
        let kill_leftovers = |mut ended: Vec<EndedTurn>| async move {
            let Some(since) = self.directories().take_deferred(&mut ended) else { return };
            let server = Arc::clone(self);
            let is_leftover = move |tools: &[ToolProcess]| server.directories().are_leftovers(tools, &ended);
            tree::kill_tools(process.tag(), process.own_processes(), since, is_leftover).await;
        };
        self.kill_batches.kill_leftovers(turn, kill_leftovers).await;
    }

    /// Returns the server's lease.
    pub(crate) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Returns since when the server has had no turn; `None` while it has one.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        let since = *self.idle_since.lock().unwrap_or_else(PoisonError::into_inner);
        (!self.is_active()).then_some(since)
    }

    /// Returns whether a turn is at work.
    pub(crate) fn is_active(&self) -> bool {
        self.directories().is_active()
    }

    /// Lets go of what the server keeps for a directory, if turns of ours have worked there and none does now.
    pub(crate) async fn dispose(&self, directory: &Path) {
        if !self.directories().forget(directory) {
            return;
        }
        self.known_agents.lock().unwrap_or_else(PoisonError::into_inner).remove(directory);
        if let Err(error) = self.client.dispose(directory).await {
            tracing::debug!(%error, "a directory could not be disposed of");
        }
    }

    /// Ends a server of ours, with all that it started.
    pub(crate) async fn end(&self) {
        if let Some(process) = &self.process {
            process.end().await;
        }
    }

    /// Returns how much memory a server of ours takes, in bytes, where the system says so and it was not asked just before.
    pub(crate) async fn memory(&self) -> Option<u64> {
        let process = self.process.as_ref()?;
        {
            let mut next_memory_check = self.next_memory_check.lock().unwrap_or_else(PoisonError::into_inner);
            if Instant::now() < *next_memory_check {
                return None;
            }
            *next_memory_check = Instant::now() + MEMORY_CHECK_INTERVAL;
        }
        tree::memory(process.id()).await
    }

    /// Returns how much memory the server may take before it is replaced, in bytes: somewhat more than what it took when this
    /// was asked first, which is after its first turn, and more with many turns at work. What a turn takes, with plugins and
    /// language servers, is the user's choice; what is added with every further directory never goes away.
    pub(crate) fn baseline_limit(&self, memory: u64) -> u64 {
        limit(*self.baseline_memory.get_or_init(|| memory), self.directories().active_turn_count())
    }

    /// Notes that another server is started in the place of this one. Returns false if there is one already.
    pub(crate) fn begin_recycling(&self) -> bool {
        !self.is_recycling.swap(true, Ordering::Relaxed)
    }

    /// Notes that no other server has taken the place of this one.
    pub(crate) fn cancel_recycling(&self) {
        self.is_recycling.store(false, Ordering::Relaxed);
    }

    /// Says why a request that a turn needs was in vain.
    pub(crate) async fn failure(&self, error: ClientError, session: &SessionId) -> TurnFailure {
        match error {
            ClientError::NoAnswer(why) => {
                // The end of a process is noticed a moment after the end of its connections.
                let mut exited = self.exited.clone();
                let wait = exited.wait_for(Option::is_some);
                let exit = tokio::time::timeout(Duration::from_millis(500), wait).await;
                let exit = exit.ok().and_then(Result::ok).and_then(|exit| exit.clone());
                TurnFailure::ServerLost { message: exit.unwrap_or(why) }
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
            error @ (ClientError::Locked | ClientError::OtherDirectory { .. }) => {
                TurnFailure::Opencode { message: error.to_string() }
            }
            error @ (ClientError::Unauthorized | ClientError::Unreadable | ClientError::TooLong { .. }) => {
                TurnFailure::Protocol { message: error.to_string() }
            }
        }
    }
}

/// A turn's presence on a server and in its directory there, from before its session is made. Dropping it says that the turn is
/// over; what it left at work is left to the next turn that ends.
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

    /// Says that the turn is over, and ends what it left at work.
    pub(crate) async fn end(mut self) {
        let (server, turn) = (Arc::clone(&self.server), self.turn.clone());
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

/// Returns how much memory a server may take that took this much after its first turn, in bytes.
fn limit(usual: u64, active_turn_count: usize) -> u64 {
    let further = active_turn_count.saturating_sub(TURNS_IN_MIN_LIMIT) as u64;
    (usual / 100 * 115).max(MIN_MEMORY_LIMIT + MEMORY_PER_FURTHER_TURN * further)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_take_more_with_plugins_and_with_many_turns() {
        const MIB: u64 = 1 << 20;
        assert_eq!(limit(350 * MIB, 5), 500 * MIB, "what is added to an idle server");
        assert_eq!(limit(800 * MIB, 1), 920 * MIB, "a part more than what is usual with its plugins");
        assert_eq!(limit(350 * MIB, 8), 500 * MIB, "with eight turns as well");
        assert_eq!(limit(350 * MIB, 16), 1340 * MIB, "as much more for each");
    }
}
