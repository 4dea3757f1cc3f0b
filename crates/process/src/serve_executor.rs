//! The executor that runs turns on warm servers.

mod prepared_session;
mod release;
mod running;
mod undo;

use self::prepared_session::PreparedSession;
use crate::background::Background;
use crate::launch_key::LaunchKey;
use crate::protocol::turn::TurnPlan;
use crate::protocol::{self, ClientError, NewSession, SERVER_CREDENTIALS, check_server_support};
use crate::request::{check, err_wrong_directory};
use crate::schema::AnswerSchema;
use crate::serve::extension_watch::ExtensionWatch;
use crate::serve::pool::Pool;
use crate::serve::server::{Server, TurnGuard};
use crate::serve::sessions::{Sessions, TakenSession};
use crate::serve::start_error::{err_invalid_model, err_invalid_schema, err_no_session, err_unreachable};
use crate::serve::turn::ServerTurn;
use crate::session::SessionLookupError;
use crate::session_info::SessionInfo;
use crate::shared_sources::SharedSources;
use crate::{Launch, Version};
use async_trait::async_trait;
use opencode_run_containment::blocking;
use opencode_run_core::{
    Executor, FailureKind, ModelChoice, ModelConfig, ModelSourceType, PermissionPolicy, Remedy, SessionId, StartError,
    StartedTurn, Task, TurnRequest,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;
use tokio::runtime::Handle;
use tracing::Instrument;

/// The number of signals that may wait for the consumer.
const SIGNAL_CAPACITY: usize = 256;

/// Runs turns on servers that stay warm between them: `opencode serve` on loopback, with a random password.
///
/// - One server serves any number of tasks and turns in parallel. A second one is started only for turns with other
///   settings that are fixed when a server starts. Model sources share one, see
///   [`with_model_sources`](Self::with_model_sources).
/// - If opencode must know a model by itself, the server's models are checked once, before a session is created. An
///   unknown model fails with suggestions. If the server does not list its models, the turn reports the problem.
/// - Text and reasoning arrive token by token. The answer to a message is authoritative; the event stream is for live
///   output. A broken stream is reopened, and missed output is read from the session.
/// - An interrupt keeps the session. Processes that a turn leaves in its task's directory are killed at its end.
/// - A server that has grown too large is recycled: it accepts no new turns, and exits after its last one.
/// - The servers and turns run on the executor's own thread and runtime. Turns can be started from any runtime, even in
///   parallel, and go on when it is gone. A [`PermissionPolicy::Ask`](opencode_run_core::PermissionPolicy::Ask) handler
///   and a [`Recorder`](opencode_run_core::Recorder) run on that thread, too: what blocks there blocks all turns.
/// - A server that has been idle for a minute ends, and at most eight are alive: see [`Launch::server_idle_timeout`]
///   and [`Launch::max_servers`].
/// - Dropping the executor kills its servers with their process trees, once its turns are over.
#[derive(Debug, Clone)]
pub struct ServeExecutor {
    shared: Arc<Shared>,
    sources: SharedSources,
}

#[derive(Debug)]
struct Shared {
    // Dropped before the runtime that ends them.
    servers: Servers,
    sessions: Arc<Sessions>,
    /// One of the user's agents has a model that only the catalog describes.
    needs_catalog: AtomicBool,
    background: Arc<Background>,
}

#[derive(Debug)]
enum Servers {
    Own(Arc<Pool>),
    Attached(Arc<Server>),
}

impl ServeExecutor {
    /// Returns an executor that starts its servers with these settings. No server is started before the first turn.
    ///
    /// # Errors
    ///
    /// If the server of this version of opencode is not supported.
    pub fn new(launch: Launch) -> Result<Self, StartError> {
        let version = launch.opencode().version();
        if let Err(why) = check_server_support(version) {
            let message = format!("the server of opencode {version} is not supported: {why}");
            return Err(StartError::new(FailureKind::Opencode, message).remedy(Remedy::RunWithoutServer));
        }
        // A server belongs to no task: its first working directory should have nothing for opencode to find.
        let pool = Pool::new(launch, std::env::temp_dir(), None);
        Ok(Self::over(Servers::Own(Arc::new(pool)), Background::of_executor()?))
    }

    /// Recycles servers that take more memory than this, in bytes. By default the limit is somewhat above the memory
    /// after a server's first turn, and grows with the number of active turns.
    ///
    /// For an executor that has started no server yet.
    #[must_use]
    pub fn memory_limit(self, bytes: u64) -> Self {
        match &self.shared.servers {
            Servers::Own(pool) => {
                Self::over(Servers::Own(Arc::new(pool.limited_to(bytes))), Arc::clone(&self.shared.background))
            }
            Servers::Attached(_) => self,
        }
    }

    /// Attaches to a running server at `http://HOST:PORT`. The server is never ended, and its processes are never
    /// killed. Model sources cannot be used on it: its models were fixed when it started.
    ///
    /// # Errors
    ///
    /// If there is no server, it rejects the password, or its version is not supported.
    pub async fn attach(url: &str, user: Option<String>, password: Option<String>) -> Result<Self, StartError> {
        let wrong = || {
            StartError::new(FailureKind::Usage, format!("`{url}` is not the address of a server"))
                .hint("write it as http://127.0.0.1:4096")
        };
        let address = reqwest::Url::parse(url).map_err(|_| wrong())?;
        if !address.username().is_empty() || address.password().is_some() {
            let message = "the server's address contains a user name or a password";
            return Err(
                StartError::new(FailureKind::Usage, message).hint(format!("remove them, and set {SERVER_CREDENTIALS}"))
            );
        }
        if address.scheme() != "http" || !address.has_host() {
            return Err(wrong());
        }
        let background = Background::of_executor()?;
        let server = background.run(Server::attach(address, user, password)).await?;
        Ok(Self::over(Servers::Attached(Arc::new(server)), background))
    }

    fn over(servers: Servers, background: Arc<Background>) -> Self {
        let sessions = Arc::default();
        let needs_catalog = AtomicBool::default();
        let shared = Shared { servers, sessions, needs_catalog, background };
        Self { shared: Arc::new(shared), sources: SharedSources::default() }
    }

    /// Returns a handle to the same servers whose turns on these model sources share a server.
    ///
    /// They do if opencode reaches them through the gateway and their keys are known already. Without this, each source gets a server of
    /// its own.
    #[must_use]
    pub fn with_model_sources(&self, sources: impl IntoIterator<Item = (ModelSourceType, Arc<ModelConfig>)>) -> Self {
        Self { shared: Arc::clone(&self.shared), sources: SharedSources::new(sources) }
    }

    /// Runs a future on the executor's own runtime.
    async fn run<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        future: impl FnOnce(Arc<Shared>) -> F,
    ) -> T {
        self.shared.background.run(future(Arc::clone(&self.shared))).await
    }

    /// Returns the directory that a session belongs to.
    ///
    /// Queries the server that runs turns with this model and agent, which is started if necessary.
    ///
    /// # Errors
    ///
    /// If there is no such session, or no server can be reached.
    pub async fn session_directory(
        &self,
        session: &SessionId,
        model: Option<&ModelChoice>,
        agent: Option<&str>,
    ) -> Result<PathBuf, SessionLookupError> {
        self.session_info(session, model, agent).await.map(|info| info.directory)
    }

    /// Returns opencode's information about a session.
    ///
    /// Queries the server that runs turns with this model and agent, which is started if necessary.
    ///
    /// # Errors
    ///
    /// If there is no such session, or no server can be reached.
    pub async fn session_info(
        &self,
        session: &SessionId,
        model: Option<&ModelChoice>,
        agent: Option<&str>,
    ) -> Result<SessionInfo, SessionLookupError> {
        if !self.shared.may_exist(session) {
            return Err(SessionLookupError::NotFound(session.clone()));
        }
        let (launch_key, _) = self.shared.launch_key(&self.sources, model, agent)?;
        let session = session.clone();
        self.run(async move |shared: Arc<Shared>| {
            let server = shared.server(&launch_key).await?;
            server.client.session_info(&session).await.map_err(|error| match error {
                ClientError::NotFound(_) => SessionLookupError::NotFound(session.clone()),
                other => SessionLookupError::Unanswered { session: session.clone(), why: other.to_string() },
            })
        })
        .await
    }

    /// Returns the names of the models that can be used in a directory.
    ///
    /// # Errors
    ///
    /// The reason why the models are unknown.
    pub(crate) async fn model_names(&self, directory: &Path) -> Result<Vec<String>, String> {
        let (launch_key, _) = self.shared.launch_key(&self.sources, None, None).map_err(|error| error.to_string())?;
        let directory = directory.to_owned();
        self.run(async move |shared: Arc<Shared>| {
            let server = shared.server(&launch_key).await.map_err(|error| error.to_string())?;
            let models = server.client.models(&directory, None).await.map_err(|error| error.to_string())?;
            Ok(models.into_iter().map(|model| model.name).collect())
        })
        .await
    }

    /// Kills all servers of this executor with their process trees. Returns when no process of them is left. Running
    /// turns end as failed. A later turn starts a server again.
    pub async fn shutdown(&self) {
        self.run(async |shared: Arc<Shared>| {
            if let Servers::Own(pool) = &shared.servers {
                pool.end().await;
            }
        })
        .await;
    }
}

