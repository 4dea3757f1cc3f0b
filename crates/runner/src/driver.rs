//! What drives opencode for a runner: a server of its own, one that somebody else runs, or a process for each turn.

use crate::BuildError;
use opencode_run_core::{ErrorChain, Executor, ModelChoice, SessionId};
use opencode_run_process::{Launch, RunExecutor, ServeExecutor, SessionInfo, SessionLookupError};
use std::sync::Arc;

/// How opencode is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transport {
    /// A warm server, `opencode serve`: many turns, token by token.
    Serve,
    /// A process for each turn, `opencode run`.
    Run,
}

/// What a runner's turns are started by.
#[derive(Debug)]
pub(crate) enum Driver {
    /// Servers that are started for the host, and end with it.
    Server(ServeExecutor),
    /// A server that somebody else runs.
    Attached(ServeExecutor),
    /// A process for each turn. Where nobody asked for that, it is said why it is no server.
    Process(RunExecutor, Option<String>),
    /// What the caller brought.
    Brought(Arc<dyn Executor>),
}

impl Driver {
    /// Drives opencode in the way that is wished, else by a server, else by processes.
    ///
    /// # Errors
    ///
    /// If that version of opencode cannot be driven in the way that is wished.
    pub(crate) fn new(launch: Launch, wished: Option<Transport>) -> Result<Self, BuildError> {
        match (wished, ServeExecutor::new(launch.clone())) {
            (Some(Transport::Run), _) => Ok(Self::Process(RunExecutor::new(launch), None)),
            (_, Ok(server)) => Ok(Self::Server(server)),
            (Some(Transport::Serve), Err(error)) => Err(error.into()),
            (None, Err(error)) => {
                Ok(Self::Process(RunExecutor::new(launch), Some(ErrorChain::new(&error).to_string())))
            }
        }
    }

    pub(crate) fn executor(&self) -> Arc<dyn Executor> {
        match self {
            Self::Server(server) | Self::Attached(server) => Arc::new(server.clone()),
            Self::Process(processes, _) => Arc::new(processes.clone()),
            Self::Brought(executor) => Arc::clone(executor),
        }
    }

    /// Returns what opencode knows of a session; `None` if the caller brought the executor, which knows itself. `model` and
    /// `agent` are those of the turns to come.
    pub(crate) async fn session_info(
        &self,
        session: &SessionId,
        model: Option<&ModelChoice>,
        agent: Option<&str>,
    ) -> Result<Option<SessionInfo>, SessionLookupError> {
        match self {
            Self::Server(server) | Self::Attached(server) => server.session_info(session, model, agent).await.map(Some),
            Self::Process(processes, _) => processes.session_info(session).await.map(Some),
            Self::Brought(_) => Ok(None),
        }
    }

    /// Returns how opencode is driven; none where the caller brought what drives it.
    pub(crate) fn transport(&self) -> Option<Transport> {
        match self {
            Self::Server(_) | Self::Attached(_) => Some(Transport::Serve),
            Self::Process(..) => Some(Transport::Run),
            Self::Brought(_) => None,
        }
    }

    /// Returns why opencode is not driven as a server, where it was to be.
    pub(crate) fn why_no_server(&self) -> Option<&str> {
        match self {
            Self::Process(_, why) => why.as_deref(),
            _ => None,
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
