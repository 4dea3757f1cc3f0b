//! Which directory a session of opencode belongs to.

use crate::Launch;
use crate::dialect::Exported;
use opencode_run_core::{SessionId, StartError};
use std::path::PathBuf;
use std::time::Duration;

/// How long opencode may take to answer. It takes a second.
const LIMIT: Duration = Duration::from_mins(1);

/// Why the directory of a session is not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionLookupError {
    /// opencode has no such session.
    #[error("session {0} was not found by opencode")]
    NotFound(SessionId),
    /// opencode did not answer as expected.
    #[error("opencode does not say which directory session {session} belongs to: {why}")]
    Unanswered {
        /// The session.
        session: SessionId,
        /// What it did instead.
        why: String,
    },
    /// There is no server to ask.
    #[error(transparent)]
    Server(#[from] StartError),
}

/// Asks opencode which directory a session belongs to, which costs a second.
///
/// A session that is continued elsewhere never ends its turn, so this is worth knowing before.
///
/// # Errors
///
/// If there is no such session, or opencode does not say.
pub async fn session_directory(launch: &Launch, session: &SessionId) -> Result<PathBuf, SessionLookupError> {
    let dialect = launch.opencode().dialect();
    if !dialect.may_exist(session) {
        return Err(SessionLookupError::NotFound(session.clone()));
    }
    let unanswered = |why: String| SessionLookupError::Unanswered { session: session.clone(), why };
    let arguments = dialect.export_arguments(session);
    let answer = async { launch.ask(arguments, &std::env::current_dir()?, LIMIT).await };
    let answer = answer.await.map_err(|error| unanswered(error.to_string()))?;
    match dialect.read_export(&answer.stdout, &answer.stderr) {
        Exported::Directory(directory) => Ok(directory),
        Exported::NotFound => Err(SessionLookupError::NotFound(session.clone())),
        Exported::Nothing(why) => Err(unanswered(why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Opencode;

    #[tokio::test]
    async fn an_id_that_can_be_none_is_not_asked_for() {
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
