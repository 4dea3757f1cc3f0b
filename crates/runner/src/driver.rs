//! The ways to drive opencode: the runner's own servers, an attached server, or a process per turn.

use crate::BuildError;
use opencode_run_config::ModelSource;
use opencode_run_core::{ErrorChain, Executor, ModelChoice, SessionId};
use opencode_run_process::{Launch, RunExecutor, ServeExecutor, SessionInfo, SessionLookupError, Undo};
use std::path::Path;
use std::sync::Arc;

/// The way in which opencode is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transport {
    /// A warm server, `opencode serve`: many turns, streamed token by token.
    Serve,
    /// One process per turn, `opencode run`.
    Run,
}

/// The executor of a runner's turns.
#[derive(Debug)]
pub(crate) enum Driver {
    /// Servers that are started for the host and end with it.
    Server(ServeExecutor),
    /// A running server that was attached to.
    Attached(ServeExecutor),
    /// One process per turn, with the reason why no server is used, unless processes were requested.
    Process(Box<RunExecutor>, Option<String>),
    /// An executor provided by the caller.
    Brought(Arc<dyn Executor>),
}

impl Driver {
    /// Creates the requested driver; by default a server, or processes if that is not possible.
    ///
    /// # Errors
    ///
    /// If this version of opencode cannot be driven in the requested way.
    pub(crate) fn new(launch: Launch, wished: Option<Transport>) -> Result<Self, BuildError> {
        match (wished, ServeExecutor::new(launch.clone())) {
            (Some(Transport::Run), _) => Ok(Self::Process(Box::new(RunExecutor::new(launch)), None)),
            (_, Ok(server)) => Ok(Self::Server(server)),
            (Some(Transport::Serve), Err(error)) => Err(error.into()),
            (None, Err(error)) => {
                Ok(Self::Process(Box::new(RunExecutor::new(launch)), Some(ErrorChain::new(&error).to_string())))
            }
        }
    }

    /// Returns the executor for a task with these model sources, whose turns share a server.
    pub(crate) fn executor_with(&self, sources: &ModelSource) -> Arc<dyn Executor> {
        match self {
            Self::Server(server) => Arc::new(with_sources(server, sources)),
            other => other.executor(),
        }
    }

    pub(crate) fn executor(&self) -> Arc<dyn Executor> {
        match self {
            Self::Server(server) | Self::Attached(server) => Arc::new(server.clone()),
            Self::Process(processes, _) => Arc::new(RunExecutor::clone(processes)),
            Self::Brought(executor) => Arc::clone(executor),
        }
    }

    /// Returns opencode's information about a session; `None` for an executor provided by the caller. `model` and
    /// `agent` are those of the following turns.
    pub(crate) async fn session_info(
        &self,
        session: &SessionId,
        sources: &ModelSource,
        model: Option<&ModelChoice>,
        agent: Option<&str>,
    ) -> Result<Option<SessionInfo>, SessionLookupError> {
        match self {
            Self::Server(server) | Self::Attached(server) => {
                with_sources(server, sources).session_info(session, model, agent).await.map(Some)
            }
            Self::Process(processes, _) => processes.session_info(session).await.map(Some),
            Self::Brought(_) => Ok(None),
        }
    }

    /// Reverts the last turn of a session, with the files that it changed.
    pub(crate) async fn undo(
        &self,
        (directory, session): (&Path, &SessionId),
        sources: &ModelSource,
        model: Option<&ModelChoice>,
        agent: Option<&str>,
    ) -> Result<Undo, SessionLookupError> {
        match self {
            Self::Server(server) | Self::Attached(server) => {
                with_sources(server, sources).undo(directory, session, model, agent).await
            }
            Self::Process(..) | Self::Brought(_) => Ok(Undo::Unsupported),
        }
    }

    /// Returns the transport; `None` for an executor provided by the caller.
    pub(crate) fn transport(&self) -> Option<Transport> {
        match self {
            Self::Server(_) | Self::Attached(_) => Some(Transport::Serve),
            Self::Process(..) => Some(Transport::Run),
            Self::Brought(_) => None,
        }
    }

    /// Returns the reason why opencode is not driven as a server although no transport was requested.
    pub(crate) fn why_no_server(&self) -> Option<&str> {
        match self {
            Self::Process(_, why) => why.as_deref(),
            _ => None,
        }
    }

    /// Releases the state that servers keep for a directory, some time after its last use.
    pub(crate) fn abandon(&self, directory: &Path) {
        if let Self::Server(server) | Self::Attached(server) = self {
            server.abandon(directory);
        }
    }

    /// Returns the servers that were started for the host.
    pub(crate) fn own_server(&self) -> Option<&ServeExecutor> {
        match self {
            Self::Server(server) => Some(server),
            _ => None,
        }
    }
}

fn with_sources(server: &ServeExecutor, sources: &ModelSource) -> ServeExecutor {
    server.with_model_sources(sources.iter().map(|(source, config)| (source, Arc::clone(config))))
}
