//! The frames that each protocol must produce.

use serde_json::Value;

use crate::{Finish, ToolCall, Usage};

/// The metadata of an answer.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    /// The requested model.
    pub(crate) model: String,
    /// The number of the answer, unique in a server, from which ids are derived.
    pub(crate) number: u64,
    /// Seconds since 1970.
    pub(crate) created: u64,
    /// The token counts to report.
    pub(crate) usage: Option<Usage>,
}

/// A piece of an answer that is not streamed.
#[derive(Debug)]
pub(crate) enum Piece<'a> {
    Text(String),
    Reasoning(String),
    ToolCall(&'a ToolCall),
}

/// The frames of a stream in one protocol, and the same answer without streaming.
///
/// A value serves one answer. Each method returns the text to send, which may contain several events.
pub(crate) trait Wire {
    /// Begins the stream.
    fn open(&mut self) -> String;
    /// Sends a piece of text.
    fn text(&mut self, text: &str) -> String;
    /// Sends a piece of reasoning.
    fn reasoning(&mut self, text: &str) -> String;
    /// Sends a tool call.
    fn tool_call(&mut self, call: &ToolCall) -> String;
    /// Ends the stream with an error.
    fn fail(&mut self, message: &str) -> String;
    /// Ends the stream successfully.
    fn close(&mut self, finish: Finish) -> String;
    /// Returns the whole answer as one JSON value.
    fn whole(&mut self, pieces: &[Piece<'_>], finish: Finish) -> Value;
}
