//! The transcript of a conversation as a file.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The name of a transcript that no other name was given.
pub const TRANSCRIPT_NAME: &str = "conversation.md";

/// A transcript could not be written. The conversation is still there: it can be written elsewhere.
#[derive(Debug, thiserror::Error)]
#[error("the transcript cannot be written to {}", path.display())]
#[non_exhaustive]
pub struct SaveError {
    /// Where it was to go.
    pub path: PathBuf,
    /// Why it did not.
    pub source: std::io::Error,
}

/// Why nothing is written to a device or a pipe: the file is put in place of what is there.
const NOT_REGULAR: &str = "it is not a regular file";

/// Returns the mode of a file that is to take the place of what is at this path: that of a regular file, without what lets it be
/// executed or act for its owner. A link is replaced, not followed, so that it lends neither its mode nor that of its target.
///
/// # Errors
///
/// If it is something else that is not to be replaced: a directory, a pipe or a device, also at the end of a link.
pub fn check_place(path: &Path) -> io::Result<u32> {
    const USUAL: u32 = 0o666;
    match path.metadata() {
        Ok(data) if data.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        Ok(data) if !data.is_file() => return Err(io::Error::new(io::ErrorKind::InvalidInput, NOT_REGULAR)),
        _ => {}
    }
    #[cfg(unix)]
    if let Ok(data) = path.symlink_metadata()
        && data.is_file()
    {
        use std::os::unix::fs::PermissionsExt;
        return Ok(data.permissions().mode() & USUAL);
    }
    Ok(USUAL)
}

/// Writes a file so that a reader sees the old text or the new one, never a part.
///
/// # Errors
///
/// If it cannot be written; then what was there before still is.
pub fn write_atomically(path: &Path, text: &str) -> Result<(), SaveError> {
    let failed = |source| SaveError { path: path.to_owned(), source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mode = check_place(path).map_err(failed)?;
    if !folder.is_dir() {
        return Err(failed(io::Error::new(io::ErrorKind::NotFound, "its directory does not exist")));
    }
    let mut builder = tempfile::Builder::new();
    builder.prefix(".conversation-").suffix(".tmp");
    // Temporary files are for their owner alone; a transcript is a file like any other. The umask applies.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
    #[cfg(not(unix))]
    let _ = mode;
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
    #[cfg(unix)]
    #[test]
    fn mode_of_a_link_or_of_its_target_is_not_taken_over() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mode = |path: &Path| path.symlink_metadata().unwrap().permissions().mode() & 0o7777;
        let set = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        write_atomically(&at("new.md"), "x").unwrap();
        let usual = mode(&at("new.md"));
        std::fs::write(at("program"), "other").unwrap();
        set(&at("program"), 0o6777);
        symlink(at("program"), at("link.md")).unwrap();
        write_atomically(&at("link.md"), "x").unwrap();
        assert_eq!((mode(&at("link.md")), mode(&at("program"))), (usual, 0o6777));
        assert!(at("link.md").symlink_metadata().unwrap().is_file());
        assert_eq!(std::fs::read_to_string(at("program")).unwrap(), "other");
        for (before, after) in [(0o6755, 0o644), (0o600, 0o600), (0o1777, usual)] {
            set(&at("new.md"), before);
            write_atomically(&at("new.md"), "y").unwrap();
            assert_eq!(mode(&at("new.md")), after, "{before:o}");
        }
        symlink("/nowhere/at/all", at("dangling.md")).unwrap();
        write_atomically(&at("dangling.md"), "x").unwrap();
        assert_eq!(mode(&at("dangling.md")), usual);
    }

    #[cfg(unix)]
    #[test]
    fn devices_and_pipes_are_not_replaced() {
        use std::os::unix::fs::{FileTypeExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        symlink("/dev/null", folder.path().join("link.md")).unwrap();
        let socket = folder.path().join("socket");
        let _listening = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for path in [Path::new("/dev/null"), &folder.path().join("link.md"), &socket] {
            assert_eq!(write_atomically(path, "x").unwrap_err().source.to_string(), NOT_REGULAR, "{}", path.display());
        }
        assert!(socket.symlink_metadata().unwrap().file_type().is_socket());
    }
}
