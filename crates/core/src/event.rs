//! The events of a turn, the same for every transport.

use crate::{PermissionRequest, QuestionRequest, ToolCall, Usage, Warning};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::value::RawValue;
use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// opencode's id of a session, `ses_…`. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(Arc<str>);

impl Borrow<str> for SessionId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl SessionId {
    /// Wraps an id as opencode wrote it.
    pub fn new(id: impl AsRef<str>) -> Self {
        Self(id.as_ref().into())
    }

    /// Returns the id as opencode wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for SessionId {
    fn from(id: &str) -> Self {
        Self::new(id)
    }
}

impl From<String> for SessionId {
    fn from(id: String) -> Self {
        Self::new(id)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// opencode's id of one part of an answer: a text or a piece of reasoning. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PartId(Arc<str>);

impl Borrow<str> for PartId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PartId {
    /// Wraps an id as opencode wrote it.
    pub fn new(id: impl AsRef<str>) -> Self {
        Self(id.as_ref().into())
    }

    /// Returns the id as opencode wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An event of a turn.
///
/// Kinds that this crate does not know become [`Event::Unknown`]; they are neither errors nor lost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A step (one model call) begins.
    StepStart,
    /// A text grew.
    TextDelta {
        /// The id of the text.
        part: PartId,
        /// The added text.
        delta: String,
    },
    /// A text is complete, or is sent whole so far; it replaces the text of the deltas.
    Text {
        /// The id of the text.
        part: PartId,
        /// The whole text.
        text: String,
    },
    /// A piece of reasoning grew.
    ReasoningDelta {
        /// The id of the piece.
        part: PartId,
        /// The added text.
        delta: String,
    },
    /// A piece of reasoning is complete; it replaces the text of the deltas.
    Reasoning {
        /// The id of the piece.
        part: PartId,
        /// The whole text.
        text: String,
    },
    /// A tool call began or its state changed.
    Tool(ToolCall),
    /// A step ended.
    StepFinish {
        /// The reason of the end. Only a [terminal](StepReason::is_terminal) reason can end a turn.
        reason: StepReason,
        /// The tokens of this step alone.
        usage: Usage,
        /// The cost of this step in USD; `0` if no price is known.
        #[serde(deserialize_with = "number_or_null")]
        cost: f64,
    },
    /// opencode requests permission for a tool.
    Permission(PermissionRequest),
    /// The agent asks the user a question.
    Question(QuestionRequest),
    /// The provider failed and opencode retries.
    Retry {
        /// The number of failed attempts so far, from 1.
        attempt: u32,
        /// The error of the last attempt.
        message: String,
        /// The backoff before the next attempt, if opencode reports it.
        next: Option<Duration>,
    },
    /// opencode reported an error. It may recover, so whether the turn failed is known only at its end.
    Error(ReportedError),
    /// A fact that does not fail the turn, but that its user must know.
    Warning(Warning),
    /// A kind of event that this crate does not know.
    Unknown {
        /// opencode's name of the kind.
        kind: String,
        /// The event as received.
        raw: RawJson,
    },
}

/// Reads a number. JSON has no non-finite numbers; they are written as `null`.
fn number_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

impl Event {
    /// Returns the `type` of the event in JSON, such as `text_delta`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::StepStart => "step_start",
            Self::TextDelta { .. } => "text_delta",
            Self::Text { .. } => "text",
            Self::ReasoningDelta { .. } => "reasoning_delta",
            Self::Reasoning { .. } => "reasoning",
            Self::Tool(_) => "tool",
            Self::StepFinish { .. } => "step_finish",
            Self::Permission(_) => "permission",
            Self::Question(_) => "question",
            Self::Retry { .. } => "retry",
            Self::Error(_) => "error",
            Self::Warning(_) => "warning",
            Self::Unknown { .. } => "unknown",
        }
    }

