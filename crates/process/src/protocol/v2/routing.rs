//! Determines the session of an event.

use crate::json_text::parse_repaired;
use crate::protocol::{SessionEvent, ids::is_id};
use opencode_run_core::{RawJson, SessionId};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// An event of the stream.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default)]
    data: Option<Scope>,
}

/// The fields in which an event may name its session.
#[derive(Deserialize)]
struct Scope {
    #[serde(rename = "sessionID", default)]
    session: Option<SessionId>,
    #[serde(rename = "parentID", default)]
    parent: Option<SessionId>,
    #[serde(default)]
    form: Option<FormScope>,
}

#[derive(Deserialize)]
struct FormScope {
    #[serde(rename = "sessionID")]
    session: SessionId,
}

/// Returns an event with its session; `None` for events that belong to none.
pub(crate) fn route(data: &str) -> Option<SessionEvent> {
    let Envelope { kind, data: scope } = parse_repaired(data).ok()?;
    let Scope { session, parent, form } = scope?;
    let session = session.or(form.map(|form| form.session))?;
    let parent = parent.filter(|_| kind == "session.created");
    if ![Some(&session), parent.as_ref()].into_iter().flatten().all(|id| is_id(id.as_str())) {
        tracing::warn!(kind = &*kind, "an event of a session with an invalid id is dropped");
        return None;
    }
    let is_working = match &*kind {
        "session.execution.started" => Some(true),
        "session.execution.succeeded" | "session.execution.failed" | "session.execution.interrupted" => Some(false),
        _ => None,
    };
    let kind = kind.into_owned();
    let raw = RawJson::parse(data.trim().to_owned()).ok()?;
    Some(SessionEvent { session, parent, kind, raw, is_working })
}

/// Returns the event of a permission request, from an item in the list of pending ones.
pub(crate) fn permission_asked(waiting: &RawValue) -> Option<SessionEvent> {
    route(&format!(r#"{{"type":"permission.asked","data":{waiting}}}"#))
}

/// Returns the event of a form, from an item in the list of pending ones.
pub(crate) fn form_created(waiting: &RawValue) -> Option<SessionEvent> {
    route(&format!(r#"{{"type":"form.created","data":{{"form":{waiting}}}}}"#))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_belongs_to_its_named_session() {
        let routed = |data: &str| route(data).map(|event| (event.session.to_string(), event.kind, event.is_working));
        let started = r#"{"id":"evt_1","type":"session.execution.started","data":{"sessionID":"ses_1"}}"#;
        assert_eq!(routed(started), Some(("ses_1".to_owned(), "session.execution.started".to_owned(), Some(true))));
        let form = r#"{"type":"form.created","data":{"form":{"id":"frm_1","sessionID":"ses_2"}}}"#;
        assert_eq!(routed(form), Some(("ses_2".to_owned(), "form.created".to_owned(), None)));
        for none in
            [r#"{"type":"server.connected","data":{}}"#, "{}", "x", r#"{"type":"a","data":{"sessionID":"../x"}}"#]
        {
            assert_eq!(routed(none), None, "{none}");
        }
        let child = r#"{"type":"session.created","data":{"sessionID":"ses_2","parentID":"ses_1"}}"#;
        assert_eq!(route(child).unwrap().parent, Some(SessionId::new("ses_1")));
    }
}
