//! A server of opencode 2: its routes.

mod messages;
mod turn;

use super::answers::{json, reply};
use super::routes::{has_credentials, open_stream, page, receive};
use super::state::{Server, Session};
use super::streams::frame;
use super::turn::Turn;
use crate::invocation::Invocation;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::uri::Uri;
use axum::response::Response;
use bytes::Bytes;
use serde_json::{Value, json};
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

/// Exits when stdin is closed, like the real server.
#[expect(clippy::exit, reason = "the end of stdin ends the server at once")]
pub(crate) fn exit_at_end_of_stdin(invocation: Arc<Invocation>) {
    std::thread::spawn(move || {
        std::io::stdin().lock().read_to_end(&mut Vec::new()).ok();
        invocation.journal.exit(0).ok();
        std::process::exit(0)
    });
}

pub(crate) async fn answer(State(server): State<Arc<Server>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let method = head.method.as_str();
    let path = head.uri.path();
    if !path.starts_with("/api/") {
        // Like the real server, even without a password.
        return page();
    }
    if !is_allowed(&head.headers) {
        return reply(401, "application/json", r#"{"_tag":"Unauthorized"}"#);
    }
    let directory = directory(&head.uri);
    let value = match receive(&server, &head, body, directory.as_deref()).await {
        Ok(value) => value,
        Err(faulty) => return faulty,
    };
    let parts: Vec<&str> = path.trim_start_matches("/api/").split('/').collect();
    let models = &server.serving.models;
    match (method, parts.as_slice()) {
        ("GET", ["info"]) => {
            let version = server.invocation.version.rsplit(' ').next().unwrap_or_default().trim_start_matches('v');
            json(&json!({"version": version, "pid": std::process::id(), "urls": [], "paths": {}}))
        }
        ("GET", ["event"]) => {
            let first = frame(r#"{"id":"evt_000000000000","type":"server.connected","data":{}}"#);
            open_stream(server, first, Bytes::from_static(b": heartbeat\n\n"))
        }
        ("GET", ["agent"]) => {
            data(&server.serving.agents.iter().map(|name| json!({"id": name, "name": name})).collect())
        }
        ("GET", ["model"]) => data(&models.iter().map(|name| model(name)).collect()),
        ("GET", ["model", "default"]) => data(&models.first().map_or(Value::Null, |name| model(name))),
        ("GET", ["config"]) => json(&json!([])),
        ("GET", ["permission", "request"]) => data(&server.asks("per")),
        ("GET", ["form"]) => data(&server.asks("frm")),
        ("GET", ["session"]) => children(&server, &head.uri),
        ("POST", ["session"]) => new_session(&server, &value),
        ("GET", ["session", "active"]) => {
            let sessions = server.sessions();
            let active = sessions.iter().filter(|(_, session)| session.busy);
            data(&Value::Object(active.map(|(id, _)| (id.clone(), json!({"type": "running"}))).collect()))
        }
        ("GET", ["session", session, "message"]) => messages(&server, session, &head.uri),
        (_, ["session", session, rest @ ..]) => of_session(server, method, session, rest, &value),
        ("DELETE", ["debug", "location"]) | (_, ["experimental", "session", _, "instructions", "entries", _]) => {
            nothing()
        }
        _ => page(),
    }
}

fn of_session(server: Arc<Server>, method: &str, session: &str, rest: &[&str], body: &Value) -> Response {
    if method == "DELETE" && rest.is_empty() {
        return server.sessions().remove(session).map_or_else(|| no_session(session), |_| nothing());
    }
    let Some(known) = server.sessions().get(session).cloned() else { return no_session(session) };
    match (method, rest) {
        ("GET", []) => data(&described(session, &known)),
        ("POST", ["prompt"]) => prompt(server, session, body),
        ("POST", ["interrupt"]) => interrupt(server, session, &known),
        ("POST", ["permission" | "form", id, "reply"]) | ("DELETE", ["form", id]) => {
            server.answer_ask(id);
            nothing()
        }
        ("POST", ["model" | "agent"]) | ("DELETE", ["inbox", _]) => nothing(),
        _ => page(),
    }
}

/// Returns the messages of a session, the newest first: like the real server, at most 50, or the number that is requested
/// up to 200. A cursor is the number of newer messages.
fn messages(server: &Server, session: &str, uri: &Uri) -> Response {
    let Some(known) = server.sessions().get(session).cloned() else { return no_session(session) };
    let number = |name: &str| parameter(uri, name).map(|value| value.parse::<usize>().unwrap_or_default());
    let skipped = number("cursor").unwrap_or_default();
    let limit = number("limit").unwrap_or(50);
    if !(1..=200).contains(&limit) {
        return reply(400, "application/json", r#"{"_tag":"InvalidRequestError","message":"limit"}"#);
    }
    let list: Vec<Value> = known.messages.into_iter().rev().skip(skipped).take(limit).collect();
    let next = (skipped + list.len()).to_string();
    json(&json!({ "data": list, "cursor": { "next": next } }))
}

fn data(value: &Value) -> Response {
    json(&json!({ "data": value }))
}

fn nothing() -> Response {
    reply(204, "application/json", Body::empty())
}

fn no_session(session: &str) -> Response {
    let body = json!({"_tag": "SessionNotFoundError", "sessionID": session, "message": format!("Session not found: {session}")});
    reply(404, "application/json", body.to_string())
}

fn model(name: &str) -> Value {
    let (provider, model) = name.split_once('/').unwrap_or((name, ""));
    json!({"id": model, "providerID": provider, "name": model, "enabled": true, "variants": []})
}

/// Returns whether a request has the password of this server. Without one, no request has it.
fn is_allowed(headers: &HeaderMap) -> bool {
    std::env::var("OPENCODE_PASSWORD").is_ok_and(|password| has_credentials(headers, "opencode", &password))
}

fn directory(uri: &Uri) -> Option<PathBuf> {
    parameter(uri, "location[directory]").map(PathBuf::from)
}

fn parameter(uri: &Uri, wanted: &str) -> Option<String> {
    let mut pairs = url::form_urlencoded::parse(uri.query()?.as_bytes());
    pairs.find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned())
}

/// Returns the sessions of a session's sub-agents.
fn children(server: &Server, uri: &Uri) -> Response {
    let parent = parameter(uri, "parentID");
    let sessions = server.sessions();
    let children = sessions.iter().filter(|(_, session)| session.parent == parent);
    data(&children.map(|(id, session)| described(id, session)).collect())
}

fn new_session(server: &Server, body: &Value) -> Response {
    let directory = body["location"]["directory"].as_str().map(PathBuf::from);
    let directory = directory.unwrap_or_else(|| server.invocation.directory().to_owned());
    let id = format!("ses_fa4e{:08x}{:014}", std::process::id(), server.number());
    let title = body["title"].as_str().unwrap_or("New session").to_owned();
    let session = Session { directory, title, model: body["model"].clone(), ..Session::default() };
    let answer = data(&described(&id, &session));
    server.sessions().insert(id, session);
    answer
}

fn described(id: &str, session: &Session) -> Value {
    let updated = session.messages.iter().filter_map(|message| message["time"]["created"].as_u64()).max();
    json!({
        "id": id, "title": session.title, "model": session.model, "location": {"directory": session.directory},
        "cost": 0, "time": {"created": 1, "updated": updated.unwrap_or(1)},
    })
}

/// Starts the turn of a new prompt. The same id gets the first answer again.
fn prompt(server: Arc<Server>, session: &str, body: &Value) -> Response {
    let id = body["id"].as_str().unwrap_or_default().to_owned();
    let item =
        json!({"id": id, "sessionID": session, "type": "user", "payload": {"text": body["text"]}, "delivery": "steer"});
    let begun = server.with_session(session, |session| {
        let first = session.prompts.entry(id).or_insert_with(|| item.clone()).clone();
        let is_new = first == item && session.turns < session.prompts.len();
        session.turns = session.prompts.len();
        (first, is_new, session.directory.clone(), session.turns - 1)
    });
    let Some((first, is_new, directory, number)) = begun else { return no_session(session) };
    if is_new {
        let turn = Turn::of_prompt(server, session, directory, body, number);
        // On its own thread, as its acts may wait.
        if std::thread::Builder::new().stack_size(256 << 10).spawn(move || turn.play()).is_err() {
            return reply(500, "application/json", "{}");
        }
    }
    data(&first)
}

/// Interrupts the active turn, unless it replays its own interruption.
fn interrupt(server: Arc<Server>, session: &str, known: &Session) -> Response {
    if known.busy && !known.replays_interrupt {
        server.with_session(session, |session| session.interrupted = session.turns);
        let event = json!({"type": "session.execution.interrupted", "data": {"sessionID": session, "reason": "user"}});
        // A full stream waits for its reader.
        tokio::task::spawn_blocking(move || server.publish(&event.to_string(), false));
    }
    json(&json!({"interrupted": known.busy}))
}
