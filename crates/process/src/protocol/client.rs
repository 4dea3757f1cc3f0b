//! The client of a server, for both generations.

use super::extensions::Extensions;
use super::http::{ClientError, Http};
use super::request::Request;
use super::turn::{TurnPlan, TurnProtocol};
use super::{Generation, KnownModel, SessionEvent, v1, v2};
use crate::session_info::SessionInfo;
use crate::undo::Undo;
use opencode_run_core::{ModelName, SessionId};
use reqwest::{Response, Url};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The client of a server.
#[derive(Debug, Clone)]
pub(crate) enum Client {
    V1(v1::client::Client),
    V2(v2::client::Client),
}

/// The data of a new session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewSession<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) title: &'a str,
    /// The model of its first turn. A generation whose messages name their model ignores it, and the agent.
    pub(crate) model: Option<&'a ModelName>,
    pub(crate) variant: Option<&'a str>,
    pub(crate) agent: Option<&'a str>,
}

impl Client {
    /// Returns the client of a server of this generation.
    ///
    /// # Errors
    ///
    /// If the HTTP client cannot be created.
    pub(crate) fn new(
        generation: Generation,
        base: Url,
        user: Option<String>,
        password: Option<String>,
    ) -> Result<Self, ClientError> {
        let http = Http::new(base, user, password)?;
        Ok(match generation {
            Generation::V1 => Self::V1(v1::client::Client::new(http)),
            Generation::V2 => Self::V2(v2::client::Client::new(http)),
        })
    }

    /// Returns the state machine of a turn; `None` if the generation needs a model and the plan names no valid one.
    pub(crate) fn turn(&self, plan: TurnPlan, now: SystemTime) -> Option<Box<dyn TurnProtocol>> {
        match self {
            Self::V1(_) => Some(Box::new(v1::turn::Turn::new(plan, now))),
            Self::V2(_) => v2::turn::Turn::new(plan, now).map(|turn| -> Box<dyn TurnProtocol> { Box::new(turn) }),
        }
    }

    /// Sends a request of a turn once.
    pub(crate) async fn send(&self, request: Request) -> Result<String, ClientError> {
        match self {
            Self::V1(client) => client.send(request).await,
            Self::V2(client) => client.send(request).await,
        }
    }

    /// Returns the generation of the server's opencode.
    pub(crate) fn generation(&self) -> Generation {
        match self {
            Self::V1(_) => Generation::V1,
            Self::V2(_) => Generation::V2,
        }
    }

    /// Returns the server's version.
    pub(crate) async fn version(&self) -> Result<String, ClientError> {
        match self {
            Self::V1(client) => client.version().await,
            Self::V2(client) => client.version().await,
        }
    }

    /// Opens the stream of events.
    pub(crate) async fn events(&self) -> Result<Response, ClientError> {
        match self {
            Self::V1(client) => client.events().await,
            Self::V2(client) => client.events().await,
        }
    }

    /// Parses an event of the stream; `None` if it belongs to no session or repeats another.
    pub(crate) fn read_event(&self, data: &str) -> Option<SessionEvent> {
        match self {
            Self::V1(client) => client.read_event(data),
            Self::V2(client) => client.read_event(data),
        }
    }

    /// Creates a session.
    pub(crate) async fn new_session(&self, new: NewSession<'_>) -> Result<SessionId, ClientError> {
        match (self, new.model) {
            (Self::V1(client), _) => client.new_session(new.directory, new.title).await,
            (Self::V2(client), Some(model)) => {
                client.new_session(new.directory, new.title, model, new.variant, new.agent).await
            }
            (Self::V2(_), None) => Err(ClientError::NoModel("it names no model".to_owned())),
        }
    }

    /// Returns a session's directory and model.
    pub(crate) async fn session_info(&self, session: &SessionId) -> Result<SessionInfo, ClientError> {
        match self {
            Self::V1(client) => client.session_info(session).await,
            Self::V2(client) => client.session_info(session).await,
        }
    }

    /// Returns whether a session has an active turn.
    pub(crate) async fn is_busy(&self, directory: &Path, session: &SessionId) -> Result<bool, ClientError> {
        match self {
            Self::V1(client) => client.is_busy(directory, session).await,
            Self::V2(client) => client.is_busy(session).await,
        }
    }

