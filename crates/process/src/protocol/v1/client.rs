//! Requests to a server of opencode 1.

use super::api;
use super::extensions;
use super::session_model;
use super::stream::{self, TurnDecoder};
use crate::json_text::{parse_repaired, repair_surrogates};
use crate::protocol::extensions::Extensions;
use crate::protocol::http::{self, ClientError, Http, MAX_ANSWER_BYTES, MAX_MESSAGES_BYTES, REQUEST_TIMEOUT, text};
use crate::protocol::ids::is_id;
use crate::protocol::{SessionEvent, directory};
use crate::session_info::{SessionInfo, SessionModel};
use opencode_run_core::{PermissionAnswer, Prompt, SessionId};
use reqwest::{Method, RequestBuilder, Response};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// How many of a session's last messages are requested to find its model: a turn of several steps has many answers,
/// each of which names the model as well.
const LAST_MESSAGES: &str = "4";
/// The maximum number of sub-agents that are found for a session. Each costs a request, and an attached server could
/// name ever more.
const MAX_DESCENDANTS: usize = 256;

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
        self.http.request(method, route, directory.as_deref().map(|directory| ("directory", directory)))
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

    /// Composes a message for a session. Returns it with the decoder of its turn. `model` is the name for opencode.
    #[expect(clippy::unused_self, reason = "the format belongs to the generation of the server")]
    pub(crate) fn compose(
        &self,
        session: &SessionId,
        prompt: &Prompt,
        model: Option<&str>,
        now: SystemTime,
    ) -> (Value, TurnDecoder) {
        let id = api::message_id(now);
        (api::message(&id, prompt, model), TurnDecoder::new(session.clone(), id))
    }

    /// Sends a message and waits for the end of the turn, however long it takes. Returns the answer's text.
    pub(crate) async fn send(
        &self,
        directory: &Path,
        session: &SessionId,
        message: &Value,
    ) -> Result<String, ClientError> {
        let route = api::messages(id(session)?);
        let request = self.request(Method::POST, &route, Some(directory)).json(message);
        text(request, MAX_MESSAGES_BYTES).await.map_err(|error| match error {
            ClientError::Refused { status, message: None, reference } if status.is_client_error() => {
                ClientError::Refused { status, message: Some(api::unexplained(message)), reference }
            }
            other => other,
        })
    }

    /// Checks that an agent exists and can run a turn.
    pub(crate) async fn check_agent(&self, directory: &Path, agent: &str) -> Result<(), ClientError> {
        let all = self.agents(directory).await?;
        let found = all.iter().any(|known| known.name == agent && known.leads());
        if found { Ok(()) } else { Err(ClientError::NoAgent(agent.to_owned())) }
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

    /// Returns the directory that a session belongs to.
    pub(crate) async fn session_directory(&self, session: &SessionId) -> Result<PathBuf, ClientError> {
        let request = self.request(Method::GET, &api::session(id(session)?), None);
        Self::json::<api::SessionInfo>(request).await.map(|session| session.directory)
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

    /// Returns the sessions of all direct and indirect sub-agents of a session.
    pub(crate) async fn descendants(
        &self,
        directory: &Path,
        session: &SessionId,
    ) -> Result<Vec<SessionId>, ClientError> {
        let mut found = HashSet::new();
        let mut next = vec![session.clone()];
        while let Some(session) = next.pop() {
            let request = self.request(Method::GET, &api::children(id(&session)?), Some(directory));
            for child in Self::json::<Vec<api::SessionInfo>>(request).await? {
                if found.len() >= MAX_DESCENDANTS {
                    tracing::warn!("a session has more than {MAX_DESCENDANTS} sub-agents: the others are ignored");
                    return Ok(found.into_iter().collect());
                }
                // Guards against a cycle, which would be a fault of the server.
                if found.insert(child.id.clone()) {
                    next.push(child.id);
                }
            }
        }
        Ok(found.into_iter().collect())
    }

    /// Returns the pending permission requests and questions of a directory, as the events that reported them.
    pub(crate) async fn asks(&self, directory: &Path) -> Result<Vec<SessionEvent>, ClientError> {
        let mut asks = Vec::new();
        for (route, ask) in [
            (api::PERMISSIONS, stream::permission_asked as fn(&RawValue) -> Option<SessionEvent>),
            (api::QUESTIONS, stream::question_asked),
        ] {
            let request = self.request(Method::GET, route, Some(directory));
            let waiting: Vec<Box<RawValue>> = Self::json(request).await?;
            asks.extend(waiting.iter().filter_map(|waiting| ask(waiting)));
        }
        Ok(asks)
    }

    /// Returns the text of all messages of a session.
    pub(crate) async fn messages(&self, directory: &Path, session: &SessionId) -> Result<String, ClientError> {
        let request = self.request(Method::GET, &api::messages(id(session)?), Some(directory));
        text(request.timeout(REQUEST_TIMEOUT), MAX_MESSAGES_BYTES).await
    }

    /// Aborts the activity in a session and in the sessions of its sub-agents.
    pub(crate) async fn abort(&self, directory: &Path, session: &SessionId) -> Result<(), ClientError> {
        let abort = async |session: &SessionId| {
            let request = self.request(Method::POST, &api::abort(id(session)?), Some(directory));
            text(request.timeout(REQUEST_TIMEOUT), MAX_ANSWER_BYTES).await.map(drop)
        };
        abort(session).await?;
        for child in self.descendants(directory, session).await? {
            abort(&child).await?;
        }
        Ok(())
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

    /// Answers a permission request.
    pub(crate) async fn answer(
        &self,
        directory: &Path,
        id: &str,
        answer: &PermissionAnswer,
    ) -> Result<(), ClientError> {
        let body = api::permission_answer(answer);
        let request = self.request(Method::POST, &api::permission_reply(checked(id)?), Some(directory)).json(&body);
        text(request.timeout(REQUEST_TIMEOUT), MAX_ANSWER_BYTES).await.map(drop)
    }

    /// Rejects a question.
    pub(crate) async fn reject_question(&self, directory: &Path, id: &str) -> Result<(), ClientError> {
        let request = self.request(Method::POST, &api::question_reject(checked(id)?), Some(directory));
        text(request.timeout(REQUEST_TIMEOUT), MAX_ANSWER_BYTES).await.map(drop)
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

    /// Deletes a session.
    pub(crate) async fn delete_session(&self, directory: &Path, session: &SessionId) -> Result<(), ClientError> {
        let request = self.request(Method::DELETE, &api::session(id(session)?), Some(directory));
        text(request.timeout(REQUEST_TIMEOUT), MAX_ANSWER_BYTES).await.map(drop)
    }
}

/// Returns a session's id as a part of a route.
fn id(session: &SessionId) -> Result<&str, ClientError> {
    checked(session.as_str())
}

/// Returns an id as a part of a route. An invalid id, such as `ses_../../x`, could name another route.
fn checked(id: &str) -> Result<&str, ClientError> {
    if is_id(id) { Ok(id) } else { Err(ClientError::NotFound(format!("{id:?} is not an id of opencode's"))) }
}
