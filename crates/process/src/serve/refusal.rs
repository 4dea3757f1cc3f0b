//! The reason of a request that a server refused, from the server's log.

use super::server::Server;
use super::start_error::err_unreachable;
use crate::protocol::ClientError;
use opencode_run_core::{StartError, TurnFailure};

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
