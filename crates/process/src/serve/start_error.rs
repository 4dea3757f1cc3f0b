//! Errors of turns that cannot begin on a server.

use super::server::Server;
use crate::protocol::ClientError;
use opencode_run_core::{FailureKind, Remedy, StartError, TurnFailure};

impl Server {
    /// Describes a request that failed before a turn, with the reason from the log if we started the server.
    pub(crate) async fn start_error(&self, error: ClientError) -> StartError {
        let ClientError::Refused { reference: Some(reference), .. } = &error else { return err_unreachable(&error) };
        let line = self.log_line(Some(reference)).await;
        match line.and_then(|line| self.client.generation().read_log(&line)) {
            Some(TurnFailure::Configuration { message }) => err_unreachable(&ClientError::Configuration(message)),
            Some(failure) => StartError::new(failure.kind(), failure.to_string()),
            None => err_unreachable(&error),
        }
    }
}

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
