//! Releases the state that servers keep for a task.

use super::{ServeExecutor, Servers, Shared, SharedSources};
use crate::serve::server::Server;
use opencode_run_core::{FailureKind, SessionId, StartError, Task};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long an attached server may take to release a directory after the turn. It may never answer.
const ATTACHED_RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a server without an idle timeout keeps the state of a directory whose user was dropped.
const ABANDONED_TIMEOUT: Duration = Duration::from_mins(1);

impl ServeExecutor {
    /// Schedules the release of the state that the servers keep for a directory: after the idle timeout, unless a turn has
    /// begun in the directory. An attached server releases it when the next turn ends. Returns immediately, and works
    /// without a runtime.
    pub fn abandon(&self, directory: &Path) {
        match &self.shared.servers {
            Servers::Own(pool) => pool.servers().iter().for_each(|server| server.abandon(directory)),
            Servers::Attached(server) => server.abandon(directory),
        }
    }
}

impl Shared {
    /// Returns how long a server keeps the state of a directory whose user was dropped.
    pub(super) fn abandoned_timeout(&self) -> Duration {
        let idle_timeout = match &self.servers {
            Servers::Own(pool) => pool.launch().idle_timeout(),
            Servers::Attached(_) => None,
        };
        idle_timeout.unwrap_or(ABANDONED_TIMEOUT)
    }

    /// Releases the directory of a task on all servers, and deletes its session from opencode's history if `forget` is set.
    pub(super) async fn release(
        &self,
        task: &Task,
        session: Option<&SessionId>,
        forget: bool,
    ) -> Result<(), StartError> {
        let servers = match &self.servers {
            Servers::Own(pool) => return self.release_from(pool.servers(), task, session, forget).await,
            Servers::Attached(server) => vec![Arc::clone(server)],
        };
        let released = self.release_from(servers, task, session, forget);
        tokio::time::timeout(ATTACHED_RELEASE_TIMEOUT, released).await.unwrap_or_else(|_| {
            tracing::debug!("the attached server is too slow to release a directory");
            if forget && session.is_some() { Err(err_not_deleted()) } else { Ok(()) }
        })
    }

    async fn release_from(
        &self,
        servers: Vec<Arc<Server>>,
        task: &Task,
        session: Option<&SessionId>,
        forget: bool,
    ) -> Result<(), StartError> {
        if let Some(session) = session {
            self.sessions.forget(session);
        }
        let mut deleted = !forget || session.is_none();
        let servers = if servers.is_empty() && !deleted {
            // The server has ended since. All servers share the same sessions.
            vec![self.server(&self.launch_key(&SharedSources::default(), None, None)?.0).await?]
        } else {
            servers
        };
        for server in servers {
            if let Some(session) = session {
                server.dispatcher.untrack_activity(session);
            }
            if let (false, Some(session)) = (deleted, session) {
                deleted = server.client.delete_session(&task.directory, session).await.is_ok();
            }
            server.dispose(&task.directory).await;
        }
        if deleted {
            return Ok(());
        }
        Err(err_not_deleted())
    }
}

fn err_not_deleted() -> StartError {
    StartError::new(FailureKind::Opencode, "the session could not be deleted from opencode's history")
}
