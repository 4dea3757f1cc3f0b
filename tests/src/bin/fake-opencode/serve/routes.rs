//! Handles requests.

use super::answers::{Answer, hang_up, json, no_session, reply, trickle};
use super::state::{Server, Session};
use super::streams::frame;
use super::turn::Turn;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::uri::Uri;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use opencode_run_tests::fake_log;
use opencode_run_tests::serve_script::Fault;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

/// The maximum size of a body that is read, in bytes.
const LARGEST: usize = 64 << 20;
/// The maximum size of a body that is logged, in bytes.
const KEPT: usize = 64 << 10;

pub(crate) async fn answer(State(server): State<Arc<Server>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let method = head.method.as_str();
    let path = head.uri.path();
    let directory = directory(&head.uri);
    if !is_allowed(&head.headers) {
        return reply(401, "text/plain", "Unauthorized");
    }
    let value = match receive(&server, &head, body, directory.as_deref()).await {
        Ok(value) => value,
        Err(faulty) => return faulty,
    };
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match (method, parts.as_slice()) {
        ("GET", ["global", "health"]) => json(&json!({"healthy": true, "version": server.invocation.version})),
        ("GET", ["global", "event"]) => stream(server),
        ("GET", ["agent"]) => {
            let agents = server.serving.agents.iter().map(|name| json!({"name": name, "mode": "primary"}));
            json(&Value::Array(agents.collect()))
        }
        ("GET", ["config", "providers"]) => json(&providers(&server.serving.models)),
        ("GET", ["mcp"]) => json(&Value::Object(server.serving.mcp.clone())),
        ("GET", ["config"]) => {
            let settings = server.serving.mcp.keys().map(|name| (name.clone(), json!({"type": "local"})));
            json(&json!({"mcp": Value::Object(settings.collect())}))
        }
        ("POST", ["session"]) => new_session(&server, directory, &value),
        ("GET", ["session"]) => json(&sessions(&server)),
        ("GET", ["session", "status"]) => {
            let sessions = server.sessions();
            let busy = sessions.iter().filter(|(_, session)| session.busy);
            json(&Value::Object(busy.map(|(id, _)| (id.clone(), json!({"type": "busy"}))).collect()))
        }
        ("GET", ["permission"]) => json(&server.asks("per")),
        ("GET", ["question"]) => json(&server.asks("que")),
        ("POST", ["permission" | "question", id, _]) => {
            server.answer_ask(id);
            json(&Value::Bool(true))
        }
        ("POST", ["instance", "dispose"]) => json(&Value::Bool(true)),
        (_, ["session", session, rest @ ..]) => match (method, rest) {
            ("POST", ["message"]) => message(server, session, &value).await,
            (_, _) => of_session(&server, method, session, rest),
        },
        _ => page(),
    }
}

/// Logs a request, and returns its body, or the answer of its fault.
pub(crate) async fn receive(
    server: &Server,
    head: &Parts,
    body: Body,
    directory: Option<&Path>,
) -> Result<Value, Response> {
    let body = to_bytes(body, LARGEST).await.unwrap_or_default();
    let value: Value = serde_json::from_slice(&body).unwrap_or_default();
    let kept = if body.len() > KEPT { Value::from(format!("{} bytes", body.len())) } else { value.clone() };
    let method = head.method.to_string();
    let path = head.uri.path().to_owned();
    let note = fake_log::Request { method, path, directory: directory.map(Path::to_owned), body: kept };
    server.invocation.journal.request(note).ok();
    match server.ask(head.method.as_str(), head.uri.path()) {
        None => {}
        Some(Fault::Late { ms }) => tokio::time::sleep(Duration::from_millis(ms)).await,
        Some(Fault::Reply { status, content_type, body }) => return Err(reply(status, &content_type, body)),
        Some(Fault::Nothing {}) => return std::future::pending().await,
        Some(Fault::HangUp {}) => return Err(hang_up()),
        Some(Fault::Trickle { content_type }) => return Err(trickle(&content_type)),
    }
    Ok(value)
}

fn providers(models: &[String]) -> Value {
    let provider = |name: &String| {
        let (provider, model) = name.split_once('/').unwrap_or((name, ""));
        json!({"id": provider, "models": {model: {"name": model}}})
    };
    json!({"providers": models.iter().map(provider).collect::<Vec<_>>(), "default": {}})
}

fn of_session(server: &Server, method: &str, session: &str, rest: &[&str]) -> Response {
    if method == "DELETE" && rest.is_empty() {
        return server.sessions().remove(session).map_or_else(|| no_session(session), |_| json(&Value::Bool(true)));
    }
    let Some(known) = server.sessions().get(session).cloned() else { return no_session(session) };
    match (method, rest) {
        ("GET", []) => json(&described(server, session, &known)),
        ("GET", ["message"]) => json(&Value::Array(known.messages)),
        ("GET", ["children"]) => json(&Value::Array(known.children.iter().map(|id| json!({"id": id})).collect())),
        ("POST", ["abort"]) => json(&Value::Bool(true)),
        _ => page(),
    }
}

