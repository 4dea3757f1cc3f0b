//! Looks up opencode's record of a session: the directory that it belongs to, and the model of its last turn.

use crate::Launch;
use crate::protocol::Exported;
use crate::session_info::SessionInfo;
use opencode_run_core::{SessionId, StartError};
use std::path::PathBuf;
use std::time::Duration;

/// The timeout of opencode's answer. It usually takes a second.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);

/// The reason why the record of a session is unknown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionLookupError {
    /// opencode has no such session.
    #[error("session {0} was not found by opencode")]
    NotFound(SessionId),
    /// The session could not be read or changed.
    #[error("session {session} cannot be read or changed: {why}")]
    Unanswered {
        /// The session.
        session: SessionId,
        /// The reason.
        why: String,
    },
    /// No server can be reached.
    #[error(transparent)]
    Server(#[from] StartError),
}

/// Returns the directory that a session belongs to. Queries opencode, which takes a second.
///
/// Check it before continuing a session: in another directory the turn would never end.
///
/// # Errors
///
/// If there is no such session, or opencode does not answer.
pub async fn session_directory(launch: &Launch, session: &SessionId) -> Result<PathBuf, SessionLookupError> {
    session_info(launch, session).await.map(|info| info.directory)
}

/// Returns the directory and the model of a session. Queries opencode, which takes a second.
///
/// # Errors
///
/// If there is no such session, or opencode does not answer.
pub async fn session_info(launch: &Launch, session: &SessionId) -> Result<SessionInfo, SessionLookupError> {
    let generation = launch.opencode().generation();
    if !generation.may_exist(session) {
        return Err(SessionLookupError::NotFound(session.clone()));
    }
    let unanswered = |why: String| SessionLookupError::Unanswered { session: session.clone(), why };
    let arguments = generation.export_arguments(session);
    // Any directory works, and the current one may have been deleted.
    let directory = std::env::current_dir().unwrap_or_else(|_| "/".into());
    let query =
        launch.query(arguments, &directory, REQUEST_TIMEOUT).await.map_err(|error| unanswered(error.to_string()))?;
    match generation.read_export(&query.stdout, &query.stderr) {
        Exported::Session(info) => Ok(info),
        Exported::NotFound => Err(SessionLookupError::NotFound(session.clone())),
        Exported::Nothing(why) => Err(unanswered(why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Opencode;

    #[tokio::test]
    async fn impossible_id_is_not_queried() {
        let nowhere = Opencode::known("/nowhere/opencode".into(), "1.18.33".parse().unwrap()).unwrap();
        let nowhere = Launch::new(nowhere, []);
        for id in ["", "nonsense", "--help"] {
            let error = session_directory(&nowhere, &SessionId::new(id)).await.unwrap_err();
            assert!(matches!(error, SessionLookupError::NotFound(_)), "{id}: {error}");
        }
        let error = session_directory(&nowhere, &SessionId::new("ses_1")).await.unwrap_err();
        assert!(matches!(error, SessionLookupError::Unanswered { .. }), "{error}");
    }
}
