//! Errors of turns that cannot begin on a server.

use crate::protocol::ClientError;
use opencode_run_core::{FailureKind, Remedy, StartError};

/// Describes why a server cannot be used.
pub(crate) fn err_unreachable(error: &ClientError) -> StartError {
    let remedy = match error {
        ClientError::Configuration(_) => Remedy::advice("correct it: opencode itself rejects it too"),
        ClientError::Unauthorized => {
            Remedy::advice("set OPENCODE_SERVER_PASSWORD (and OPENCODE_SERVER_USERNAME) to the server's own")
        }
        ClientError::Locked => Remedy::IsolateDatabase,
        _ => Remedy::advice("check that an opencode server runs at this address"),
    };
    let kind = match error {
        ClientError::Unauthorized | ClientError::Configuration(_) => FailureKind::Config,
        _ => FailureKind::Opencode,
    };
    StartError::new(kind, error.to_string()).remedy(remedy)
}
