//! What can be wrong with a journal.

use std::io;
use std::path::{Path, PathBuf};

/// Why a journal cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The system refuses.
    #[error("the journal {} cannot be used", path.display())]
    Io {
        /// The file, or the folder that it was to be made in.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another process, or another part of this one, has the journal open for writing.
    #[error("the conversation in {} is still at work elsewhere", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The file does not begin as a journal does.
    #[error("{} is not a journal", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The journal is in a format of a later version.
    #[error("the journal {} has format {format}, which a later version wrote", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
}

impl JournalError {
    /// Makes an error of what the system says about a path.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}
