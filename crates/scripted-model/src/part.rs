//! The parts of an answer.

use std::{num::NonZeroUsize, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::millis;

/// One part of an answer; parts are sent in order.
///
/// Parts after one that ends the answer ([`Part::DropConnection`], [`Part::EndEarly`], [`Part::Stall`],
/// [`Part::StreamError`]) are never sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Part {
    /// Text of the answer.
    Text(Words),
    /// Text of the model's reasoning.
    Reasoning(Words),
    /// A tool call.
    ToolCall(ToolCall),
    /// Waits before the next part.
    Pause {
        /// The duration of the pause.
        #[serde(rename = "duration_ms", with = "millis")]
        duration: Duration,
    },
    /// Closes the socket in the middle of the body: the client has the status, the headers and all earlier parts,
    /// and an incomplete body.
    DropConnection {},
    /// Ends the body cleanly for HTTP, but without the protocol's end of an answer: without finish reason and
    /// usage. Without streaming, sends the first half of the JSON.
    ///
    /// opencode 1.18 continues after such a step and asks again, without end and without delay, so limit the rule
    /// with `times`.
    EndEarly {},
    /// Sends nothing more and keeps the connection open.
    Stall {},
    /// Sends an error within a valid stream, in the protocol's format; status 500 if the request is not streamed.
    StreamError {
        /// The message of the error.
        message: String,
    },
}

impl Part {
    /// Returns a text that is sent in one piece.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(Words::new(text))
    }

    /// Returns a text that is sent in chunks of `chunk_chars` characters (at least one) at intervals of `delay`.
    pub fn chunked_text(text: impl Into<String>, chunk_chars: usize, delay: Duration) -> Self {
        Self::Text(Words::new(text).chunked(chunk_chars, delay))
    }

    /// Returns a reasoning text that is sent in one piece.
    pub fn reasoning(text: impl Into<String>) -> Self {
        Self::Reasoning(Words::new(text))
    }

    /// Returns a call of the tool `name`; opencode expects the arguments to be a JSON object.
    pub fn tool_call(name: impl Into<String>, arguments: Value) -> Self {
        Self::ToolCall(ToolCall { name: name.into(), arguments })
    }

    /// Returns a pause.
    #[must_use]
    pub fn pause(duration: Duration) -> Self {
        Self::Pause { duration }
    }

    /// Returns the part that closes the connection.
    #[must_use]
    pub fn drop_connection() -> Self {
        Self::DropConnection {}
    }

    /// Returns the part that ends the body without the protocol's end of an answer.
    #[must_use]
    pub fn end_early() -> Self {
        Self::EndEarly {}
    }

    /// Returns the part after which nothing more is sent.
    #[must_use]
    pub fn stall() -> Self {
        Self::Stall {}
    }

    /// Returns an error in the middle of the stream.
    pub fn stream_error(message: impl Into<String>) -> Self {
        Self::StreamError { message: message.into() }
    }
}

/// A text and how it is sent.
///
/// In the text, `{last_user}` is replaced by the request's last user message without surrounding space, and
/// `{turn}` by the number of user messages in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Words {
    /// The text, with its placeholders.
    pub text: String,
    /// The number of characters of a chunk; one chunk if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk_chars: Option<NonZeroUsize>,
    /// The interval between two chunks.
    #[serde(rename = "chunk_delay_ms", with = "millis", default, skip_serializing_if = "Duration::is_zero")]
    pub chunk_delay: Duration,
}

impl Words {
    /// Returns a text that is sent in one piece.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), chunk_chars: None, chunk_delay: Duration::ZERO }
    }

    /// Sends the text in chunks of `chunk_chars` characters (at least one) at intervals of `delay`.
    #[must_use]
    pub fn chunked(mut self, chunk_chars: usize, delay: Duration) -> Self {
        self.chunk_chars = Some(NonZeroUsize::new(chunk_chars).unwrap_or(NonZeroUsize::MIN));
        self.chunk_delay = delay;
        self
    }
}

/// A tool call; the server creates an id that is unique to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ToolCall {
    /// The tool's name.
    pub name: String,
    /// The arguments, which opencode expects to be an object. Placeholders in them are not replaced.
    #[serde(default = "no_arguments")]
    pub arguments: Value,
}

fn no_arguments() -> Value {
    Value::Object(serde_json::Map::new())
}
