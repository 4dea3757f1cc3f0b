//! Decodes the lines of `opencode run --format json`.

use super::parts::{TextPart, object, reported, step_finish, tool};
use crate::json_text::{parse_repaired, repair_surrogates};
use opencode_run_core::{Event, Observed, RawJson, SessionId};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

/// A decoded line of output.
#[derive(Debug, PartialEq)]
pub(crate) struct Decoded {
    /// The session that the line names.
    pub(crate) session: Option<SessionId>,
    /// The event.
    pub(crate) observed: Observed,
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "sessionID", default)]
    session: Value,
}

#[derive(Deserialize)]
struct WithPart<'a> {
    #[serde(borrow)]
    part: &'a RawValue,
}

#[derive(Deserialize)]
struct WithError {
    error: Value,
}

/// Decodes a line of output.
///
/// Every line yields an event. A line of an unknown kind, or of a known kind in an unknown shape, is [`Event::Unknown`]
/// with its kind; one that is not a JSON object with a type has the kind `unreadable`, and its text as a JSON string.
pub(crate) fn decode(line: &[u8]) -> Decoded {
    let text = String::from_utf8_lossy(line);
    let text = repair_surrogates(&text);
    let Some((envelope, raw)) = envelope(&text) else {
        return Decoded { session: None, observed: unreadable(&text) };
    };
    let event = event(&envelope.kind, &text)
        .unwrap_or_else(|| Event::Unknown { kind: envelope.kind.clone(), raw: raw.clone() });
    let session = envelope.session.as_str().map(SessionId::new);
    Decoded { session, observed: Observed::new(event).with_raw(raw) }
}

fn envelope(text: &str) -> Option<(Envelope, RawJson)> {
    let envelope = object(text)?;
    Some((envelope, RawJson::parse(text.to_owned()).ok()?))
}

fn unreadable(text: &str) -> Observed {
    // A string can always be written as JSON; the empty string keeps at least the event.
    let quoted = RawJson::parse(Value::from(text).to_string()).or_else(|_| RawJson::parse("\"\"".to_owned()));
    match quoted {
        Ok(raw) => Observed::new(Event::Unknown { kind: "unreadable".to_owned(), raw: raw.clone() }).with_raw(raw),
        Err(_) => Observed::new(Event::StepStart),
    }
}

fn event(kind: &str, text: &str) -> Option<Event> {
    Some(match kind {
        "step_start" => Event::StepStart,
        "text" => {
            let TextPart { id, text } = part(text)?;
            Event::Text { part: id, text }
        }
        "reasoning" => {
            let TextPart { id, text } = part(text)?;
            Event::Reasoning { part: id, text }
        }
        "tool_use" => Event::Tool(tool(part(text)?)?),
        "step_finish" => step_finish(part(text)?),
        // Whatever its shape, an error must not look like an unknown event, which a turn ignores.
        "error" => Event::Error(reported(&parse_repaired(text).map_or(Value::Null, |line: WithError| line.error))),
        _ => return None,
    })
}

/// Returns whether opencode wrote the text of a line itself.
pub(crate) fn is_synthetic(line: &str) -> bool {
    part(line).is_some_and(|Synthetic { synthetic }| synthetic)
}

#[derive(Deserialize)]
struct Synthetic {
    #[serde(default)]
    synthetic: bool,
}

fn part<T: DeserializeOwned>(text: &str) -> Option<T> {
    let WithPart { part } = object(text)?;
    object(part.get())
}

#[cfg(test)]
mod tests;
