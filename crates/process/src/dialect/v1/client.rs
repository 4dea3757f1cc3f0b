//! Requests to a server.

use super::api;
use super::ids::is_id;
use super::session_model;
use super::stream::{self, SessionEvent, TurnDecoder};
use crate::dialect::{Dialect, directory};
use crate::json_text::{parse_repaired, repair_surrogates};
use crate::session::{SessionInfo, SessionModel};
use opencode_run_core::{ExposeSecret, PermissionAnswer, Prompt, SecretString, SessionId};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How long a request may take that opencode answers by itself, without a model. It takes milliseconds; the first one in a
/// directory loads that directory's configuration and plugins.
const LIMIT: Duration = Duration::from_mins(1);
/// The longest answer that is about a server or a session: a list of models has a few MiB.
const MAX_ANSWER_BYTES: usize = 32 << 20;
/// The longest answer that holds messages, which can be all of a long session's. A server that is not ours could send one without an
/// end.
const MAX_MESSAGES_BYTES: usize = 256 << 20;
/// How many of a session's last messages are asked for its model: a turn of several steps has many answers, each of which names
/// the model as well.
const LAST_MESSAGES: &str = "4";
/// How many sub-agents of a session are looked for. Each costs a request, and a server that is not ours could name ever more.
const MAX_DESCENDANTS: usize = 256;
/// How long a connection to this machine may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// What a server is reached by.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    user: String,
    password: Option<SecretString>,
}

/// A request that did not lead to what it was for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// There was no answer.
    #[error("no answer from the opencode server: {0}")]
    NoAnswer(String),
    /// The server does not know us.
    #[error("the opencode server refuses the password")]
    Unauthorized,
    /// What was asked for does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The server refused the request.
    #[error("the opencode server answered {status}: {}", message.as_deref().unwrap_or("no reason given"))]
    Refused {
        /// The status.
        status: StatusCode,
        /// What it says, if anything.
        message: Option<String>,
        /// What its log knows the error by.
        reference: Option<String>,
    },
    /// opencode does not accept the user's configuration.
    #[error("opencode does not accept its configuration: {0}")]
    Configuration(String),
    /// A session was made in another directory than the one that was asked for.
    #[error("opencode would work in {} instead of {}", answered.display(), asked.display())]
    OtherDirectory {
        /// The directory that the server was given.
        asked: PathBuf,
        /// The directory of the session.
        answered: PathBuf,
    },
    /// Another opencode was at work on the database all the time.
    #[error("another opencode keeps the database locked")]
    Locked,
    /// There is no such agent, or it is none that leads a turn.
    #[error("agent `{0}` was not found")]
    NoAgent(String),
    /// The answer is not what opencode answers.
    #[error("the opencode server answered with something else than JSON")]
    Unreadable,
    /// The answer does not end within its bound.
    #[error("the opencode server sent an answer of more than {} MiB", max_bytes >> 20)]
    TooLong {
        /// The bound.
        max_bytes: usize,
    },
}

impl ClientError {
    /// Returns whether the server may be at work on what it was asked all the same.
    pub(crate) fn leaves_work(&self) -> bool {
        match self {
            Self::NoAnswer(_) | Self::Unreadable | Self::TooLong { .. } => true,
            Self::Refused { status, .. } => status.is_server_error(),
            Self::Unauthorized
            | Self::NotFound(_)
            | Self::Configuration(_)
            | Self::Locked
            | Self::NoAgent(_)
            | Self::OtherDirectory { .. } => false,
        }
    }
}

