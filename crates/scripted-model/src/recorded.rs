//! A request as it arrived.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;
use serde_json::Value;

use crate::{
    Protocol, ToolResult,
    dialogue::{Dialogue, offers_tools},
    endpoint::model_of,
    millis,
};

/// A request as it arrived; its helpers read all three protocols.
///
/// A client's key is in it, in the header in which the client sent it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RecordedRequest {
    /// The time from the server's start until the request was read.
    #[serde(rename = "elapsed_ms", serialize_with = "millis::serialize")]
    pub elapsed: Duration,
    /// The protocol, if the path is one of a protocol.
    pub protocol: Option<Protocol>,
    /// The HTTP method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The headers, with lowercase names; the values of one that came several times are joined by `, `.
    pub headers: BTreeMap<String, String>,
    /// The body: null if there was none, a string if it was not JSON.
    pub body: Value,
}

impl RecordedRequest {
    /// Returns the name of the model, empty if the request has none.
    #[must_use]
    pub fn model(&self) -> &str {
        model_of(self.protocol, &self.path, &self.body)
    }

    /// Returns the system prompt, its parts separated by a line break.
    #[must_use]
    pub fn system_text(&self) -> String {
        self.dialogue().system_text()
    }

    /// Returns the text of all messages but the system's, results of tools included, separated by a line break.
    #[must_use]
    pub fn messages_text(&self) -> String {
        self.dialogue().messages_text()
    }

    /// Returns the text of the last user message, empty if there is none.
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

    /// Returns the results of tools that the request brings back, in their order.
    #[must_use]
    pub fn tool_results(&self) -> Vec<ToolResult> {
        self.dialogue().tool_results()
    }

    /// Returns a header's value; the name may be in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(&name.to_ascii_lowercase()).map(String::as_str)
    }

    pub(crate) fn dialogue(&self) -> Dialogue<'_> {
        self.protocol.map(|protocol| Dialogue::read(protocol, &self.body)).unwrap_or_default()
    }
}
