//! Requests to a server of opencode 1.

use super::api;
use super::extensions;
use super::session_model;
use super::stream;
use super::undo;
use crate::json_text::{parse_repaired, repair_surrogates};
use crate::protocol::extensions::Extensions;
use crate::protocol::http::{self, ClientError, Http, text};
use crate::protocol::ids::is_id;
use crate::protocol::request::{MAX_ANSWER_BYTES, MAX_MESSAGES_BYTES, REQUEST_TIMEOUT, Request};
use crate::protocol::{SessionEvent, directory};
use crate::session_info::{SessionInfo, SessionModel};
use crate::undo::Undo;
use opencode_run_core::SessionId;
use reqwest::{Method, RequestBuilder, Response};
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;

/// How many of a session's last messages are requested to find its model: a turn of several steps has many answers,
/// each of which names the model as well.
const LAST_MESSAGES: &str = "4";

/// The client of a server of opencode 1.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: Http,
}

impl Client {
    /// Returns a client over a connection.
    pub(crate) fn new(http: Http) -> Self {
        Self { http }
    }

    fn request(&self, method: Method, route: &str, directory: Option<&Path>) -> RequestBuilder {
        let directory = directory.map(directory::for_query);
        self.http.request(method, route, directory.as_deref().map(|directory| (api::DIRECTORY, directory)))
    }

    async fn json<T: for<'a> Deserialize<'a>>(request: RequestBuilder) -> Result<T, ClientError> {
        http::json(request).await
    }

    /// Returns the server's version.
    pub(crate) async fn version(&self) -> Result<String, ClientError> {
        Self::json::<api::Health>(self.request(Method::GET, api::HEALTH, None)).await.map(|health| health.version)
    }

    /// Opens the stream of events.
    pub(crate) async fn events(&self) -> Result<Response, ClientError> {
        http::events(self.request(Method::GET, api::EVENTS, None)).await
    }

    /// Creates a session in a directory.
    pub(crate) async fn new_session(&self, directory: &Path, title: &str) -> Result<SessionId, ClientError> {
        let body = api::new_session(title);
        let request = self.request(Method::POST, api::SESSIONS, Some(directory)).json(&body);
        let session = Self::json::<api::SessionInfo>(request).await?;
        if !directory::is_same(directory, &session.directory) {
            return Err(ClientError::OtherDirectory { asked: directory.to_owned(), answered: session.directory });
        }
        Ok(session.id)
    }

    /// Parses an event of the stream; `None` if it belongs to no session or repeats another.
    #[expect(clippy::unused_self, reason = "the other generation's client has the same method")]
    pub(crate) fn read_event(&self, data: &str) -> Option<SessionEvent> {
        stream::route(&repair_surrogates(data))
    }

    /// Sends a request of a turn once.
    pub(crate) async fn send(&self, request: Request) -> Result<String, ClientError> {
        self.http.send(request, api::DIRECTORY).await
    }

    async fn agents(&self, directory: &Path) -> Result<Vec<api::Agent>, ClientError> {
        Self::json(self.request(Method::GET, api::AGENTS, Some(directory))).await
    }

    /// Returns whether all agents of a directory that have their own model can use it.
    pub(crate) async fn has_models_of_agents(&self, directory: &Path) -> Result<bool, ClientError> {
        let agents = self.agents(directory).await?;
        if !agents.iter().any(api::Agent::has_model) {
            return Ok(true);
        }
        let known = self.providers(directory).await?;
        Ok(agents.iter().all(|agent| known.have_model_of(agent)))
    }

    /// Returns the models that can be used in a directory, by their names for a turn.
    pub(crate) async fn models(&self, directory: &Path) -> Result<Vec<api::KnownModel>, ClientError> {
        self.providers(directory).await.map(api::Providers::into_models)
    }

    async fn providers(&self, directory: &Path) -> Result<api::Providers, ClientError> {
        Self::json(self.request(Method::GET, api::PROVIDERS, Some(directory))).await
    }

    /// Returns a session's directory and model.
    pub(crate) async fn session_info(&self, session: &SessionId) -> Result<SessionInfo, ClientError> {
        let request = self.request(Method::GET, &api::session(session.as_str()), None);
        let api::SessionInfo { directory, model, .. } = Self::json(request).await?;
        let model = match session_model::of_session(&model) {
            Some(model) => Some(model),
            None => self.model_in_messages(&directory, session).await,
        };
        Ok(SessionInfo { directory, model })
    }

