//! Interprets one event of an answer in the formats of `OpenAI` (chat and responses), Anthropic and Google.

use std::{borrow::Cow, collections::BTreeSet};

use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::events::SseEvent;
use crate::{
    AnswerFault,
    json::{self, Object},
};

/// The maximum number of tool calls of an answer that are tracked.
const MAX_TOOL_CALLS: usize = 1024;
/// The maximum depth of the search for content. Content is at most four levels below a delta.
const MAX_DEPTH: u8 = 8;
/// Fields that identify an event of a known format.
const KNOWN_FIELDS: [&str; 6] = ["choices", "candidates", "promptFeedback", "usage", "usageMetadata", "modelVersion"];
/// Events that only keep the connection alive.
const PINGS: [&str; 5] = ["ping", "keepalive", "keep-alive", "keep_alive", "heartbeat"];
/// The prefixes of the event types of known formats. Their content is in fields that are searched by name.
const KNOWN_TYPES: [&str; 3] = ["response.", "message_", "content_block_"];
/// Fields of an event of an unknown format that are not content, in addition to [`LABELS`].
const EVENT_LABELS: [&str; 16] = [
    "event",
    "model",
    "created",
    "created_at",
    "timestamp",
    "time",
    "ts",
    "date",
    "status",
    "provider",
    "event_id",
    "response_id",
    "request_id",
    "item_id",
    "service_tier",
    "system_fingerprint",
];
/// Fields that label a part of an answer and are not content.
const LABELS: [&str; 7] = ["role", "type", "index", "id", "object", "stop_reason", "stop_sequence"];

/// The meaning of an event.
#[derive(Debug, Default, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "the flags are independent of each other")]
pub(super) struct Meaning {
    /// Whether its format is unknown and it contains possible output of the model.
    pub(super) may_be_content: bool,
    /// Whether it is too large to be inspected.
    pub(super) is_uncertain: bool,
    /// Whether it contains output of the model.
    pub(super) has_content: bool,
    /// Whether it contains the finish reason of the model's message.
    pub(super) finishes: bool,
    /// Whether it marks the end of the stream.
    pub(super) ends_stream: bool,
    pub(super) fault: Option<AnswerFault>,
}

/// The indices of the tool calls that have begun, in `OpenAI`'s chat format.
#[derive(Debug, Default)]
pub(super) struct ToolCalls(BTreeSet<u64>);

/// Interprets an event.
pub(super) fn read(event: SseEvent<'_>, calls: &mut ToolCalls) -> Meaning {
    let Some(data) = event.data else { return uninspected(event.name) };
    let data = data.trim_ascii();
    if data == b"[DONE]" {
        return Meaning { ends_stream: true, ..Meaning::default() };
    }
    let Some(object) = std::str::from_utf8(data).ok().and_then(Object::parse) else {
        // Other values have no meaning in any format.
        let is_json = data.is_empty() || serde_json::from_slice::<IgnoredAny>(data).is_ok();
        let words = || String::from_utf8_lossy(data).into_owned();
        let fault = (!is_json).then(|| AnswerFault::NotJson { words: words() });
        return Meaning { fault, ..Meaning::default() };
    };
    // Formats with named events repeat the name in the data; a proxy may drop either of them.
    let type_ = object.text("type").unwrap_or_else(|| String::from_utf8_lossy(event.name));
    if let Some(message) = error_of(&object, &type_) {
        let fault = Some(AnswerFault::Error { message });
        return Meaning { has_content: true, ends_stream: true, fault, ..Meaning::default() };
    }
    let has_content = object.get("delta").is_some_and(|delta| has_non_label_text(delta, MAX_DEPTH));
    let mut meaning = Meaning { has_content, ..Meaning::default() };
    match &*type_ {
        "message_stop" => meaning.ends_stream = true,
        "message_delta" => meaning.finishes = object.object("delta").is_some_and(|delta| delta.has_text("stop_reason")),
        "response.completed" | "response.incomplete" => (meaning.finishes, meaning.ends_stream) = (true, true),
        _ => {}
    }
    for choice in object.objects("choices") {
        meaning.finishes |= choice.has_text("finish_reason");
        let mut parts = ["delta", "message", "text"].iter().filter_map(|name| choice.get(name));
        meaning.has_content |= parts.any(|part| has_non_label_text(part, MAX_DEPTH));
        if let Some(delta) = choice.object("delta")
            && delta.objects("tool_calls").any(|call| !calls.has_name_at_start(&call))
        {
            let what = "a tool call that begins without a name";
            meaning.fault = Some(AnswerFault::Malformed { what, words: String::new() });
        }
    }
    for candidate in object.objects("candidates") {
        meaning.finishes |= candidate.has_text("finishReason");
        meaning.has_content |= candidate.get("content").is_some_and(|content| has_non_label_text(content, MAX_DEPTH));
    }
    meaning.finishes |= object.object("promptFeedback").is_some_and(|feedback| feedback.has_text("blockReason"));
    let has_known_field = KNOWN_FIELDS.iter().any(|name| object.get(name).is_some());
    meaning.may_be_content = !has_known_field
        && object.get("delta").is_none()
        && !PINGS.contains(&&*type_)
        && !KNOWN_TYPES.iter().any(|start| type_.starts_with(start))
        && object.fields().any(|(name, value)| {
            !LABELS.contains(&name) && !EVENT_LABELS.contains(&name) && has_non_label_text(value, MAX_DEPTH)
        });
    if type_.is_empty() && !has_known_field {
        let words = String::from_utf8_lossy(data).into_owned();
        meaning.fault = Some(AnswerFault::Malformed { what: "an event of an unknown format", words });
    }
    meaning
}

