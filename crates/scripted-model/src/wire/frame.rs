//! What a protocol has to be able to say.

use serde_json::Value;

use crate::{Finish, ToolCall, Usage};

/// What is said about an answer before its first word.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    /// The model that was asked for.
    pub(crate) model: String,
    /// The number of the answer, unique in a server: ids are made from it.
    pub(crate) number: u64,
    /// Seconds since 1970.
    pub(crate) created: u64,
    /// The tokens to report.
    pub(crate) usage: Option<Usage>,
}

/// A piece of an answer that is not streamed.
#[derive(Debug)]
pub(crate) enum Piece<'a> {
    Text(String),
    Reasoning(String),
    ToolCall(&'a ToolCall),
}

/// The frames of a stream in one protocol, and the same answer in one piece.
///
/// A value serves one answer; each method returns what is to be sent, which may be several events.
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
    /// Ends the stream well.
    fn close(&mut self, finish: Finish) -> String;
    /// Returns the whole answer as one JSON value.
    fn whole(&mut self, pieces: &[Piece<'_>], finish: Finish) -> Value;
}
