//! Errors of turns that cannot begin on a server.

use crate::protocol::{ClientError, SERVER_CREDENTIALS};
use opencode_run_core::{FailureKind, Remedy, SessionId, StartError, TurnFailure};

/// Describes why a server cannot be used.
pub(crate) fn err_unreachable(error: &ClientError) -> StartError {
    let remedy = match error {
        ClientError::Configuration(_) => Remedy::advice("correct it: opencode itself rejects it too"),
        ClientError::NoModel(_) => Remedy::CorrectConfigurationOrNameModel,
        ClientError::Unauthorized => Remedy::advice(format!("set {SERVER_CREDENTIALS} to the server's own")),
        ClientError::Locked => Remedy::IsolateDatabase,
        _ => Remedy::advice("check that an opencode server runs at this address"),
    };
    let kind = match error {
        ClientError::Unauthorized | ClientError::Configuration(_) | ClientError::NoModel(_) => FailureKind::Config,
        _ => FailureKind::Opencode,
    };
    StartError::new(kind, error.to_string()).remedy(remedy)
}

/// Returns the error for a turn without a valid name of a model.
pub(crate) fn err_invalid_model() -> StartError {
    StartError::new(FailureKind::Usage, "the model's name is not in the form `provider/model`")
        .hint("name it as `provider/model`")
}

/// Returns the error for a session that this opencode does not have.
pub(crate) fn err_no_session(session: &SessionId) -> StartError {
    let failure = TurnFailure::SessionNotFound { session: session.clone() };
    StartError::new(failure.kind(), failure.to_string())
        .hint("opencode 1 and opencode 2 have different sessions: continue it with the version that started it")
}

/// Returns the error for an invalid schema of the answer.
pub(crate) fn err_invalid_schema(why: &str) -> StartError {
    StartError::new(FailureKind::Usage, format!("the answer cannot be validated with the JSON Schema: {why}"))
        .hint("correct the schema; all its references must be internal")
}