fn uninspected(name: &[u8]) -> Meaning {
    let is_last = matches!(name, b"response.completed" | b"response.incomplete");
    Meaning {
        may_be_content: true,
        is_uncertain: true,
        has_content: true,
        finishes: is_last,
        ends_stream: is_last,
        fault: None,
    }
}

/// Returns the message of an event that reports an error.
fn error_of(object: &Object<'_>, type_: &str) -> Option<String> {
    if let Some(message) = object.get("error").and_then(words_of) {
        return Some(message);
    }
    if type_ == "error" {
        return object.text("message").map(Cow::into_owned).or_else(|| Some("an error without a message".to_owned()));
    }
    let response = object.object("response").filter(|_| type_ == "response.failed")?;
    response.get("error").and_then(words_of).or_else(|| Some("the response failed".to_owned()))
}

/// Returns the text of an error: its message, or the whole error; `None` if it is null or empty.
fn words_of(error: &RawValue) -> Option<String> {
    let text = error.get();
    if let Some(object) = Object::parse(text) {
        let message = object.text("message").or_else(|| object.text("detail")).filter(|message| !message.is_empty());
        return message.map(Cow::into_owned).or_else(|| (!object.is_empty()).then(|| text.to_owned()));
    }
    match serde_json::from_str::<Cow<'_, str>>(text) {
        Ok(message) => (!message.is_empty()).then(|| message.into_owned()),
        Err(_) => (!matches!(text, "null" | "false" | "[]" | "0")).then(|| text.to_owned()),
    }
}

/// Returns the message of a JSON answer that reports an error.
pub(super) fn error_in(json: &str) -> Option<String> {
    let object = Object::parse(json.trim())?;
    let type_ = object.text("type").unwrap_or_default();
    error_of(&object, &type_)
}

/// Returns whether a part of an answer contains any text that is not only a label.
fn has_non_label_text(value: &RawValue, depth: u8) -> bool {
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'"') => text.len() > 2,
        Some(b'{' | b'[') if depth == 0 => true,
        Some(b'{') => Object::parse(text).is_none_or(|object| {
            object.fields().any(|(name, value)| !LABELS.contains(&name) && has_non_label_text(value, depth - 1))
        }),
        Some(b'[') => {
            json::array(text).is_none_or(|items| items.iter().any(|item| has_non_label_text(item, depth - 1)))
        }
        _ => false,
    }
}

impl ToolCalls {
    /// Records a piece of a tool call, and returns whether its first piece has a name.
    fn has_name_at_start(&mut self, call: &Object<'_>) -> bool {
        let index = call.get("index").and_then(|index| index.get().parse().ok()).unwrap_or(0);
        if self.0.contains(&index) || self.0.len() >= MAX_TOOL_CALLS {
            return true;
        }
        self.0.insert(index);
        call.object("function").is_some_and(|function| function.has_text("name"))
    }
}

#[cfg(test)]
mod tests;
