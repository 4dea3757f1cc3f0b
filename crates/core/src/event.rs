//! What can happen in a turn: one type, whichever way it reached us.

use crate::{PermissionAsk, QuestionAsk, ToolCall, Usage};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// opencode's own name of a conversation, `ses_…`, cheap to clone.
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

/// opencode's name of one part of an answer: a text, a piece of reasoning. It is cheap to clone.
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

/// One thing that happened in a turn.
///
/// A kind that is not known here is an [`Event::Unknown`], never an error and never lost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A step, that is one model call, begins.
    StepStart,
    /// A text grew.
    TextDelta {
        /// Which text.
        part: PartId,
        /// What came to it.
        delta: String,
    },
    /// A text is finished, or stands as a whole as far as it goes; it replaces what the deltas gave.
    Text {
        /// Which text.
        part: PartId,
        /// All of it.
        text: String,
    },
    /// A piece of reasoning grew.
    ReasoningDelta {
        /// Which piece.
        part: PartId,
        /// What came to it.
        delta: String,
    },
    /// A piece of reasoning is finished; it replaces what the deltas gave.
    Reasoning {
        /// Which piece.
        part: PartId,
        /// All of it.
        text: String,
    },
    /// A tool call began or advanced.
    Tool(ToolCall),
    /// A step ended.
    StepFinish {
        /// Why it ended. Only a [terminal](StepReason::is_terminal) reason can end a turn.
        reason: StepReason,
        /// The tokens of this step alone.
        usage: Usage,
        /// What this step cost in USD; `0` where no price is known.
        #[serde(deserialize_with = "number_or_null")]
        cost: f64,
    },
    /// opencode asks whether a tool may do something.
    Permission(PermissionAsk),
    /// opencode's agent asks the user something.
    Question(QuestionAsk),
    /// The provider failed and opencode tries again.
    Retry {
        /// How many attempts failed so far, from 1.
        attempt: u32,
        /// Why the last one failed.
        message: String,
        /// How long opencode waits before the next attempt, where it says so.
        next: Option<Duration>,
    },
    /// opencode reported an error. opencode may recover from it: whether the turn failed is known when it has ended.
    Error(ReportedError),
    /// A kind of event that this crate does not know.
    Unknown {
        /// The kind by opencode's name.
        kind: String,
        /// The event as it came.
        raw: RawJson,
    },
}

/// Reads a number; JSON has none for what is not finite and says `null` instead.
fn number_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

impl Event {
    /// Returns the kind of the event as it stands in JSON under `type`, such as `text_delta`.
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
            Self::Unknown { .. } => "unknown",
        }
    }

    /// Returns whether the event moves its turn on.
    ///
    /// An empty text is not progress, since a provider can begin further parts without end. Nor is a retry, since opencode may send
    /// a request again without end, nor an event of an unknown kind, such as a heartbeat. While a question is open nothing moves.
    #[must_use]
    pub fn is_progress(&self) -> bool {
        match self {
            Self::TextDelta { delta: text, .. }
            | Self::ReasoningDelta { delta: text, .. }
            | Self::Text { text, .. }
            | Self::Reasoning { text, .. } => !text.is_empty(),
            Self::Retry { .. } | Self::Unknown { .. } | Self::Permission(_) | Self::Question(_) => false,
            _ => true,
        }
    }

    /// Returns about how many bytes of memory the event's own text takes.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::TextDelta { delta: text, .. }
            | Self::ReasoningDelta { delta: text, .. }
            | Self::Text { text, .. }
            | Self::Reasoning { text, .. } => text.len(),
            Self::Unknown { raw, .. } => raw.get().len(),
            Self::Tool(call) => call.weight(),
            Self::Error(error) => error.message.len(),
            Self::StepStart
            | Self::StepFinish { .. }
            | Self::Permission(_)
            | Self::Question(_)
            | Self::Retry { .. } => 0,
        }
    }
}

