//! A recorded request.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;
use serde_json::Value;

use crate::{
    Protocol, ToolResult,
    dialogue::{Dialogue, offers_tools},
    endpoint::model_of,
    millis,
};

/// A request as received; its methods parse all three protocols.
///
/// Contains the client's key in the header in which the client sent it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RecordedRequest {
    /// The time from the server's start until the request was read.
    #[serde(rename = "elapsed_ms", serialize_with = "millis::serialize")]
    pub elapsed: Duration,
    /// The protocol, if the path belongs to one.
    pub protocol: Option<Protocol>,
    /// The HTTP method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The headers with lower-case names; repeated values are joined by `, `.
    pub headers: BTreeMap<String, String>,
    /// The body: null if absent, a string if it was not JSON.
    pub body: Value,
}

impl RecordedRequest {
    /// Returns the requested model, empty if the request names none.
    #[must_use]
    pub fn model(&self) -> &str {
        model_of(self.protocol, &self.path, &self.body)
    }

    /// Returns the system prompt, its parts separated by line breaks.
    #[must_use]
    pub fn system_text(&self) -> String {
        self.dialogue().system_text()
    }

    /// Returns the texts of all messages except the system prompt, including tool results, separated by line
    /// breaks.
    #[must_use]
    pub fn messages_text(&self) -> String {
        self.dialogue().messages_text()
    }

    /// Returns the text of the last user message, or an empty text.
    #[must_use]
    pub fn last_user_text(&self) -> String {
        self.dialogue().last_user_text()
    }

    /// Returns the number of user messages.
    #[must_use]
    pub fn turn(&self) -> usize {
        self.dialogue().turn()
    }

    /// Returns whether the request offers tools.
    #[must_use]
    pub fn has_tools(&self) -> bool {
        offers_tools(&self.body)
    }

    /// Returns the tool results in the request, in order.
    #[must_use]
    pub fn tool_results(&self) -> Vec<ToolResult> {
        self.dialogue().tool_results()
    }

    /// Returns a header's value; the name is case-insensitive.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(&name.to_ascii_lowercase()).map(String::as_str)
    }

    pub(crate) fn dialogue(&self) -> Dialogue<'_> {
        self.protocol.map(|protocol| Dialogue::read(protocol, &self.body)).unwrap_or_default()
    }
}
