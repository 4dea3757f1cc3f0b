//! Reverts the last turn of a session.

use super::{ServeExecutor, Shared};
use crate::protocol::ClientError;
use crate::session::SessionLookupError;
use crate::undo::Undo;
use opencode_run_core::{ModelChoice, SessionId};
use std::path::Path;
use std::sync::Arc;

impl ServeExecutor {
    /// Reverts the last turn of a session, with the files that it changed. The session must have no active turn.
    ///
    /// # Errors
    ///
    /// If there is no such session, or no server can be reached.
    pub async fn undo(
        &self,
        directory: &Path,
        session: &SessionId,
        model: Option<&ModelChoice>,
        agent: Option<&str>,
    ) -> Result<Undo, SessionLookupError> {
        let (launch_key, _) = self.shared.launch_key(&self.sources, model, agent)?;
        let directory = directory.to_owned();
        let session = session.clone();
        self.run(async move |shared: Arc<Shared>| {
            let server = shared.server(&launch_key).await?;
            server.client.undo(&directory, &session).await.map_err(|error| match error {
                ClientError::NotFound(_) => SessionLookupError::NotFound(session.clone()),
                other => SessionLookupError::Unanswered { session: session.clone(), why: other.to_string() },
            })
        })
        .await
    }
}