/// Why a step ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StepReason {
    /// The model said all it had to say.
    Stop,
    /// The model called tools: another step follows.
    ToolCalls,
    /// The answer was cut at the model's limit of output tokens.
    Length,
    /// The provider's filter cut the answer.
    ContentFilter,
    /// The provider ended the answer with an error.
    Error,
    /// The provider gave no reason: opencode goes on with another step.
    Unknown,
    /// Another reason, by opencode's name.
    Other(String),
}

impl StepReason {
    /// Returns whether a turn can end with a step that ended so.
    ///
    /// opencode goes on after tool calls and after a step without a known reason, so a turn whose last step ended in one
    /// of these was cut short.
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

/// An error as opencode reported it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReportedError {
    /// opencode's name of the error, such as `APIError`.
    pub name: String,
    /// What it says.
    pub message: String,
    /// The HTTP status of the provider's answer, where there was one.
    pub status: Option<u16>,
    /// Whether opencode holds the error for one that can be tried again, where it says so.
    pub retryable: Option<bool>,
    /// The address that was asked, where opencode says so.
    pub url: Option<String>,
}

impl ReportedError {
    /// Makes an error of opencode's name for it and its message.
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

    /// Sets the address that was asked.
    #[must_use]
    pub fn url(mut self, url: impl Into<Option<String>>) -> Self {
        self.url = url.into();
        self
    }
}

/// An event as an executor saw it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Observed {
    /// What happened.
    pub event: Event,
    /// The sub-agent's session, where it did not happen in the turn's own.
    pub sub_agent: Option<SessionId>,
    /// What opencode wrote, where the event is opencode's.
    pub raw: Option<RawJson>,
}

impl Observed {
    /// Wraps an event of the turn's own session that came without JSON.
    #[must_use]
    pub fn new(event: Event) -> Self {
        Self { event, sub_agent: None, raw: None }
    }

    /// Adds what opencode wrote.
    #[must_use]
    pub fn with_raw(mut self, raw: RawJson) -> Self {
        self.raw = Some(raw);
        self
    }

    /// Marks the event as one of a sub-agent's session.
    #[must_use]
    pub fn from_sub_agent(mut self, session: SessionId) -> Self {
        self.sub_agent = Some(session);
        self
    }
}

/// An event in its place in a turn.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TurnEvent {
    /// The event's number in its turn, from 0, without gaps.
    pub seq: u64,
    /// How long after the turn's start it was seen.
    pub at: Duration,
    /// What was seen.
    pub observed: Observed,
}

impl TurnEvent {
    /// Puts an event in its place in a turn.
    #[must_use]
    pub fn new(seq: u64, at: Duration, observed: Observed) -> Self {
        Self { seq, at, observed }
    }
}

/// A JSON text as opencode wrote it, byte by byte, cheap to clone.
#[derive(Clone)]
// Boxed, so that what is read is moved here: an `Arc` of the value itself would be a copy of it.
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
    fn the_kind_is_the_json_type() {
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
    fn raw_json_is_equal_and_shown_by_its_text() {
        let raw = |text: &str| RawJson::parse(text.to_owned()).unwrap();
        assert_eq!(raw("[1]"), raw("[1]"));
        assert_ne!(raw("[1]"), raw("[1.0]"));
        assert_eq!(format!("{:?}", raw("{\"a\": 1}")), "{\"a\": 1}");
    }

    #[test]
    fn names_are_shown_as_they_are() {
        let (session, part) = (SessionId::new("ses_1"), PartId::new("prt_1"));
        assert_eq!((session.as_str(), part.as_str()), ("ses_1", "prt_1"));
        assert_eq!(format!("{session:>6}|{:<5}|", StepReason::Stop), " ses_1|stop |");
        assert_eq!(StepReason::Other("new".to_owned()).to_string(), "new");
        for reason in [StepReason::ToolCalls, StepReason::ContentFilter, StepReason::Length, StepReason::Unknown] {
            assert_eq!(serde_json::to_value(&reason).unwrap(), reason.to_string());
        }
    }

    #[test]
    fn a_cost_that_is_no_number_survives_json() {
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