    /// Returns whether the event is progress of its turn.
    ///
    /// These are not progress: an empty text, because a provider can begin new parts without end; a retry, because
    /// opencode may retry without end; a warning; an event of an unknown kind, such as a heartbeat; and an open
    /// permission request or question.
    #[must_use]
    pub fn is_progress(&self) -> bool {
        match self {
            Self::TextDelta { delta: text, .. }
            | Self::ReasoningDelta { delta: text, .. }
            | Self::Text { text, .. }
            | Self::Reasoning { text, .. } => !text.is_empty(),
            Self::Retry { .. } | Self::Unknown { .. } | Self::Permission(_) | Self::Question(_) | Self::Warning(_) => {
                false
            }
            _ => true,
        }
    }

    /// Returns the approximate size in bytes of the event's text in memory.
    pub(crate) fn size_in_bytes(&self) -> usize {
        match self {
            Self::TextDelta { delta: text, .. }
            | Self::ReasoningDelta { delta: text, .. }
            | Self::Text { text, .. }
            | Self::Reasoning { text, .. } => text.len(),
            Self::Unknown { raw, .. } => raw.get().len(),
            Self::Tool(call) => call.size_in_bytes(),
            Self::Error(error) => error.message.len(),
            Self::Warning(warning) => warning.message.len(),
            Self::StepStart
            | Self::StepFinish { .. }
            | Self::Permission(_)
            | Self::Question(_)
            | Self::Retry { .. } => 0,
        }
    }
}

/// The reason why a step ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", remote = "Self")]
#[non_exhaustive]
pub enum StepReason {
    /// The model finished its answer.
    Stop,
    /// The model called tools; another step follows.
    ToolCalls,
    /// The answer was cut off at the limit on output tokens.
    Length,
    /// The provider's content filter cut off the answer.
    ContentFilter,
    /// The provider ended the answer with an error.
    Error,
    /// The provider gave no reason; opencode continues with another step.
    Unknown,
    /// Another reason, by opencode's name.
    Other(String),
}

impl Serialize for StepReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for StepReason {
    /// Reads a reason that a later version knows by name as [`StepReason::Other`].
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let reason = serde_json::Value::deserialize(deserializer)?;
        let known = Self::deserialize(&reason);
        known.or_else(|error| {
            reason.as_str().map(|name| Self::Other(name.to_owned())).ok_or_else(|| de::Error::custom(error))
        })
    }
}

impl StepReason {
    /// Returns whether a turn can end with a step that ended for this reason.
    ///
    /// opencode continues after tool calls and after a step without a known reason. If the last step of a turn
    /// ended for one of these, the turn was cut off.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        !matches!(self, Self::ToolCalls | Self::Unknown | Self::Error)
    }
}

impl fmt::Display for StepReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Stop => "stop",
            Self::ToolCalls => "tool_calls",
            Self::Length => "length",
            Self::ContentFilter => "content_filter",
            Self::Error => "error",
            Self::Unknown => "unknown",
            Self::Other(reason) => reason,
        })
    }
}

/// An error that opencode reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReportedError {
    /// opencode's name of the error, such as `APIError`.
    pub name: String,
    /// The message of the error.
    pub message: String,
    /// The HTTP status of the provider's answer, if there was one.
    pub status: Option<u16>,
    /// Whether opencode considers the error retryable, if it reports that.
    pub retryable: Option<bool>,
    /// The requested URL, if opencode reports it.
    pub url: Option<String>,
}

impl ReportedError {
    /// Creates an error from opencode's name for it and its message.
    pub fn new(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self { name: name.into(), message: message.into(), status: None, retryable: None, url: None }
    }

    /// Sets the HTTP status of the provider's answer.
    #[must_use]
    pub fn status(mut self, status: impl Into<Option<u16>>) -> Self {
        self.status = status.into();
        self
    }

    /// Sets whether a retry may help.
    #[must_use]
    pub fn retryable(mut self, retryable: impl Into<Option<bool>>) -> Self {
        self.retryable = retryable.into();
        self
    }

