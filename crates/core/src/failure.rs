//! The reasons for which a turn fails, as data.

use crate::SessionId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;
use std::time::Duration;

/// The kind of a failure: for programs to branch on, and `error.kind` in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureKind {
    /// opencode does not know the model.
    ModelNotFound,
    /// opencode does not know the session.
    SessionNotFound,
    /// The model's provider answered with an error or could not be reached.
    Provider,
    /// A permission was refused and the turn ended on it.
    Permission,
    /// The total time limit was reached.
    Timeout,
    /// The limit on the time without progress was reached.
    IdleTimeout,
    /// A limit on cost, tokens or requests was reached.
    Limit,
    /// The answer does not match the requested schema.
    Schema,
    /// opencode was killed by a signal or exited with a code without giving a reason.
    Crashed,
    /// The output of opencode ends without a finished turn.
    Protocol,
    /// The server that ran the turn is gone.
    ServerLost,
    /// The session is busy with another turn.
    Busy,
    /// opencode is missing, broken, too old or too new.
    Opencode,
    /// The configuration is wrong.
    Config,
    /// The request is wrong.
    Usage,
    /// An I/O operation on our side failed.
    Io,
    /// A kind that a later version wrote.
    #[serde(other)]
    Unknown,
}

impl FailureKind {
    /// Returns the name of the kind in JSON, such as `model_not_found`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ModelNotFound => "model_not_found",
            Self::SessionNotFound => "session_not_found",
            Self::Provider => "provider",
            Self::Permission => "permission",
            Self::Timeout => "timeout",
            Self::IdleTimeout => "idle_timeout",
            Self::Limit => "limit",
            Self::Schema => "schema",
            Self::Crashed => "crashed",
            Self::Protocol => "protocol",
            Self::ServerLost => "server_lost",
            Self::Busy => "busy",
            Self::Opencode => "opencode",
            Self::Config => "config",
            Self::Usage => "usage",
            Self::Io => "io",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The time limits of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "a turn has these two clocks")]
pub enum LimitKind {
    /// The total time limit.
    Total,
    /// The limit on the time without progress.
    Idle,
}

/// The exit status of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "a process ends in one of these two ways")]
pub enum ProcessExit {
    /// The process exited with this code.
    Code(i32),
    /// The process was killed by this signal.
    Signal(i32),
}

impl fmt::Display for ProcessExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// The reason why a turn ended in [`RunState::Error`](crate::RunState::Error).
#[derive(Debug, Clone, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum TurnFailure {
    /// opencode does not know the model.
    #[error("{message}")]
    ModelNotFound {
        /// opencode's message, including its suggestions.
        message: String,
    },
    /// opencode does not know the session.
    #[error("session {session} was not found by opencode")]
    SessionNotFound {
        /// The session that should have been continued.
        session: SessionId,
    },
    /// opencode does not know the agent and would silently have used another one.
    #[error("agent `{agent}` was not found by opencode")]
    AgentNotFound {
        /// The requested agent.
        agent: String,
    },
    /// The model's provider answered with an error or could not be reached.
    #[error("the model's provider failed{}: {message}", status.map(|s| format!(" with status {s}")).unwrap_or_default())]
    Provider {
        /// The message of the provider or of opencode.
        message: String,
        /// The HTTP status, if there was an answer.
        status: Option<u16>,
        /// Whether a retry may help, if opencode reports that.
        retryable: Option<bool>,
        /// The requested URL, if opencode reports it.
        url: Option<String>,
    },
    /// The model's provider answered with a success status, but the body is not an answer in its format: a web
    /// page, a malformed stream, or empty.
    #[error("the model's provider failed: {message}")]
    MalformedAnswer {
        /// The fault of the answer, with the provider's own words.
        message: String,
    },
    /// A permission was refused and the turn ended on it.
    #[error("the turn ended because a permission was refused: {what}")]
    Permission {
        /// The tool or permission, and its target.
        what: String,
    },
    /// The total time limit was reached.
    #[error("the time limit of {limit:?} was reached; last seen: {last_seen}")]
    Timeout {
        /// The limit that was reached.
        limit: Duration,
        /// The last event and its time.
        last_seen: String,
    },
    /// The limit on the time without progress was reached.
    #[error("no progress for {limit:?}; last seen: {last_seen}")]
    IdleTimeout {
        /// The limit that was reached.
        limit: Duration,
        /// The last event and its time.
        last_seen: String,
    },
    /// A limit on cost, tokens or requests was reached.
    #[error("{message}")]
    Limit {
        /// The limit, and the usage that reached it.
        message: String,
    },
    /// opencode was killed by a signal or exited with a code without giving a reason.
    #[error("opencode ended with {exit}{}", tail(stderr))]
    Crashed {
        /// The exit status.
        exit: ProcessExit,
        /// The end of its stderr output; may be empty.
        stderr: String,
    },
    /// The server that ran the turn is gone.
    #[error("the opencode server that ran the turn is gone: {message}")]
    ServerLost {
        /// The circumstances, if known.
        message: String,
    },
    /// The answer does not match the requested schema.
    #[error("the answer does not meet the schema: {message}")]
    Schema {
        /// opencode's message.
        message: String,
    },
    /// The output of opencode ends without a finished turn.
    #[error("{message}")]
    Protocol {
        /// The missing or wrong part.
        message: String,
    },
    /// opencode does not accept its configuration.
    #[error("opencode does not accept its configuration: {message}")]
    Configuration {
        /// opencode's message.
        message: String,
    },
    /// opencode reported an error of its own.
    #[error("opencode failed: {message}")]
    Opencode {
        /// opencode's message.
        message: String,
    },
    /// An I/O operation on our side failed.
    #[error("{message}")]
    Io {
        /// The failed operation and its error.
        message: String,
    },
    /// A failure that a later version wrote, as JSON.
    #[error("{}", .0["message"].as_str().map_or_else(|| .0.to_string(), str::to_owned))]
    #[serde(untagged)]
    Unknown(Value),
}

