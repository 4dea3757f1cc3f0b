//! The result of undoing a turn.

use std::path::PathBuf;

/// The result of undoing the last turn of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Undo {
    /// The session and its files are as before the turn.
    Done {
        /// The files that the turn had changed, according to opencode.
        files: Vec<PathBuf>,
    },
    /// The session has no further turn.
    NothingLeft,
    /// opencode has no snapshot of the files before the turn. Nothing was changed.
    NoSnapshot,
    /// Turns cannot be undone with this opencode or this transport.
    Unsupported,
}