    /// Returns the model of a session's last messages, or `None` if the server does not return them: the session can be
    /// continued anyway.
    async fn model_in_messages(&self, directory: &Path, session: &SessionId) -> Option<SessionModel> {
        let request = self.request(Method::GET, &api::messages(session.as_str()), Some(directory));
        let (http, request) = request.build_split();
        let mut request = request.ok()?;
        request.url_mut().query_pairs_mut().append_pair("limit", LAST_MESSAGES);
        let messages: Vec<Value> = Self::json(RequestBuilder::from_parts(http, request)).await.ok()?;
        session_model::of_messages(&messages)
    }

    /// Returns whether a session has an active turn.
    pub(crate) async fn is_busy(&self, directory: &Path, session: &SessionId) -> Result<bool, ClientError> {
        #[derive(Deserialize)]
        struct Status {
            #[serde(rename = "type")]
            kind: String,
        }
        let request = self.request(Method::GET, api::STATUS, Some(directory));
        let all: HashMap<String, Status> = Self::json(request).await?;
        Ok(all.get(session.as_str()).is_some_and(|status| status.kind != "idle"))
    }

    /// Evicts a directory from the server's memory.
    pub(crate) async fn dispose(&self, directory: &Path) -> Result<(), ClientError> {
        let request = self.request(Method::POST, api::DISPOSE, Some(directory));
        text(request.timeout(REQUEST_TIMEOUT), MAX_ANSWER_BYTES).await.map(drop)
    }

    /// Returns the MCP servers of a directory that cannot be used, when all of them have started or failed.
    pub(crate) async fn extensions(&self, directory: &Path) -> Result<Extensions, ClientError> {
        let request = self.request(Method::GET, extensions::MCP, Some(directory));
        let answer = text(request, MAX_ANSWER_BYTES).await?;
        let servers = parse_repaired(&answer).map_err(|_| ClientError::Unreadable)?;
        Ok(extensions::extensions(servers))
    }

    /// Returns the names of the MCP servers that opencode starts in a directory.
    pub(crate) async fn started_servers(&self, directory: &Path) -> Result<Vec<String>, ClientError> {
        let request = self.request(Method::GET, extensions::CONFIG, Some(directory));
        Self::json::<extensions::Config>(request).await.map(extensions::Config::started_servers)
    }

    /// Reverts the last turn of a session, with the files that it changed.
    pub(crate) async fn undo(&self, directory: &Path, session: &SessionId) -> Result<Undo, ClientError> {
        let route = api::session(id(session)?);
        let state: undo::Session = Self::json(self.request(Method::GET, &route, Some(directory))).await?;
        let messages = self.request(Method::GET, &api::messages(id(session)?), Some(directory));
        let messages = text(messages.timeout(REQUEST_TIMEOUT), MAX_MESSAGES_BYTES).await?;
        let last = undo::last_turn(&messages, state.reverted_from()).map_err(|_| ClientError::Unreadable)?;
        let Some(undo::LastTurn { id, has_snapshot, files }) = last else { return Ok(Undo::NothingLeft) };
        if !has_snapshot {
            return Ok(Undo::NoSnapshot);
        }
        let request = self.request(Method::POST, &api::revert(&route), Some(directory));
        let request = request.json(&serde_json::json!({ "messageID": id })).timeout(REQUEST_TIMEOUT);
        text(request, MAX_ANSWER_BYTES).await?;
        Ok(Undo::Done { files })
    }

    /// Deletes a session.
    pub(crate) async fn delete_session(&self, directory: &Path, session: &SessionId) -> Result<(), ClientError> {
        let request = self.request(Method::DELETE, &api::session(id(session)?), Some(directory));
        text(request.timeout(REQUEST_TIMEOUT), MAX_ANSWER_BYTES).await.map(drop)
    }
}

/// Returns a session's id as a part of a route. An invalid id, such as `ses_../../x`, could name another route.
fn id(session: &SessionId) -> Result<&str, ClientError> {
    let id = session.as_str();
    if is_id(id) { Ok(id) } else { Err(ClientError::NotFound(format!("{id:?} is not an id of opencode's"))) }
}