/// Returns the page with which the real server answers unknown routes.
pub(crate) fn page() -> Response {
    reply(200, "text/html", "<!doctype html><html><body>opencode</body></html>")
}

/// Returns whether a request has the password of this server.
fn is_allowed(headers: &HeaderMap) -> bool {
    let Some(password) = std::env::var("OPENCODE_SERVER_PASSWORD").ok().filter(|password| !password.is_empty()) else {
        return true;
    };
    let user = std::env::var("OPENCODE_SERVER_USERNAME").unwrap_or_else(|_| "opencode".to_owned());
    has_credentials(headers, &user, &password)
}

/// Returns whether a request has this user and password.
pub(crate) fn has_credentials(headers: &HeaderMap, user: &str, password: &str) -> bool {
    let wanted = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
    headers.get(AUTHORIZATION).is_some_and(|given| given.as_bytes() == wanted.as_bytes())
}

/// Decodes a text like JavaScript's `decodeURIComponent`; an invalid one is kept, as by the real opencode.
fn decode_uri_component(text: String) -> String {
    let is_escape = |rest: &str| rest.len() >= 2 && rest.as_bytes()[..2].iter().all(u8::is_ascii_hexdigit);
    if !text.split('%').skip(1).all(is_escape) {
        return text;
    }
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at(2);
        bytes.push(u8::from_str_radix(digits, 16).unwrap_or_default());
        bytes.extend(rest.as_bytes());
    }
    String::from_utf8(bytes).unwrap_or(text)
}

/// Returns the directory in the query. The real opencode decodes it a second time.
fn directory(uri: &Uri) -> Option<PathBuf> {
    let mut pairs = url::form_urlencoded::parse(uri.query()?.as_bytes());
    pairs
        .find(|(name, _)| name == "directory")
        .map(|(_, value)| PathBuf::from(decode_uri_component(value.into_owned())))
}

fn stream(server: Arc<Server>) -> Response {
    let first = frame(r#"{"payload":{"type":"server.connected","properties":{}}}"#);
    open_stream(server, first, frame(r#"{"payload":{"type":"server.heartbeat","properties":{}}}"#))
}

/// Opens a stream with its first frame and its heartbeat.
pub(crate) fn open_stream(server: Arc<Server>, first: Bytes, heartbeat: Bytes) -> Response {
    let (number, frames) = server.streams.add(first, server.serving.close_stream_after_events);
    let beat = Duration::from_millis(server.serving.heartbeat_ms);
    let until = server.serving.close_stream_after_ms.map(Duration::from_millis);
    tokio::spawn(async move {
        match until {
            None => server.streams.beat(number, heartbeat, beat).await,
            Some(until) => {
                tokio::time::timeout(until, server.streams.beat(number, heartbeat, beat)).await.ok();
                server.streams.close(number);
            }
        }
    });
    let frames = ReceiverStream::new(frames).map(Ok::<_, std::convert::Infallible>);
    reply(200, "text/event-stream", Body::from_stream(frames))
}

fn new_session(server: &Server, directory: Option<PathBuf>, body: &Value) -> Response {
    let directory = directory.unwrap_or_else(|| server.invocation.directory().to_owned());
    let id = format!("ses_fa4e{:08x}{:014}", std::process::id(), server.number());
    let title = body["title"].as_str().unwrap_or("New session").to_owned();
    let session = Session { directory, title, ..Session::default() };
    let answer = json(&described(server, &id, &session));
    server.sessions().insert(id, session);
    answer
}

fn described(server: &Server, id: &str, session: &Session) -> Value {
    json!({"id": id, "directory": session.directory, "title": session.title, "version": server.invocation.version})
}

fn sessions(server: &Server) -> Value {
    Value::Array(server.sessions().iter().map(|(id, session)| described(server, id, session)).collect())
}

async fn message(server: Arc<Server>, session: &str, body: &Value) -> Response {
    let Some((directory, number)) = server.with_session(session, |session| {
        session.busy = true;
        session.turns += 1;
        (session.directory.clone(), session.turns - 1)
    }) else {
        return no_session(session);
    };
    let (answer, answered) = tokio::sync::oneshot::channel();
    let turn = Turn::new(server, session, directory, body, number, answer);
    // On its own thread, as its acts may wait.
    if std::thread::Builder::new().stack_size(256 << 10).spawn(move || turn.play()).is_err() {
        return hang_up();
    }
    match answered.await {
        Ok(answer) => Answer::into_response(answer),
        // The acts never answered.
        Err(_) => std::future::pending().await,
    }
}
