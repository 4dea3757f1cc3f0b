//! A request to a server as data.

use reqwest::Method;
use serde_json::Value;
use std::time::Duration;

/// The timeout of a request that opencode answers without a model. It takes milliseconds; the first one in a directory
/// loads that directory's configuration and plugins.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);
/// The longest answer about a server or a session, in bytes: a list of models has a few MiB.
pub(crate) const MAX_ANSWER_BYTES: usize = 32 << 20;
/// The longest answer that contains messages, in bytes; it may contain a whole long session. An attached server could
/// send an endless answer.
pub(crate) const MAX_MESSAGES_BYTES: usize = 256 << 20;

/// A request as data.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) route: String,
    /// The directory of the request, if the route needs one.
    pub(crate) directory: Option<String>,
    /// Other parameters, with their names.
    pub(crate) query: Vec<(&'static str, String)>,
    pub(crate) body: Option<Value>,
    /// Whether to retry it without an answer: it is idempotent, and the turn cannot continue without it.
    pub(crate) is_retried: bool,
    /// The timeout; `None` if the answer comes at the end of the turn.
    pub(crate) timeout: Option<Duration>,
    /// The longest answer.
    pub(crate) max_bytes: usize,
}

impl Request {
    pub(crate) fn new(method: Method, route: impl Into<String>) -> Self {
        Self {
            method,
            route: route.into(),
            directory: None,
            query: Vec::new(),
            body: None,
            is_retried: false,
            timeout: Some(REQUEST_TIMEOUT),
            max_bytes: MAX_ANSWER_BYTES,
        }
    }

    /// Sets the directory.
    pub(crate) fn in_directory(mut self, directory: &str) -> Self {
        self.directory = Some(directory.to_owned());
        self
    }

    /// Adds a parameter.
    pub(crate) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    pub(crate) fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    pub(crate) fn retried(mut self) -> Self {
        self.is_retried = true;
        self
    }

    /// Expects an answer with messages.
    pub(crate) fn with_messages(mut self) -> Self {
        self.max_bytes = MAX_MESSAGES_BYTES;
        self
    }

    /// Waits for the answer however long it takes.
    pub(crate) fn unlimited(mut self) -> Self {
        self.timeout = None;
        self
    }
}
