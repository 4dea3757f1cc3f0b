//! The executor that runs turns on warm servers.

mod release;

use crate::background::Background;
use crate::blocking;
use crate::launch_key::LaunchKey;
use crate::protocol::{self, ClientError, NewSession, check_server_support};
use crate::request::{check, wrong_directory};
use crate::schema::AnswerSchema;
use crate::serve::pool::Pool;
use crate::serve::server::{Server, TurnGuard};
use crate::serve::sessions::{Sessions, TakenSession};
use crate::serve::start_error::unreachable;
use crate::serve::turn::PreparedTurn;
use crate::serve::turn_parts::TurnParts;
use crate::session::{SessionInfo, SessionLookupError};
use crate::{Launch, Version};
use async_trait::async_trait;
use opencode_run_core::{
    Executor, FailureKind, ModelChoice, Remedy, SessionId, StartError, StartedTurn, Task, TurnRequest,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How many signals may wait for the consumer.
const SIGNAL_CAPACITY: usize = 256;

/// Runs turns on servers that stay warm between them: `opencode serve` on loopback, with a random password.
///
/// - One server serves any number of tasks and turns at once. A second one is started only for turns that need other
///   settings from the start of a server on: another model source.
/// - A model that opencode has to know by itself is looked for on the server before a session is made, once a server; one that
///   is not there is answered with the nearest ones. Where the server does not say which there are, the turn tells.
/// - Text and reasoning come token by token. The answer to a message is the truth about its turn; the stream of events is
///   for watching, and is opened again and made up for when it breaks.
/// - An interrupt keeps the session. What a turn leaves at work in its task's directory is ended when it ends.
/// - A server that has grown too large is replaced. It gets no further turns then, and ends with its last one.
/// - The servers live on a thread and runtime of the executor's own. Turns can be started from any runtime, several at once, and from
///   another one once the first is gone. A [`PermissionPolicy::Ask`](opencode_run_core::PermissionPolicy::Ask) is asked on that runtime.
/// - A server that has no turn for a minute ends, and at most eight are alive: see [`Launch::server_idle_timeout`] and
///   [`Launch::max_servers`].
/// - Dropping the executor ends its servers with all that they started, once its turns are over.
#[derive(Debug, Clone)]
pub struct ServeExecutor {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    // Dropped before the runtime that ends them.
    servers: Servers,
    sessions: Arc<Sessions>,
    /// An agent of the user's has a model that only the catalog describes.
    needs_catalog: AtomicBool,
    background: Arc<Background>,
}

#[derive(Debug)]
enum Servers {
    Own(Arc<Pool>),
    Attached(Arc<Server>),
}

impl ServeExecutor {
    /// Makes an executor that starts its servers so. No server is started before the first turn.
    ///
    /// # Errors
    ///
    /// If that version of opencode cannot be driven as a server.
    pub fn new(launch: Launch) -> Result<Self, StartError> {
        let version = launch.opencode().version();
        if let Err(why) = check_server_support(version) {
            let message = format!("opencode {version} cannot be driven as a server: {why}");
            return Err(StartError::new(FailureKind::Opencode, message).remedy(Remedy::RunWithoutServer));
        }
        // A server belongs to no task: where it is started, there is nothing to be found.
        let pool = Pool::new(launch, std::env::temp_dir(), None);
        Ok(Self::over(Servers::Own(Arc::new(pool)), start_background()?))
    }

    /// Replaces servers that take more memory than this, in bytes. Unless said, it is somewhat more than a server takes after
    /// its first turn, and grows with the turns that are at work.
    ///
    /// It is for an executor that has started no server yet.
    #[must_use]
    pub fn memory_limit(self, bytes: u64) -> Self {
        match &self.shared.servers {
            Servers::Own(pool) => {
                Self::over(Servers::Own(Arc::new(pool.limited_to(bytes))), Arc::clone(&self.shared.background))
            }
            Servers::Attached(_) => self,
        }
    }

    /// Takes a server that somebody else runs, at `http://HOST:PORT`. It is never ended, and what it starts is not ours to
    /// end. Model sources cannot be used on it: what it knows was fixed when it started.
    ///
    /// # Errors
    ///
    /// If there is no server, it does not take the password, or its version cannot be driven.
    pub async fn attach(url: &str, user: Option<String>, password: Option<String>) -> Result<Self, StartError> {
        let wrong = || {
            StartError::new(FailureKind::Usage, format!("`{url}` is not the address of a server"))
                .hint("write it as http://127.0.0.1:4096")
        };
        let address = reqwest::Url::parse(url).map_err(|_| wrong())?;
        if !address.username().is_empty() || address.password().is_some() {
            let message = "the address of a server holds a user or a password";
            return Err(StartError::new(FailureKind::Usage, message)
                .hint("leave them out, and set OPENCODE_SERVER_PASSWORD (and OPENCODE_SERVER_USERNAME)"));
        }
        if address.scheme() != "http" || !address.has_host() {
            return Err(wrong());
        }
        let background = start_background()?;
        let server = background.run(Server::attach(address, user, password)).await?;
        Ok(Self::over(Servers::Attached(Arc::new(server)), background))
    }

    fn over(servers: Servers, background: Arc<Background>) -> Self {
        let (sessions, needs_catalog) = (Arc::default(), AtomicBool::default());
        let shared = Shared { servers, sessions, needs_catalog, background };
        Self { shared: Arc::new(shared) }
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
    /// It is asked on the server that turns of this model and agent run on, which is started if necessary.
    ///
    /// # Errors
    ///
    /// If there is no such session, or there is no server to ask.
    pub async fn session_directory(
        &self,
        session: &SessionId,
        model: Option<&ModelChoice>,
        agent: Option<&str>,
    ) -> Result<PathBuf, SessionLookupError> {
        self.session_info(session, model, agent).await.map(|info| info.directory)
    }

    /// Returns what opencode knows of a session.
    ///
    /// It is asked on the server that turns of this model and agent run on, which is started if necessary.
    ///
    /// # Errors
    ///
    /// If there is no such session, or there is no server to ask.
    pub async fn session_info(
        &self,
        session: &SessionId,
        model: Option<&ModelChoice>,
        agent: Option<&str>,
    ) -> Result<SessionInfo, SessionLookupError> {
        if !self.shared.may_exist(session) {
            return Err(SessionLookupError::NotFound(session.clone()));
        }
        let (launch_key, _) = self.shared.launch_key(model, agent)?;
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
    /// Why they are not known.
    pub(crate) async fn model_names(&self, directory: &Path) -> Result<Vec<String>, String> {
        let (launch_key, _) = self.shared.launch_key(None, None).map_err(|error| error.to_string())?;
        let directory = directory.to_owned();
        self.run(async move |shared: Arc<Shared>| {
            let server = shared.server(&launch_key).await.map_err(|error| error.to_string())?;
            let models = server.client.models(&directory, None).await.map_err(|error| error.to_string())?;
            Ok(models.into_iter().map(|model| model.name).collect())
        })
        .await
    }

    /// Ends all servers of this executor, with all that they started, and returns when nothing of them is left. Turns that
    /// still run end as failed. A further turn starts a server again.
    pub async fn shutdown(&self) {
        self.run(async |shared: Arc<Shared>| {
            if let Servers::Own(pool) = &shared.servers {
                pool.end().await;
            }
        })
        .await;
    }
}

fn start_background() -> Result<Arc<Background>, StartError> {
    Background::start().map(Arc::new).map_err(|error| {
        StartError::new(FailureKind::Io, "the thread for opencode's servers cannot be started")
            .hint("a limit on threads may be reached: raise it, or run fewer tasks at a time")
            .caused_by(error)
    })
}

impl Shared {
    fn version(&self) -> Version {
        match &self.servers {
            Servers::Own(pool) => pool.launch().opencode().version(),
            Servers::Attached(server) => server.version,
        }
    }

    /// Returns whether an id is one that opencode could have given to a session.
    fn may_exist(&self, session: &SessionId) -> bool {
        match &self.servers {
            Servers::Own(pool) => pool.launch().opencode().generation().may_exist(session),
            Servers::Attached(server) => server.client.generation().may_exist(session),
        }
    }

    /// Returns what must be fixed when a server starts for turns on this model, and the model's name there.
    fn launch_key(
        &self,
        model: Option<&ModelChoice>,
        agent: Option<&str>,
    ) -> Result<(LaunchKey, Option<String>), StartError> {
        match &self.servers {
            Servers::Own(pool) => {
                let (launch_key, name) = LaunchKey::for_server(pool.launch(), model, agent)?;
                let full = self.needs_catalog.load(Ordering::Relaxed);
                Ok((if full { launch_key.with_catalog() } else { launch_key }, name))
            }
            Servers::Attached(_) => match model {
                Some(ModelChoice::Source { source, .. }) => {
                    let message = format!(
                        "the model source `{source}` cannot be used on a server that somebody else runs: what models that \
                         one has was fixed when it was started"
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

    /// Returns a turn's presence on a server that has a model of this name, its session there, and the model that it is to name.
    async fn place(
        &self,
        launch_key: &mut LaunchKey,
        request: &TurnRequest,
        model: Option<&str>,
    ) -> Result<(TurnGuard, TurnSession, Option<String>), StartError> {
        let directory = &request.task.directory;
        // From now on, so that the server is known to be at work: to be asked first in a new directory is what costs it most.
        let turn_guard = self.server(launch_key).await?.begin_turn(directory);
        let server = turn_guard.server();
        let variant = request.prompt.options.variant.as_deref();
        let default = match model {
            Some(_) => None,
            None => match server.client.default_model(directory, request.session.as_ref()).await {
                Ok(default) => default,
                Err(error) => return Err(server.start_error(error).await),
            },
        };
        let model = model.or(default.as_deref());
        let named = model.map(str::to_owned);
        if let Some(model) = model.filter(|_| !is_described(request.prompt.options.model.as_ref()) || variant.is_some())
        {
            let known_as = match &request.prompt.options.model {
                // opencode has a name of our making for it.
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
        // The directory may have agents with models of their own. To be asked in a new one takes a server a while, so that it is
        // asked for the session as well.
        let has_models = server.has_models_of_agents(directory);
        // Neither ends the other: what has been made is to be known.
        let (has_models, session) = tokio::join!(has_models, session);
        let session = session?;
        let has_models = match has_models {
            Ok(has_models) => has_models,
            Err(error) => return Err(server.start_error(error).await),
        };
        if has_models {
            return Ok((turn_guard, session, named));
        }
        tracing::info!("an agent has a model of its own: opencode is started again with its catalog of models");
        self.needs_catalog.store(true, Ordering::Relaxed);
        *launch_key = std::mem::take(launch_key).with_catalog();
        if let Servers::Own(pool) = &self.servers {
            pool.drain(server);
        }
        // All servers have the same sessions.
        Ok((self.server(launch_key).await?.begin_turn(directory), session, named))
    }

    /// Returns the session of a turn, new or to be continued, after it was seen that nobody else is at work in it.
    async fn session(
        &self,
        server: &Arc<Server>,
        request: &TurnRequest,
        model: Option<&str>,
    ) -> Result<TurnSession, StartError> {
        let directory = &request.task.directory;
        let Some(session) = &request.session else {
            let title = request.title();
            let model = model.and_then(|model| model.parse().ok());
            let options = &request.prompt.options;
            let (variant, agent) = (options.variant.as_deref(), options.agent.as_deref());
            let new = NewSession { directory, title: &title, model: model.as_ref(), variant, agent };
            return match server.new_session(new).await {
                Ok(id) => Ok(TurnSession { id, made: Some((Arc::clone(server), directory.clone())) }),
                Err(error) => Err(server.start_error(error).await),
            };
        };
        // Between our turns, nobody but us works on a server of ours.
        let is_ours = matches!(self.servers, Servers::Own(_)) && self.sessions.has_had_turn(session);
        if !is_ours {
            match server.is_busy(directory, session).await {
                Ok(false) => {}
                Ok(true) => return Err(busy(session)),
                Err(error) => return Err(server.start_error(error).await),
            }
        }
        Ok(TurnSession { id: session.clone(), made: None })
    }

    /// Prepares a turn, up to the point from which it must be run.
    async fn prepare(self: Arc<Self>, request: TurnRequest) -> Result<(StartedTurn, Prepared), StartError> {
        let prompt = &request.prompt;
        let schema = prompt.schema.as_ref().map(AnswerSchema::read).transpose().map_err(|why| no_schema(&why))?;
        protocol::check_serve_in(self.version(), &request.task.directory)
            .map_err(|why| wrong_directory(&request, &why))?;
        let (mut launch_key, model) =
            self.launch_key(prompt.options.model.as_ref(), prompt.options.agent.as_deref())?;
        if let Some(session) = &request.session {
            self.sessions.wait_for_killed(session).await;
        }
        let is_new = request.session.is_none();
        let (turn_guard, session, model) = self.place(&mut launch_key, &request, model.as_deref()).await?;
        let (started, driver) = StartedTurn::channel(SIGNAL_CAPACITY);
        let taken = self.sessions.take(&session.id, driver.signals.downgrade());
        let taken = taken.ok_or_else(|| busy(&session.id))?;
        let server = Arc::clone(turn_guard.server());
        let subscription = server.dispatcher.subscribe(session.id.clone());
        server.connected().await.map_err(|error| unreachable(&error))?;
        let route_lease = server.lease_route(&session.id, request.prompt.options.budget())?;
        let route_lease =
            route_lease.map(|route_lease| route_lease.with_idle_limit(request.prompt.options.limits().idle));
        let session = session.keep();
        let turn_parts = TurnParts { driver, turn_guard, subscription, session, is_new, model, schema, route_lease };
        let turn = turn_parts.turn(request, launch_key.redaction())?;
        Ok((started, Prepared { turn, taken }))
    }
}

/// The session of a turn that is being prepared. Dropping one that was made for it deletes it: nothing was said in it, and nobody
/// knows of it.
struct TurnSession {
    id: SessionId,
    /// Where it was made, if it was.
    made: Option<(Arc<Server>, PathBuf)>,
}

impl TurnSession {
    /// Keeps the session from now on.
    fn keep(mut self) -> SessionId {
        self.made = None;
        self.id.clone()
    }
}

impl Drop for TurnSession {
    fn drop(&mut self) {
        let Some((server, directory)) = self.made.take() else { return };
        let id = self.id.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = server.client.delete_session(&directory, &id).await {
                    tracing::debug!(%error, "a session in which nothing was said could not be deleted");
                }
            });
        }
    }
}

/// A turn that is ready to run.
struct Prepared {
    turn: PreparedTurn,
    taken: TakenSession,
}

/// Returns whether a model is one that we describe to opencode, so that it cannot fail to know it.
fn is_described(model: Option<&ModelChoice>) -> bool {
    matches!(model, Some(ModelChoice::Source { config, .. }) if config.base_url.is_some())
}

fn no_schema(why: &str) -> StartError {
    StartError::new(FailureKind::Usage, format!("the answer cannot be held to the JSON Schema: {why}"))
        .hint("correct the schema; what it refers to must be within it")
}

fn busy(session: &SessionId) -> StartError {
    StartError::new(FailureKind::Busy, format!("session {session} is at work on another turn"))
        .hint("wait until it is done, or begin another session")
}

#[async_trait]
impl Executor for ServeExecutor {
    async fn start(&self, mut request: TurnRequest) -> Result<StartedTurn, StartError> {
        let has_gateway = match &self.shared.servers {
            Servers::Own(pool) => pool.launch().has_gateway(),
            Servers::Attached(_) => false,
        };
        let request = blocking::call(move || check(&mut request, has_gateway).map(|()| request)).await?;
        self.run(async move |shared: Arc<Shared>| {
            let (started, Prepared { turn, taken }) = Arc::clone(&shared).prepare(request).await?;
            tokio::spawn(async move {
                let server = Arc::downgrade(turn.turn_guard().server());
                let over = turn.run().await;
                drop(taken);
                // A consumer that never reads the end keeps no server alive, only the runtime that this runs on.
                let (background, executor) = (Arc::clone(&shared.background), Arc::downgrade(&shared));
                drop(shared);
                over.deliver_end().await;
                if let (Some(shared), Some(server)) = (executor.upgrade(), server.upgrade())
                    && let Servers::Own(pool) = &shared.servers
                {
                    pool.recycle_if_large(&server).await;
                }
                drop(background);
            });
            Ok(started)
        })
        .await
    }

    async fn release(&self, task: &Task, session: Option<&SessionId>, forget: bool) -> Result<(), StartError> {
        let (task, session) = (task.clone(), session.cloned());
        self.run(async move |shared: Arc<Shared>| shared.release(&task, session.as_ref(), forget).await).await
    }
}
