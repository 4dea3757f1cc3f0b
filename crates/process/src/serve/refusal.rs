//! The reason of a request that a server refused, from the server's log.

use super::server::Server;
use super::start_error::err_unreachable;
use crate::protocol::{ClientError, remedy_for_server};
use crate::resource_limits::resource_hint;
use opencode_run_core::{FailureKind, Remedy, StartError, TurnFailure};

impl Server {
    /// Describes a request that failed before a turn, with the reason from the log or the exit status if we started the
    /// server.
    pub(crate) async fn start_error(&self, error: ClientError) -> StartError {
        let reference = match &error {
            ClientError::Refused { reference, .. } => reference.as_deref(),
            ClientError::NoAnswer(_) => match self.exit_after_disconnect().await {
                Some(how) => return self.err_ended(&how),
                None => None,
            },
            _ => None,
        };
        let line = self.log_line(reference).await;
        match line.and_then(|line| self.client.generation().read_log(&line)) {
            Some(TurnFailure::Configuration { message }) => err_unreachable(&ClientError::Configuration(message)),
            Some(failure) => StartError::new(failure.kind(), failure.to_string()),
            None => self.err_unusable(&error),
        }
    }

    fn err_ended(&self, how: &str) -> StartError {
        let message = format!("the opencode server ended before the turn began: {how}");
        let remedy = resource_hint(&message).map_or_else(|| remedy_for_server(self.version), Remedy::advice);
        StartError::new(FailureKind::Opencode, message).remedy(remedy)
    }

    /// Describes why the server cannot be used. The address of one that we started is not the user's concern.
    fn err_unusable(&self, error: &ClientError) -> StartError {
        let described = err_unreachable(error);
        match error {
            ClientError::NoAnswer(_)
            | ClientError::Refused { .. }
            | ClientError::Unreadable
            | ClientError::TooLong { .. }
                if self.is_ours() =>
            {
                described.remedy(remedy_for_server(self.version))
            }
            _ => described,
        }
    }
}
