//! Determines the session of an event.

use super::properties::{Status, properties};
use crate::json_text::parse_repaired;
use crate::protocol::SessionEvent;
use crate::protocol::ids::is_id;
use opencode_run_core::{RawJson, SessionId};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Returns whether a session is busy from now on, if an event of this kind reports it.
fn is_working(kind: &str, raw: &str) -> Option<bool> {
    match kind {
        "session.status" => properties(raw).map(|Status { status }| status.kind != "idle"),
        "session.idle" => Some(false),
        _ => None,
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    payload: &'a RawValue,
}

#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    properties: Option<&'a RawValue>,
}

/// The fields in which an event may name its session.
#[derive(Deserialize)]
struct Scope {
    #[serde(rename = "sessionID", default)]
    session: Option<SessionId>,
    #[serde(default)]
    info: Option<InfoScope>,
    #[serde(default)]
    part: Option<PartScope>,
}

#[derive(Deserialize)]
struct InfoScope {
    #[serde(default)]
    id: Option<String>,
    #[serde(rename = "sessionID", default)]
    session: Option<SessionId>,
    #[serde(rename = "parentID", default)]
    parent: Option<String>,
}

#[derive(Deserialize)]
struct PartScope {
    #[serde(rename = "sessionID", default)]
    session: Option<SessionId>,
}

/// Returns an event with its session; `None` for events that belong to no session or repeat others.
pub(crate) fn route(data: &str) -> Option<SessionEvent> {
    let envelope: Envelope<'_> = parse_repaired(data).ok()?;
    let payload: Payload<'_> = parse_repaired(envelope.payload.get()).ok()?;
    // Every persistent event is repeated in this form.
    if payload.kind == "sync" {
        return None;
    }
    let scope: Scope = parse_repaired(payload.properties?.get()).ok()?;
    let about_session = payload.kind.starts_with("session.");
    let (info_session, parent) = match scope.info {
        Some(info) if about_session => (info.id.map(SessionId::new), info.parent.map(SessionId::new)),
        Some(info) => (info.session, None),
        None => (None, None),
    };
    let session = scope.session.or(info_session).or(scope.part.and_then(|part| part.session))?;
    if ![Some(&session), parent.as_ref()].into_iter().flatten().all(|id| is_id(id.as_str())) {
        tracing::warn!(kind = &*payload.kind, "an event of a session with an invalid id is dropped");
        return None;
    }
    let raw = RawJson::from(envelope.payload.to_owned());
    let kind = payload.kind.into_owned();
    let is_working = is_working(&kind, raw.get());
    Some(SessionEvent { session, parent, kind, raw, is_working })
}

/// Returns the event of a permission request, from an item in the list of pending ones.
pub(crate) fn permission_asked(waiting: &RawValue) -> Option<SessionEvent> {
    asked("permission.asked", waiting)
}

/// Returns the event of a question, from an item in the list of pending ones.
pub(crate) fn question_asked(waiting: &RawValue) -> Option<SessionEvent> {
    asked("question.asked", waiting)
}

fn asked(kind: &str, properties: &RawValue) -> Option<SessionEvent> {
    route(&format!(r#"{{"payload":{{"type":"{kind}","properties":{properties}}}}}"#))
}
