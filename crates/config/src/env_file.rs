//! Model sources from `.env` files.

use crate::{EnvFileError, EnvProblem, EnvProblemKind, MAX_FILE_BYTES, ModelSource, assemble, read};
use std::path::Path;

/// The content of an auto-discovered `.env` file.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct DiscoveredEnvFile {
    /// The unambiguous sources.
    pub source: ModelSource,
    /// The problems by line, each with the part that is ignored because of it.
    pub warnings: Vec<EnvProblem>,
}

impl ModelSource {
    /// Reads a file that the user named, strictly.
    ///
    /// # Errors
    ///
    /// All invalid or ambiguous settings of the file together; the [crate's documentation](crate) has the rules. A
    /// missing file is an error too.
    pub fn from_env_file(path: impl AsRef<Path>) -> Result<Self, EnvFileError> {
        let path = path.as_ref();
        assemble::named(path, read::named(path)).map_err(EnvFileError::new)
    }

    /// Reads an auto-discovered file leniently, such as a `.env` in the current directory, which may belong to
    /// another program.
    ///
    /// Never fails: an invalid or ambiguous setting is a warning, and its whole source is ignored, never used in
    /// part. A missing file yields no sources and no warnings.
    #[must_use]
    pub fn from_discovered_env_file(path: impl AsRef<Path>) -> DiscoveredEnvFile {
        let path = path.as_ref();
        let (source, warnings) = assemble::found(path, read::found(path));
        DiscoveredEnvFile { source, warnings }
    }

    /// Reads the content of an auto-discovered file like
    /// [`from_discovered_env_file`](Self::from_discovered_env_file). The path names the file in warnings, and
    /// relative paths in the content are relative to its directory.
    #[must_use]
    pub fn from_discovered_env_bytes(path: impl AsRef<Path>, bytes: Vec<u8>) -> DiscoveredEnvFile {
        let bytes = if bytes.len() > MAX_FILE_BYTES { Err(EnvProblemKind::TooLarge) } else { Ok(Some(bytes)) };
        let (source, warnings) = assemble::found(path.as_ref(), bytes);
        DiscoveredEnvFile { source, warnings }
    }
}