impl Client {
    /// Makes what a server at `base` is reached by; opencode's own name for the user unless said. No proxy is used: a server
    /// is on this machine, or named on purpose.
    pub(crate) fn new(base: Url, user: Option<String>, password: Option<String>) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder()
            .no_proxy()
            // opencode redirects nothing; a hostile server would have us send the password elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_LIMIT)
            .build()
            .map_err(|error| ClientError::NoAnswer(error.to_string()))?;
        let user = user.unwrap_or_else(|| api::USER.to_owned());
        Ok(Self { http, base, user, password: password.map(SecretString::from) })
    }

    /// Returns the generation of the server's opencode.
    #[expect(clippy::unused_self, reason = "there is one so far")]
    pub(crate) fn dialect(&self) -> Dialect {
        Dialect::V1
    }

    fn request(&self, method: Method, route: &str, directory: Option<&Path>) -> RequestBuilder {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{route}", self.base.path().trim_end_matches('/')));
        if let Some(directory) = directory {
            url.query_pairs_mut().append_pair("directory", &directory::for_query(directory));
        }
        let request = self.http.request(method, url);
        match &self.password {
            Some(password) => request.basic_auth(&self.user, Some(password.expose_secret())),
            None => request,
        }
    }

    async fn json<T: for<'a> Deserialize<'a>>(request: RequestBuilder) -> Result<T, ClientError> {
        let text = text(request.timeout(LIMIT), MAX_ANSWER_BYTES).await?;
        parse_repaired(&text).map_err(|_| ClientError::Unreadable)
    }

    /// Asks for the server's version.
    pub(crate) async fn version(&self) -> Result<String, ClientError> {
        Self::json::<api::Health>(self.request(Method::GET, api::HEALTH, None)).await.map(|health| health.version)
    }

    /// Opens the stream of events.
    pub(crate) async fn events(&self) -> Result<Response, ClientError> {
        let response = tokio::time::timeout(LIMIT, self.request(Method::GET, api::EVENTS, None).send()).await;
        let response = response.map_err(|_| ClientError::NoAnswer(format!("within {LIMIT:?}")))?.map_err(no_answer)?;
        let is_stream = response
            .headers()
            .get(reqwest::header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        if response.status().is_success() && is_stream { Ok(response) } else { Err(ClientError::Unreadable) }
    }

    /// Makes a session in a directory.
    pub(crate) async fn new_session(&self, directory: &Path, title: &str) -> Result<SessionId, ClientError> {
        let body = api::new_session(title);
        let request = self.request(Method::POST, api::SESSIONS, Some(directory)).json(&body);
        let session = Self::json::<api::SessionInfo>(request).await?;
        if !directory::is_same(directory, &session.directory) {
            return Err(ClientError::OtherDirectory { asked: directory.to_owned(), answered: session.directory });
        }
        Ok(session.id)
    }

    /// Reads an event of the stream; none for what is about no session, and for what repeats another.
    #[expect(clippy::unused_self, reason = "another server may say it in other words")]
    pub(crate) fn read_event(&self, data: &str) -> Option<SessionEvent> {
        stream::route(&repair_surrogates(data))
    }

    /// Composes a message for a session. Returns it with what reads the turn that it begins. `model` is the name for opencode.
    #[expect(clippy::unused_self, reason = "another server may want it in other words")]
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

    /// Checks that an agent exists and can lead a turn.
    pub(crate) async fn check_agent(&self, directory: &Path, agent: &str) -> Result<(), ClientError> {
        let all = self.agents(directory).await?;
        let found = all.iter().any(|known| known.name == agent && known.leads());
        if found { Ok(()) } else { Err(ClientError::NoAgent(agent.to_owned())) }
    }

    async fn agents(&self, directory: &Path) -> Result<Vec<api::Agent>, ClientError> {
        Self::json(self.request(Method::GET, api::AGENTS, Some(directory))).await
    }

    /// Returns whether all agents of a directory that have a model of their own can use it.
    pub(crate) async fn has_models_of_agents(&self, directory: &Path) -> Result<bool, ClientError> {
        let agents = self.agents(directory).await?;
        if !agents.iter().any(api::Agent::has_model) {
            return Ok(true);
        }
        let known = self.providers(directory).await?;
        Ok(agents.iter().all(|agent| known.have_model_of(agent)))
    }

    /// Returns the models that can be used in a directory, by the names that a turn has for them.
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

    /// Returns the model of a session's last messages, or `None` if the server does not show them: that is no reason not to
    /// continue the session.
    async fn model_in_messages(&self, directory: &Path, session: &SessionId) -> Option<SessionModel> {
        let request = self.request(Method::GET, &api::messages(session.as_str()), Some(directory));
        let (http, request) = request.build_split();
        let mut request = request.ok()?;
        request.url_mut().query_pairs_mut().append_pair("limit", LAST_MESSAGES);
        let messages: Vec<Value> = Self::json(RequestBuilder::from_parts(http, request)).await.ok()?;
        session_model::of_messages(&messages)
    }

    /// Returns the sessions of a session's sub-agents, and of theirs.
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
                    tracing::warn!("a session has more than {MAX_DESCENDANTS} sub-agents: the others are left out");
                    return Ok(found.into_iter().collect());
                }
                // A circle would be a mistake of the server's, and no reason to go round in it.
                if found.insert(child.id.clone()) {
                    next.push(child.id);
                }
            }
        }
        Ok(found.into_iter().collect())
    }

    /// Returns what is asked in a directory and not answered, as the events that it was asked by.
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
        text(request.timeout(LIMIT), MAX_MESSAGES_BYTES).await
    }

    /// Ends what is at work in a session and in the sessions of its sub-agents.
    pub(crate) async fn abort(&self, directory: &Path, session: &SessionId) -> Result<(), ClientError> {
        let abort = async |session: &SessionId| {
            let request = self.request(Method::POST, &api::abort(id(session)?), Some(directory));
            text(request.timeout(LIMIT), MAX_ANSWER_BYTES).await.map(drop)
        };
        abort(session).await?;
        for child in self.descendants(directory, session).await? {
            abort(&child).await?;
        }
        Ok(())
    }

    /// Returns whether a session is at work.
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

    /// Answers a permission.
    pub(crate) async fn answer(
        &self,
        directory: &Path,
        id: &str,
        answer: &PermissionAnswer,
    ) -> Result<(), ClientError> {
        let body = api::permission_answer(answer);
        let request = self.request(Method::POST, &api::permission_reply(checked(id)?), Some(directory)).json(&body);
        text(request.timeout(LIMIT), MAX_ANSWER_BYTES).await.map(drop)
    }

    /// Rejects a question.
    pub(crate) async fn reject_question(&self, directory: &Path, id: &str) -> Result<(), ClientError> {
        let request = self.request(Method::POST, &api::question_reject(checked(id)?), Some(directory));
        text(request.timeout(LIMIT), MAX_ANSWER_BYTES).await.map(drop)
    }

    /// Ends what is kept for a directory.
    pub(crate) async fn dispose(&self, directory: &Path) -> Result<(), ClientError> {
        let request = self.request(Method::POST, api::DISPOSE, Some(directory));
        text(request.timeout(LIMIT), MAX_ANSWER_BYTES).await.map(drop)
    }

    /// Deletes a session.
    pub(crate) async fn delete_session(&self, directory: &Path, session: &SessionId) -> Result<(), ClientError> {
        let request = self.request(Method::DELETE, &api::session(id(session)?), Some(directory));
        text(request.timeout(LIMIT), MAX_ANSWER_BYTES).await.map(drop)
    }
}

