//! Converts opencode's errors to failures of a turn.

use opencode_run_core::{ReportedError, TurnFailure};
use serde::Deserialize;

/// An error in opencode's events and messages.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct ErrorInfo {
    #[serde(rename = "type", default)]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) status: Option<u16>,
}

/// The start of the message for an unknown agent, before the agent's name in quotes. The error has no type of its own.
const NO_AGENT: &str = "Agent not found: ";

impl ErrorInfo {
    /// Returns the error as an event contains it.
    pub(crate) fn reported(&self) -> ReportedError {
        ReportedError::new(self.kind.clone(), self.message.clone()).status(self.status)
    }

    /// Returns the failure of a turn that ended with this error.
    pub(crate) fn failure(self) -> TurnFailure {
        let Self { kind, message, status } = self;
        if let Some(agent) = message.strip_prefix(NO_AGENT) {
            return TurnFailure::AgentNotFound { agent: agent.trim_matches('"').to_owned() };
        }
        match kind.as_str() {
            "provider.no-route" => {
                TurnFailure::ModelNotFound { message: format!("Model not found: {}", rest(&message)) }
            }
            "provider.invalid-output" => TurnFailure::MalformedAnswer { message },
            kind if kind.starts_with("provider.") => {
                let retryable = matches!(kind, "provider.rate-limit" | "provider.internal" | "provider.transport");
                TurnFailure::Provider { message, status, retryable: Some(retryable), url: None }
            }
            "" | "unknown" => TurnFailure::Opencode { message },
            kind => TurnFailure::Opencode { message: format!("{kind}: {message}") },
        }
    }
}

/// Returns the model's name in a message such as `Model unavailable: stub/nope`.
fn rest(message: &str) -> &str {
    message.split_once(": ").map_or(message, |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(kind: &str, message: &str, status: Option<u16>) -> TurnFailure {
        ErrorInfo { kind: kind.to_owned(), message: message.to_owned(), status }.failure()
    }

    #[test]
    fn errors_of_opencode_become_typed_failures() {
        let agent = TurnFailure::AgentNotFound { agent: "nope".to_owned() };
        assert_eq!(failure("unknown", "Agent not found: \"nope\"", None), agent);
        let model = TurnFailure::ModelNotFound { message: "Model not found: stub/nope".to_owned() };
        assert_eq!(failure("provider.no-route", "Model unavailable: stub/nope", None), model);
        let key = failure("provider.auth", "no such key", Some(401));
        assert_eq!(key.to_string(), "the model's provider failed with status 401: no such key");
        assert!(matches!(failure("provider.invalid-output", "x", None), TurnFailure::MalformedAnswer { .. }));
        assert_eq!(failure("tool.x", "y", None), TurnFailure::Opencode { message: "tool.x: y".to_owned() });
    }
}
