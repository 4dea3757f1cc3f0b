//! Why a turn failed, as data.

use crate::SessionId;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// The kind of a failure: what a program branches on, and `error.kind` in JSON.
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
    /// The limit on the whole turn was reached.
    Timeout,
    /// The limit on the time without progress was reached.
    IdleTimeout,
    /// A limit on cost, tokens or requests was reached.
    Limit,
    /// The answer does not meet the asked-for schema.
    Schema,
    /// opencode ended by a signal or with an exit code that it gave no reason for.
    Crashed,
    /// opencode's output does not add up to a finished turn.
    Protocol,
    /// The server that ran the turn is gone.
    ServerLost,
    /// The session is at work on another turn.
    Busy,
    /// opencode is missing, broken, too old or too new.
    Opencode,
    /// The configuration is wrong.
    Config,
    /// The request is wrong.
    Usage,
    /// Reading or writing failed on our side.
    Io,
}

impl FailureKind {
    /// Returns the kind as it stands in JSON, such as `model_not_found`.
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
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Which of a turn's time limits was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "a turn has these two clocks")]
pub enum LimitKind {
    /// The limit on the whole turn.
    Total,
    /// The limit on the time without progress.
    Idle,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "a process ends in one of these two ways")]
pub enum ProcessExit {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
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

/// Why a turn ended in [`RunState::Error`](crate::RunState::Error).
#[derive(Debug, Clone, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum TurnFailure {
    /// opencode does not know the model.
    #[error("{message}")]
    ModelNotFound {
        /// What opencode says, its suggestions included.
        message: String,
    },
    /// opencode does not know the session.
    #[error("session {session} was not found by opencode")]
    SessionNotFound {
        /// The session that was to be continued.
        session: SessionId,
    },
    /// opencode does not know the agent and would have taken another in silence.
    #[error("agent `{agent}` was not found by opencode")]
    AgentNotFound {
        /// The agent that was asked for.
        agent: String,
    },
    /// The model's provider answered with an error or could not be reached.
    #[error("the model's provider failed{}: {message}", status.map(|s| format!(" with status {s}")).unwrap_or_default())]
    Provider {
        /// What the provider or opencode says.
        message: String,
        /// The HTTP status, where there was an answer.
        status: Option<u16>,
        /// Whether trying again may help, where opencode says so.
        retryable: Option<bool>,
        /// The address that was asked, where opencode says so.
        url: Option<String>,
    },
    /// The model's provider answered with a status of success, but with something that is not an answer in its format: a web
    /// page, a malformed stream, nothing at all.
    #[error("the model's provider failed: {message}")]
    MalformedAnswer {
        /// The fault of the answer, with the provider's own words.
        message: String,
    },
    /// A permission was refused and the turn ended on it.
    #[error("the turn ended because a permission was refused: {what}")]
    Permission {
        /// Which tool or permission, and what for.
        what: String,
    },
    /// The limit on the whole turn was reached.
    #[error("the time limit of {limit:?} was reached; last seen: {last_seen}")]
    Timeout {
        /// The limit.
        limit: Duration,
        /// What was seen last, and when.
        last_seen: String,
    },
    /// The limit on the time without progress was reached.
    #[error("no progress for {limit:?}; last seen: {last_seen}")]
    IdleTimeout {
        /// The limit.
        limit: Duration,
        /// What was seen last, and when.
        last_seen: String,
    },
    /// A limit on cost, tokens or requests was reached.
    #[error("{message}")]
    Limit {
        /// Which limit, and how far it went.
        message: String,
    },
    /// opencode ended by a signal or with an exit code that it gave no reason for.
    #[error("opencode ended with {exit}{}", tail(stderr))]
    Crashed {
        /// How it ended.
        exit: ProcessExit,
        /// The end of what it wrote to stderr; may be empty.
        stderr: String,
    },
    /// The server that ran the turn is gone.
    #[error("the opencode server that ran the turn is gone: {message}")]
    ServerLost {
        /// How it went, as far as it is known.
        message: String,
    },
    /// The answer does not meet the schema that was asked for.
    #[error("the answer does not meet the schema: {message}")]
    Schema {
        /// What opencode says.
        message: String,
    },
    /// opencode's output does not add up to a finished turn.
    #[error("{message}")]
    Protocol {
        /// What is missing or wrong.
        message: String,
    },
    /// opencode does not accept its configuration.
    #[error("opencode does not accept its configuration: {message}")]
    Configuration {
        /// What it says.
        message: String,
    },
    /// opencode reported an error of its own.
    #[error("opencode failed: {message}")]
    Opencode {
        /// What it says.
        message: String,
    },
    /// Reading or writing failed on our side.
    #[error("{message}")]
    Io {
        /// What failed.
        message: String,
    },
}

fn tail(stderr: &str) -> String {
    let stderr = stderr.trim();
    if stderr.is_empty() { String::new() } else { format!(": {stderr}") }
}

impl TurnFailure {
    /// Returns what kind of failure it is.
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
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_is_the_json() {
        for kind in [FailureKind::ModelNotFound, FailureKind::IdleTimeout, FailureKind::ServerLost, FailureKind::Io] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
            assert_eq!(kind.to_string(), kind.as_str());
        }
    }

    #[test]
    fn a_crash_says_how_and_what_was_on_stderr() {
        let crash = TurnFailure::Crashed { exit: ProcessExit::Signal(9), stderr: "out of memory\n".to_owned() };
        assert_eq!(crash.to_string(), "opencode ended with signal 9: out of memory");
        let silent = TurnFailure::Crashed { exit: ProcessExit::Code(3), stderr: String::new() };
        assert_eq!(silent.to_string(), "opencode ended with exit code 3");
    }

    #[test]
    fn a_provider_failure_names_its_status() {
        let failure = |status| TurnFailure::Provider { message: "boom".into(), status, retryable: None, url: None };
        assert_eq!(failure(Some(401)).to_string(), "the model's provider failed with status 401: boom");
        assert_eq!(failure(None).to_string(), "the model's provider failed: boom");
    }
}