impl Shared {
    fn version(&self) -> Version {
        match &self.servers {
            Servers::Own(pool) => pool.launch().opencode().version(),
            Servers::Attached(server) => server.version,
        }
    }

    /// Returns whether opencode could have assigned an id to a session.
    fn may_exist(&self, session: &SessionId) -> bool {
        match &self.servers {
            Servers::Own(pool) => pool.launch().opencode().generation().may_exist(session),
            Servers::Attached(server) => server.client.generation().may_exist(session),
        }
    }

    /// Returns the launch key of a server for turns on this model, and the model's name there.
    fn launch_key(
        &self,
        sources: &SharedSources,
        model: Option<&ModelChoice>,
        agent: Option<&str>,
    ) -> Result<(LaunchKey, Option<String>), StartError> {
        match &self.servers {
            Servers::Own(pool) => {
                let (launch_key, name) = LaunchKey::for_server(pool.launch(), sources, model, agent)?;
                let full = self.needs_catalog.load(Ordering::Relaxed);
                Ok((if full { launch_key.with_catalog() } else { launch_key }, name))
            }
            Servers::Attached(_) => match model {
                Some(ModelChoice::Source { source, .. }) => {
                    let message = format!(
                        "the model source `{source}` cannot be used on an attached server: the models of a \
                         server are fixed when it starts"
                    );
                    Err(StartError::new(FailureKind::Config, message).remedy(Remedy::UseModelOfServer))
                }
                named => Ok((LaunchKey::default(), named.map(ToString::to_string))),
            },
        }
    }