    /// Sets the requested URL.
    #[must_use]
    pub fn url(mut self, url: impl Into<Option<String>>) -> Self {
        self.url = url.into();
        self
    }
}

/// JSON text exactly as opencode wrote it, byte for byte. Cheap to clone.
#[derive(Clone)]
// Boxed, so that the parsed value is moved here; an `Arc` of the value itself would copy it.
pub struct RawJson(Arc<Box<RawValue>>);

impl RawJson {
    /// Checks that `json` is one JSON value and wraps it.
    ///
    /// # Errors
    ///
    /// If `json` is not one well-formed JSON value.
    pub fn parse(json: String) -> Result<Self, serde_json::Error> {
        RawValue::from_string(json).map(Self::from)
    }

    /// Returns the JSON text.
    #[must_use]
    pub fn get(&self) -> &str {
        self.0.get()
    }
}

impl From<Box<RawValue>> for RawJson {
    fn from(raw: Box<RawValue>) -> Self {
        Self(Arc::new(raw))
    }
}

impl PartialEq for RawJson {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl fmt::Debug for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.get())
    }
}

impl Serialize for RawJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RawJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_json_keeps_every_byte() {
        let text = r#"{"b": 1.0,  "a":[1e3, "\u00e9"]}"#;
        let raw = RawJson::parse(text.to_owned()).unwrap();
        assert_eq!(raw.get(), text);
        assert_eq!(serde_json::to_string(&raw).unwrap(), text);
        assert!(RawJson::parse("{} {}".to_owned()).is_err());
    }

    #[test]
    fn event_kind_equals_json_type() {
        let raw = RawJson::parse("{}".to_owned()).unwrap();
        let events = [
            Event::StepStart,
            Event::TextDelta { part: PartId::new("p"), delta: String::new() },
            Event::Text { part: PartId::new("p"), text: String::new() },
            Event::Reasoning { part: PartId::new("p"), text: String::new() },
            Event::StepFinish { reason: StepReason::Stop, usage: Usage::default(), cost: 0.0 },
            Event::Retry { attempt: 1, message: String::new(), next: None },
            Event::Unknown { kind: "x".to_owned(), raw },
        ];
        for event in events {
            assert_eq!(serde_json::to_value(&event).unwrap()["type"], event.kind());
        }
    }

    #[test]
    fn raw_json_compares_by_text() {
        let raw = |text: &str| RawJson::parse(text.to_owned()).unwrap();
        assert_eq!(raw("[1]"), raw("[1]"));
        assert_ne!(raw("[1]"), raw("[1.0]"));
        assert_eq!(format!("{:?}", raw("{\"a\": 1}")), "{\"a\": 1}");
    }

    #[test]
    fn ids_display_unchanged() {
        let session = SessionId::new("ses_1");
        let part = PartId::new("prt_1");
        assert_eq!((session.as_str(), part.as_str()), ("ses_1", "prt_1"));
        assert_eq!(format!("{session:>6}|{:<5}|", StepReason::Stop), " ses_1|stop |");
        assert_eq!(StepReason::Other("new".to_owned()).to_string(), "new");
        for reason in [StepReason::ToolCalls, StepReason::ContentFilter, StepReason::Length, StepReason::Unknown] {
            assert_eq!(serde_json::to_value(&reason).unwrap(), reason.to_string());
        }
    }

    #[test]
    fn non_finite_cost_survives_json() {
        let cost = |json: &str| {
            let json = format!(r#"{{"type":"step_finish","reason":"stop","usage":{{}},"cost":{json}}}"#);
            match serde_json::from_str(&json).unwrap() {
                Event::StepFinish { cost, .. } => cost,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(cost("0.25").to_bits(), 0.25_f64.to_bits());
        assert!(cost("null").is_nan());
    }

    #[test]
    fn only_a_terminal_reason_ends_a_turn() {
        assert!(StepReason::Stop.is_terminal() && StepReason::Length.is_terminal());
        assert!(!StepReason::ToolCalls.is_terminal() && !StepReason::Unknown.is_terminal());
    }
}
