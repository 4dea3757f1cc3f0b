//! The session of a turn that is being prepared.

use crate::serve::server::Server;
use opencode_run_core::SessionId;
use std::path::PathBuf;
use std::sync::Arc;

/// The session of a turn that is being prepared. Dropping it deletes a session that was created for the turn: it is
/// empty, and the caller does not know it.
pub(super) struct PreparedSession {
    pub(super) id: SessionId,
    /// The server and directory in which it was created, if it is new.
    pub(super) made: Option<(Arc<Server>, PathBuf)>,
}

impl PreparedSession {
    /// Keeps the session, so that dropping does not delete it.
    pub(super) fn keep(mut self) -> SessionId {
        self.made = None;
        self.id.clone()
    }
}

impl Drop for PreparedSession {
    fn drop(&mut self) {
        let Some((server, directory)) = self.made.take() else { return };
        let id = self.id.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = server.client.delete_session(&directory, &id).await {
                    tracing::debug!(%error, "an empty session could not be deleted");
                }
            });
        }
    }
}
