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