    async fn server(&self, launch_key: &LaunchKey) -> Result<Arc<Server>, StartError> {
        match &self.servers {
            Servers::Own(pool) => pool.server(launch_key).await,
            Servers::Attached(server) => Ok(Arc::clone(server)),
        }
    }

    /// Returns a turn's registration on a server that has the model, its session there, and the model's name for the
    /// message.
    async fn place(
        &self,
        launch_key: &mut LaunchKey,
        request: &TurnRequest,
        model: Option<&str>,
    ) -> Result<(TurnGuard, PreparedSession, Option<String>), StartError> {
        let directory = &request.task.directory;
        // Registered first, so that the server counts as busy: its first request in a new directory is the most
        // expensive.
        let turn_guard = self.server(launch_key).await?.begin_turn(directory).await;
        let server = turn_guard.server();
        let variant = request.prompt.options.variant.as_deref();
        let default = match model {
            Some(_) => None,
            None => match server.client.default_model(directory, request.session.as_ref()).await {
                Ok(default) => default,
                Err(error) => {
                    return Err(match (error, &request.session) {
                        (ClientError::NotFound(_), Some(session)) => err_no_session(session),
                        (error, _) => server.start_error(error).await,
                    });
                }
            },
        };
        let model = model.or(default.as_deref());
        let named = model.map(str::to_owned);
        if let Some(model) = model.filter(|_| !is_described(request.prompt.options.model.as_ref()) || variant.is_some())
        {
            let known_as = match &request.prompt.options.model {
                // opencode knows the model by a name that we made up.
                Some(ModelChoice::Source { config, .. }) => &config.model,
                _ => model,
            };
            server.check_model(directory, model, known_as, variant).await?;
        }
        let session = self.session(server, request, model);
        if !launch_key.has_empty_catalog() {
            let session = session.await?;
            return Ok((turn_guard, session, named));
        }
        // The directory may have agents with models of their own. The first request in a new directory is slow, so the
        // session is created at the same time.
        let has_models = server.has_models_of_agents(directory);
        // Neither cancels the other: a created session must be known.
        let (has_models, session) = tokio::join!(has_models, session);
        let session = session?;
        let has_models = match has_models {
            Ok(has_models) => has_models,
            Err(error) => return Err(server.start_error(error).await),
        };
        if has_models {
            return Ok((turn_guard, session, named));
        }
        tracing::info!("an agent has its own model: restarting opencode with the models.dev catalog");
        self.needs_catalog.store(true, Ordering::Relaxed);
        *launch_key = std::mem::take(launch_key).with_catalog();
        if let Servers::Own(pool) = &self.servers {
            pool.drain(server);
        }
        // All servers share the same sessions.
        Ok((self.server(launch_key).await?.begin_turn(directory).await, session, named))
    }

