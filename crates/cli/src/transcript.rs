//! The transcript of a conversation as a file.

use std::io::Write;
use std::path::{Path, PathBuf};

/// The name of a transcript that no other name was given.
pub const TRANSCRIPT_NAME: &str = "conversation.md";

/// A transcript could not be written. The conversation is still there: it can be written elsewhere.
#[derive(Debug, thiserror::Error)]
#[error("the transcript cannot be written to {}: {source}", path.display())]
pub struct SaveError {
    /// Where it was to go.
    pub path: PathBuf,
    /// Why it did not.
    pub source: std::io::Error,
}

/// Writes a file so that a reader sees the old text or the new one, never a part.
///
/// # Errors
///
/// If it cannot be written; then what was there before still is.
pub(crate) fn write_atomically(path: &Path, text: &str) -> Result<(), SaveError> {
    let failed = |source| SaveError { path: path.to_owned(), source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if path.is_dir() {
        return Err(failed(std::io::ErrorKind::IsADirectory.into()));
    }
    if !folder.is_dir() {
        return Err(failed(std::io::Error::new(std::io::ErrorKind::NotFound, "its directory does not exist")));
    }
    let mut builder = tempfile::Builder::new();
    builder.prefix(".conversation-").suffix(".tmp");
    // Temporary files are for their owner alone; a transcript is a file like any other, with the mode that it had.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = path.metadata().map_or(0o666, |metadata| metadata.permissions().mode());
        builder.permissions(std::fs::Permissions::from_mode(mode));
    }
    let mut file = builder.tempfile_in(folder).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_what_was_there_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.md");
        write_atomically(&path, "one").unwrap();
        write_atomically(&path, "two").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
        assert!(write_atomically(&folder.path().join("none/t.md"), "x").is_err());
        assert!(write_atomically(folder.path(), "x").is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
