//! An error of the provider with a scripted status, headers and body.

use std::{collections::BTreeMap, time::Duration};

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::CONTENT_TYPE};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::millis;

/// An error of the provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ErrorReply {
    /// The HTTP status, 200 to 599.
    pub status: u16,
    /// The message in an error body of the request's protocol. Ignored if there is a body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The whole body: a string is sent unchanged (as HTML if it begins with `<`, otherwise as plain text), any
    /// other value as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// Headers to add, such as `retry-after`; a `content-type` overrides the default.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The delay before the status line.
    #[serde(rename = "delay_ms", with = "millis", default, skip_serializing_if = "Duration::is_zero")]
    pub delay: Duration,
}

impl ErrorReply {
    /// Returns an error with a body of the request's protocol.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self { status, message: None, body: None, headers: BTreeMap::new(), delay: Duration::ZERO }
    }

    /// Sets the message in the body.
    #[must_use]
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// Sets the whole body instead of the protocol's own.
    #[must_use]
    pub fn body(mut self, body: impl Into<Value>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// Sets the delay before the status line.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Returns the reason why this error cannot be sent; `None` if it can.
    pub(crate) fn problem(&self) -> Option<String> {
        if !(200..=599).contains(&self.status) {
            return Some(format!("the status {} is not between 200 and 599", self.status));
        }
        self.headers.iter().find_map(|(name, value)| {
            if HeaderName::try_from(name).is_err() {
                Some(format!("{name:?} is not a header name"))
            } else if HeaderValue::try_from(value).is_err() {
                Some(format!("{value:?} cannot be a header's value"))
            } else {
                None
            }
        })
    }

    /// Returns the status code; 500 if [`Self::problem`] rejects it.
    pub(crate) fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Returns the headers and the body; `own_body` creates the protocol's body from a message.
    pub(crate) fn head_and_body(&self, own_body: impl FnOnce(&str) -> Value) -> (HeaderMap, String) {
        let (content_type, body) = match &self.body {
            Some(Value::String(text)) if text.trim_start().starts_with('<') => {
                ("text/html; charset=utf-8", text.clone())
            }
            Some(Value::String(text)) => ("text/plain; charset=utf-8", text.clone()),
            Some(json) => ("application/json", json.to_string()),
            None => {
                let message = self.message.as_deref().unwrap_or("scripted error");
                ("application/json", own_body(message).to_string())
            }
        };
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        for (name, value) in &self.headers {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                headers.insert(name, value);
            }
        }
        (headers, body)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parts(error: &ErrorReply) -> (String, String) {
        let (headers, body) = error.head_and_body(|message| json!({ "own": message }));
        let content_type = headers[CONTENT_TYPE].to_str().unwrap().to_owned();
        (content_type, body)
    }

    #[test]
    fn body_determines_content_type() {
        let html = ErrorReply::new(502).body("<html>bad gateway</html>");
        assert_eq!(parts(&html), ("text/html; charset=utf-8".into(), "<html>bad gateway</html>".into()));
        let text = ErrorReply::new(502).body("upstream");
        assert_eq!(parts(&text).0, "text/plain; charset=utf-8");
        let json = ErrorReply::new(400).body(json!({"error": {"message": "no"}}));
        assert_eq!(parts(&json), ("application/json".into(), r#"{"error":{"message":"no"}}"#.into()));
        let own = ErrorReply::new(400).message("bad");
        assert_eq!(parts(&own), ("application/json".into(), r#"{"own":"bad"}"#.into()));
        let chosen = ErrorReply::new(400).body("{").header("content-type", "application/json");
        assert_eq!(parts(&chosen).0, "application/json");
    }

    #[test]
    fn invalid_http_error_is_rejected() {
        assert_eq!(ErrorReply::new(429).header("retry-after", "1").problem(), None);
        assert!(ErrorReply::new(99).problem().unwrap().contains("99"));
        assert!(ErrorReply::new(600).problem().is_some());
        assert!(ErrorReply::new(400).header("a b", "1").problem().is_some());
        assert!(ErrorReply::new(400).header("a", "1\n2").problem().is_some());
    }
}