    /// Returns the session of a turn, new or continued, after checking that no other turn is active in it.
    async fn session(
        &self,
        server: &Arc<Server>,
        request: &TurnRequest,
        model: Option<&str>,
    ) -> Result<PreparedSession, StartError> {
        let directory = &request.task.directory;
        let Some(session) = &request.session else {
            let title = request.title();
            let model = model.and_then(|model| model.parse().ok());
            let options = &request.prompt.options;
            let variant = options.variant.as_deref();
            let agent = options.agent.as_deref();
            let new = NewSession { directory, title: &title, model: model.as_ref(), variant, agent };
            return match server.new_session(new).await {
                Ok(id) => Ok(PreparedSession { id, made: Some((Arc::clone(server), directory.clone())) }),
                Err(error) => Err(server.start_error(error).await),
            };
        };
        // Between our turns, no other client works on a server that we started.
        let is_ours = matches!(self.servers, Servers::Own(_)) && self.sessions.has_had_turn(session);
        if !is_ours {
            match server.is_busy(directory, session).await {
                Ok(false) => {}
                Ok(true) => return Err(err_busy(session)),
                Err(error) => return Err(server.start_error(error).await),
            }
        }
        Ok(PreparedSession { id: session.clone(), made: None })
    }

    /// Prepares a turn, up to the point from which it must be run.
    async fn prepare(
        self: Arc<Self>,
        sources: SharedSources,
        request: TurnRequest,
    ) -> Result<(StartedTurn, Prepared), StartError> {
        let prompt = &request.prompt;
        let schema =
            prompt.schema.as_ref().map(AnswerSchema::read).transpose().map_err(|why| err_invalid_schema(&why))?;
        protocol::check_serve_in(self.version(), &request.task.directory)
            .map_err(|why| err_wrong_directory(&request, &why))?;
        let (mut launch_key, model) =
            self.launch_key(&sources, prompt.options.model.as_ref(), prompt.options.agent.as_deref())?;
        if let Some(session) = &request.session {
            self.sessions.wait_for_leaving(session).await;
        }
        let is_new = request.session.is_none();
        let (turn_guard, session, model) = self.place(&mut launch_key, &request, model.as_deref()).await?;
        let (started, driver) = StartedTurn::channel(SIGNAL_CAPACITY);
        let is_first = !self.sessions.has_had_turn(&session.id);
        let taken = self.sessions.take(&session.id, driver.signals.downgrade());
        let taken = taken.ok_or_else(|| err_busy(&session.id))?;
        let server = Arc::clone(turn_guard.server());
        let subscription = server.dispatcher.subscribe(session.id.clone());
        server.connected().await.map_err(|error| err_unreachable(&error))?;
        let options = &request.prompt.options;
        let source = options.model.as_ref().and_then(ModelChoice::source_type);
        if let (Some(_), Servers::Own(pool), false) = (source, &self.servers, server.has_route(source)) {
            // It could not be opened when the server started, which has a reason that is worth reporting.
            drop(pool.launch().route(options.model.as_ref())?);
        }
        let route_lease = server.lease_route(source, &session.id, options.budget())?;
        let route_lease =
            route_lease.map(|route_lease| route_lease.with_idle_limit(request.prompt.options.limits().idle));
        let session = session.keep();
        let TurnRequest { prompt, task, .. } = request;
        let directory = task.directory.clone();
        let policy = prompt.options.permissions.clone().unwrap_or_default();
        let denies = matches!(policy, PermissionPolicy::Deny);
        let plan = TurnPlan { session: session.clone(), is_new, directory, prompt, model, schema, denies };
        let protocol = server.client.turn(plan, SystemTime::now()).ok_or_else(err_invalid_model)?;
        let redaction = launch_key.redaction();
        // Once for each session: the same failures in each turn are noise.
        let extensions =
            if is_first { ExtensionWatch::start(server, task.directory) } else { ExtensionWatch::default() };
        let turn = ServerTurn {
            driver,
            turn_guard,
            subscription,
            session,
            protocol,
            policy,
            route_lease,
            redaction,
            extensions,
        };
        Ok((started, Prepared { turn, taken }))
    }
}

