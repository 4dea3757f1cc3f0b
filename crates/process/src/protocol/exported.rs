//! The result of exporting a session.

use crate::session_info::SessionInfo;

/// The result of exporting a session.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Exported {
    /// The session's record.
    Session(SessionInfo),
    /// There is no such session.
    NotFound,
    /// No record; contains the last line of the output.
    Nothing(String),
}
