//! opencode's record of a session.

use opencode_run_core::ModelSourceType;
use std::path::PathBuf;

/// opencode's record of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionInfo {
    /// The directory that the session belongs to.
    pub directory: PathBuf,
    /// The model of the session's last turn, which opencode continues with by default; `None` before the first turn, or
    /// if opencode does not report it.
    pub model: Option<SessionModel>,
}

/// The model of a session's last turn.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionModel {
    /// A model source with its own endpoint. Its name in opencode is valid only while opencode is started with that
    /// source.
    Source {
        /// The type of the source.
        source_type: ModelSourceType,
        /// The model's name at its provider.
        model: String,
    },
    /// A model that opencode knows by itself, `provider/model`.
    Named(String),
}

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