/// A turn that is ready to run.
struct Prepared {
    turn: ServerTurn,
    taken: TakenSession,
}

/// Returns whether opencode gets a full description of the model, so that it cannot be unknown.
fn is_described(model: Option<&ModelChoice>) -> bool {
    matches!(model, Some(ModelChoice::Source { config, .. }) if config.base_url.is_some())
}

fn err_busy(session: &SessionId) -> StartError {
    StartError::new(FailureKind::Busy, format!("session {session} has another active turn"))
        .hint("wait until it ends, or start a new session")
}

#[async_trait]
impl Executor for ServeExecutor {
    async fn start(&self, mut request: TurnRequest) -> Result<StartedTurn, StartError> {
        let has_gateway = match &self.shared.servers {
            Servers::Own(pool) => pool.launch().has_gateway(),
            Servers::Attached(_) => false,
        };
        let request = blocking::call(move || check(&mut request, has_gateway).map(|()| request)).await?;
        let sources = self.sources.clone();
        self.run(async move |shared: Arc<Shared>| {
            let (started, prepared) = Arc::clone(&shared).prepare(sources, request).await?;
            tokio::spawn(prepared.run(shared).in_current_span());
            Ok(started)
        })
        .await
    }

    fn runtime(&self) -> Option<Handle> {
        self.shared.background.handle()
    }

    async fn release(&self, task: &Task, session: Option<&SessionId>, forget: bool) -> Result<(), StartError> {
        let task = task.clone();
        let session = session.cloned();
        self.run(async move |shared: Arc<Shared>| shared.release(&task, session.as_ref(), forget).await).await
    }
}