fn tail(stderr: &str) -> String {
    let stderr = stderr.trim();
    if stderr.is_empty() { String::new() } else { format!(": {stderr}") }
}

impl TurnFailure {
    /// Returns the kind of the failure.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::ModelNotFound { .. } => FailureKind::ModelNotFound,
            Self::SessionNotFound { .. } => FailureKind::SessionNotFound,
            Self::AgentNotFound { .. } => FailureKind::Usage,
            Self::Provider { .. } | Self::MalformedAnswer { .. } => FailureKind::Provider,
            Self::Permission { .. } => FailureKind::Permission,
            Self::Timeout { .. } => FailureKind::Timeout,
            Self::IdleTimeout { .. } => FailureKind::IdleTimeout,
            Self::Limit { .. } => FailureKind::Limit,
            Self::Crashed { .. } => FailureKind::Crashed,
            Self::ServerLost { .. } => FailureKind::ServerLost,
            Self::Schema { .. } => FailureKind::Schema,
            Self::Protocol { .. } => FailureKind::Protocol,
            Self::Configuration { .. } => FailureKind::Config,
            Self::Opencode { .. } => FailureKind::Opencode,
            Self::Io { .. } => FailureKind::Io,
            Self::Unknown(_) => FailureKind::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_kind_equals_json() {
        for kind in [FailureKind::ModelNotFound, FailureKind::IdleTimeout, FailureKind::ServerLost, FailureKind::Io] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
            assert_eq!(kind.to_string(), kind.as_str());
        }
    }

    #[test]
    fn crash_message_has_exit_and_stderr() {
        let crash = TurnFailure::Crashed { exit: ProcessExit::Signal(9), stderr: "out of memory\n".to_owned() };
        assert_eq!(crash.to_string(), "opencode ended with signal 9: out of memory");
        let silent = TurnFailure::Crashed { exit: ProcessExit::Code(3), stderr: String::new() };
        assert_eq!(silent.to_string(), "opencode ended with exit code 3");
    }

    #[test]
    fn provider_failure_message_has_status() {
        let failure = |status| TurnFailure::Provider { message: "boom".into(), status, retryable: None, url: None };
        assert_eq!(failure(Some(401)).to_string(), "the model's provider failed with status 401: boom");
        assert_eq!(failure(None).to_string(), "the model's provider failed: boom");
    }
}