fn no_answer(error: reqwest::Error) -> ClientError {
    let mut message = error.without_url().to_string();
    if message.is_empty() {
        "the connection broke".clone_into(&mut message);
    }
    ClientError::NoAnswer(message)
}

/// Returns a session's id as a part of a route.
fn id(session: &SessionId) -> Result<&str, ClientError> {
    checked(session.as_str())
}

/// Returns an id as a part of a route. One that is not an id, such as `ses_../../x`, could name another route.
fn checked(id: &str) -> Result<&str, ClientError> {
    if is_id(id) { Ok(id) } else { Err(ClientError::NotFound(format!("{id:?} is not an id of opencode's"))) }
}

/// Returns the text of an answer that is a success and has at most `max_bytes`.
async fn text(request: RequestBuilder, max_bytes: usize) -> Result<String, ClientError> {
    let response = request.send().await.map_err(no_answer)?;
    let status = response.status();
    let body = body(response, max_bytes).await?;
    if status.is_success() {
        // Unknown routes are answered with a page.
        return if body.trim_start().starts_with('<') { Err(ClientError::Unreadable) } else { Ok(body) };
    }
    if status == StatusCode::UNAUTHORIZED {
        return Err(ClientError::Unauthorized);
    }
    let refusal: api::Refusal = parse_repaired(&body).unwrap_or_default();
    if let Some(why) = refusal.configuration() {
        return Err(ClientError::Configuration(why));
    }
    let reference = refusal.reference().map(str::to_owned);
    let message = refusal.message();
    if status == StatusCode::NOT_FOUND {
        return Err(ClientError::NotFound(message.unwrap_or_else(|| "not found".to_owned())));
    }
    Err(ClientError::Refused { status, message, reference })
}

/// Reads the text of an answer, each piece into its place as it comes: an answer can be as long as a session.
///
/// # Errors
///
/// If the connection breaks, or the answer has more than `max_bytes`.
async fn body(mut response: Response, max_bytes: usize) -> Result<String, ClientError> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(no_answer)? {
        if body.len() + piece.len() > max_bytes {
            return Err(ClientError::TooLong { max_bytes });
        }
        body.extend_from_slice(&piece);
    }
    let text = String::from_utf8(body).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    let repaired = match repair_surrogates(&text) {
        Cow::Owned(repaired) => Some(repaired),
        Cow::Borrowed(_) => None,
    };
    Ok(repaired.unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_not_shown() {
        let base = Url::parse("http://127.0.0.1:4096").unwrap();
        let client = Client::new(base, None, Some("1234567890".to_owned())).unwrap();
        assert!(!format!("{client:?}").contains("1234567890"));
    }
}
