//! The properties of events, in opencode's format.

use crate::json_text::parse_repaired;
use crate::protocol::ids;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Parses the properties of an event.
pub(super) fn properties<'a, T: Deserialize<'a>>(raw: &'a str) -> Option<T> {
    parse_repaired::<Properties<T>>(raw).ok().map(|event| event.properties)
}

#[derive(Deserialize)]
struct Properties<T> {
    properties: T,
}

#[derive(Deserialize)]
pub(super) struct MessageInfo {
    pub(super) info: Message,
}

#[derive(Deserialize)]
pub(super) struct Message {
    #[serde(deserialize_with = "ids::read")]
    pub(super) id: String,
    pub(super) role: String,
    /// Set for the agent's own summary of a conversation that grew too long, which is not an answer.
    #[serde(default)]
    pub(super) summary: Option<Value>,
    #[serde(default)]
    pub(super) time: MessageTime,
    #[serde(default)]
    pub(super) error: Value,
}

#[derive(Deserialize, Default)]
pub(super) struct MessageTime {
    #[serde(default)]
    pub(super) completed: Option<Value>,
}

impl Message {
    pub(super) fn is_completed(&self) -> bool {
        self.time.completed.is_some()
    }

    pub(super) fn is_answer(&self) -> bool {
        self.role == "assistant" && self.summary != Some(Value::Bool(true))
    }
}

#[derive(Deserialize)]
pub(super) struct PartUpdate<'a> {
    #[serde(borrow)]
    pub(super) part: &'a RawValue,
    /// The appended text, in versions before 1.2.
    #[serde(default)]
    pub(super) delta: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct PartHead {
    #[serde(deserialize_with = "ids::read")]
    pub(super) id: String,
    #[serde(rename = "messageID", deserialize_with = "ids::read")]
    pub(super) message: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// The provider's id of a tool call.
    #[serde(default, rename = "callID")]
    pub(super) call: Option<String>,
    #[serde(default)]
    pub(super) time: Option<PartTime>,
    #[serde(default)]
    pub(super) synthetic: bool,
    /// Of a compaction: the provider refused a request as too large.
    #[serde(default)]
    pub(super) overflow: bool,
}

#[derive(Deserialize)]
pub(super) struct PartTime {
    #[serde(default)]
    pub(super) end: Option<Value>,
}

#[derive(Deserialize)]
pub(super) struct PartDelta<'a> {
    #[serde(rename = "partID", borrow)]
    pub(super) part: Cow<'a, str>,
    pub(super) delta: String,
}

#[derive(Deserialize)]
pub(super) struct Status {
    pub(super) status: StatusKind,
}

#[derive(Deserialize)]
pub(super) struct StatusKind {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) attempt: Option<u32>,
    #[serde(default)]
    pub(super) message: Option<String>,
    /// The time of the next attempt, in milliseconds since 1970.
    #[serde(default)]
    pub(super) next: Option<f64>,
}

#[derive(Deserialize)]
pub(super) struct ErrorProperties {
    #[serde(default)]
    pub(super) error: Value,
}

#[derive(Deserialize)]
pub(super) struct Asked {
    #[serde(deserialize_with = "ids::read")]
    pub(super) id: String,
    pub(super) permission: String,
    #[serde(default)]
    pub(super) patterns: Vec<String>,
    #[serde(default)]
    pub(super) always: Vec<String>,
    #[serde(default)]
    pub(super) tool: Option<AskedTool>,
}

/// The tool call that needs a permission.
#[derive(Deserialize)]
pub(super) struct AskedTool {
    #[serde(rename = "messageID", deserialize_with = "ids::read")]
    pub(super) message: String,
    #[serde(rename = "callID")]
    pub(super) call: String,
}

#[derive(Deserialize)]
pub(super) struct Questions {
    #[serde(deserialize_with = "ids::read")]
    pub(super) id: String,
    #[serde(default)]
    pub(super) questions: Vec<Question>,
}

#[derive(Deserialize)]
pub(super) struct Question {
    #[serde(default)]
    pub(super) question: String,
}

/// Returns whether an error reports an abort.
pub(super) fn is_abort(error: &Value) -> bool {
    error["name"] == "MessageAbortedError"
}