    /// Returns the models that can be used in a directory, by their names for a turn. While models are still being
    /// loaded, it waits for `wanted`.
    pub(crate) async fn models(&self, directory: &Path, wanted: Option<&str>) -> Result<Vec<KnownModel>, ClientError> {
        match self {
            Self::V1(client) => client.models(directory).await,
            Self::V2(client) => client.models(directory, wanted).await,
        }
    }

    /// Returns the model of a turn that names none, if every turn of the generation must name one.
    ///
    /// # Errors
    ///
    /// If no model can be used.
    pub(crate) async fn default_model(
        &self,
        directory: &Path,
        session: Option<&SessionId>,
    ) -> Result<Option<String>, ClientError> {
        match self {
            Self::V1(_) => Ok(None),
            Self::V2(client) => client.default_model(directory, session).await.map(Some),
        }
    }

    /// Returns whether all agents of a directory that have their own model can use it.
    pub(crate) async fn has_models_of_agents(&self, directory: &Path) -> Result<bool, ClientError> {
        match self {
            Self::V1(client) => client.has_models_of_agents(directory).await,
            Self::V2(client) => client.has_models_of_agents(directory).await,
        }
    }

    /// Returns the MCP servers and plugins of a directory that cannot be used. A server of opencode 1 answers when all MCP
    /// servers have started or failed, and reports plugins as events.
    pub(crate) async fn extensions(&self, directory: &Path) -> Result<Extensions, ClientError> {
        match self {
            Self::V1(client) => client.extensions(directory).await,
            Self::V2(client) => client.extensions(directory).await,
        }
    }

    /// Returns the MCP servers of a directory that may be starting.
    pub(crate) async fn pending_servers(&self, directory: &Path) -> Result<Vec<String>, ClientError> {
        match self {
            Self::V1(client) => client.started_servers(directory).await,
            Self::V2(client) => client.extensions(directory).await.map(|extensions| extensions.pending_servers),
        }
    }

    /// Returns the directory and the message of an event about a failed plugin.
    pub(crate) fn plugin_failure(&self, data: &str) -> Option<(PathBuf, String)> {
        match self {
            Self::V1(_) => v1::extensions::plugin_failure(data),
            Self::V2(_) => None,
        }
    }

    /// Reverts the last turn of a session, with the files that it changed.
    pub(crate) async fn undo(&self, directory: &Path, session: &SessionId) -> Result<Undo, ClientError> {
        match self {
            Self::V1(client) => client.undo(directory, session).await,
            Self::V2(_) => Ok(Undo::Unsupported),
        }
    }

    /// Evicts a directory from the server's memory.
    pub(crate) async fn dispose(&self, directory: &Path) -> Result<(), ClientError> {
        match self {
            Self::V1(client) => client.dispose(directory).await,
            Self::V2(client) => client.dispose(directory).await,
        }
    }

    /// Deletes a session.
    pub(crate) async fn delete_session(&self, directory: &Path, session: &SessionId) -> Result<(), ClientError> {
        match self {
            Self::V1(client) => client.delete_session(directory, session).await,
            Self::V2(client) => client.delete_session(session).await,
        }
    }
}

/// Connects to a server of an unknown generation, and returns its client and its version.
///
/// # Errors
///
/// If there is no server of a supported generation, or it rejects the password.
pub(crate) async fn connect(
    address: Url,
    user: Option<String>,
    password: Option<String>,
) -> Result<(Client, String), ClientError> {
    let http = Http::new(address, user, password)?;
    let v1 = v1::client::Client::new(http.clone());
    let error = match v1.version().await {
        Ok(version) => return Ok((Client::V1(v1), version)),
        Err(error @ (ClientError::NoAnswer(_) | ClientError::Unauthorized)) => return Err(error),
        Err(error) => error,
    };
    // Unknown routes get an HTML page or no answer: only JSON with a version counts.
    let v2 = v2::client::Client::new(http);
    let version = match v2.version().await {
        Ok(version) => version,
        Err(refused @ ClientError::Unauthorized) => return Err(refused),
        Err(_) => v2.early_version().await.map_err(|_| error)?,
    };
    Ok((Client::V2(v2), version))
}
