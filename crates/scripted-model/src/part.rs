//! The parts that an answer is made of.

use std::{num::NonZeroUsize, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::millis;

/// One part of an answer; parts are sent in their order.
///
/// What stands behind a part that ends the answer ([`Part::DropConnection`], [`Part::EndEarly`], [`Part::Stall`],
/// [`Part::StreamError`]) is never sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Part {
    /// Text of the answer.
    Text(Words),
    /// Text of the model's reasoning, where the protocol has a place for it (all three do).
    Reasoning(Words),
    /// A call of a tool.
    ToolCall(ToolCall),
    /// Nothing for a while.
    Pause {
        /// How long, from the part before it.
        #[serde(rename = "duration_ms", with = "millis")]
        duration: Duration,
    },
    /// The socket is closed in the middle of the body: the client has the status, the headers and all parts before
    /// this one, and an incomplete body.
    DropConnection {},
    /// The body ends as if it were whole, but without what the protocol puts at an answer's end: no reason for
    /// stopping, no usage. In one piece, the first half of the JSON.
    ///
    /// opencode 1.18 takes such a step as one to go on from and asks again, without end and at full speed: give the
    /// rule a `times`.
    EndEarly {},
    /// Nothing more is ever sent, and the connection stays open.
    Stall {},
    /// An error inside a stream that began well, in the protocol's form; status 500 where the request is not streamed.
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

    /// Returns a text that is sent in pieces of `chunk_chars` characters (at least one), `delay` apart.
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

    /// Returns the part that cuts the connection.
    #[must_use]
    pub fn drop_connection() -> Self {
        Self::DropConnection {}
    }

    /// Returns the part that ends the body without the protocol's end.
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
/// In the text, `{last_user}` stands for the request's last user message, without the space around it, and `{turn}` for the
/// number of user messages in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Words {
    /// The text, with its placeholders.
    pub text: String,
    /// The length of a piece in characters; in one piece if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk_chars: Option<NonZeroUsize>,
    /// The time between two pieces.
    #[serde(rename = "chunk_delay_ms", with = "millis", default, skip_serializing_if = "Duration::is_zero")]
    pub chunk_delay: Duration,
}

impl Words {
    /// Returns a text that is sent in one piece.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), chunk_chars: None, chunk_delay: Duration::ZERO }
    }

    /// Sends it in pieces of `chunk_chars` characters (at least one), `delay` apart.
    #[must_use]
    pub fn chunked(mut self, chunk_chars: usize, delay: Duration) -> Self {
        self.chunk_chars = Some(NonZeroUsize::new(chunk_chars).unwrap_or(NonZeroUsize::MIN));
        self.chunk_delay = delay;
        self
    }
}

/// A call of a tool; its id is made by the server and unique to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ToolCall {
    /// The tool's name.
    pub name: String,
    /// The arguments, an object where opencode is the client. Placeholders are not replaced in them.
    #[serde(default = "no_arguments")]
    pub arguments: Value,
}

fn no_arguments() -> Value {
    Value::Object(serde_json::Map::new())
}
