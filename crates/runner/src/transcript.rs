//! Writes the transcript of a conversation to a file.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The default file name of a transcript.
pub const TRANSCRIPT_NAME: &str = "conversation.md";

/// A transcript could not be written. The conversation is not lost and can be written elsewhere.
#[derive(Debug, thiserror::Error)]
#[error("the transcript cannot be written to {}", path.display())]
#[non_exhaustive]
pub struct SaveError {
    /// The path of the file.
    pub path: PathBuf,
    /// The error of the system.
    pub source: std::io::Error,
}

/// The error for devices and pipes, which must not be replaced by a file.
const NOT_REGULAR: &str = "it is not a regular file";

/// Returns the mode for a file that replaces the one at this path: that of a regular file, without its executable
/// and set-id bits. A link is replaced, not followed, so neither its mode nor that of its target is used.
///
/// # Errors
///
/// If there is something that must not be replaced: a directory, a pipe or a device, even at the end of a link.
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

/// Writes a file atomically: a reader sees either the old text or the new one.
///
/// # Errors
///
/// If it cannot be written. The old file is unchanged then.
pub fn write_atomically(path: &Path, text: &str) -> Result<(), SaveError> {
    let failed = |source| SaveError { path: path.to_owned(), source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mode = check_place(path).map_err(failed)?;
    if !folder.is_dir() {
        return Err(failed(io::Error::new(io::ErrorKind::NotFound, "its directory does not exist")));
    }
    let mut builder = tempfile::Builder::new();
    builder.prefix(".conversation-").suffix(".tmp");
    // Temporary files are private by default, but a transcript is an ordinary file. The umask applies.
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
    fn failed_write_keeps_old_file() {
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
    fn link_modes_are_not_copied() {
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
