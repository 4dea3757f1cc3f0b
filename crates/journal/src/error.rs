//! The errors of a journal.

use std::io;
use std::path::{Path, PathBuf};

/// The reason why a journal cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// An I/O operation failed.
    #[error("the journal {} cannot be used", path.display())]
    Io {
        /// The file, or the directory in which it should have been created.
        path: PathBuf,
        /// The I/O error.
        source: io::Error,
    },
    /// Another process, or another part of this one, has the journal open for writing.
    #[error("the conversation in {} is in use by another process", path.display())]
    Busy {
        /// The file of the journal.
        path: PathBuf,
    },
    /// The file does not begin like a journal.
    #[error("{} is not a journal", path.display())]
    Foreign {
        /// The file that is not a journal.
        path: PathBuf,
    },
    /// A later version wrote the journal: it can be read, but not continued.
    #[error("the journal {} cannot be continued: it has format {format}, which a later version wrote", path.display())]
    Newer {
        /// The file of the journal.
        path: PathBuf,
        /// The format of the journal.
        format: u32,
    },
}

impl JournalError {
    /// Creates an error from an I/O error and a path.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}
