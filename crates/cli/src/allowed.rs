//! The auto-discovered files that the user has allowed, each by its path and its content.
//!
//! Each entry is a file in the state directory, so that concurrent commands do not overwrite each other's entries.

use opencode_run_process::{find_untrusted, write_private_file};
use opencode_runner::paths::state_dir;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

/// A file in the state in which it was allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Allowed {
    /// The path, with symbolic links in its directory resolved.
    pub(crate) path: PathBuf,
    /// The SHA-256 of its content.
    pub(crate) sha256: String,
}

impl Allowed {
    pub(crate) fn new(path: &Path, content: &[u8]) -> Self {
        Self { path: path.to_owned(), sha256: hex(content) }
    }

    fn name(&self) -> String {
        hex(&[self.path.as_os_str().as_encoded_bytes(), b"\0", self.sha256.as_bytes()].concat())
    }
}

/// The allowed files.
#[derive(Debug)]
pub(crate) struct AllowedFiles(PathBuf);

impl AllowedFiles {
    /// Returns the allowed files of this user; `None` if the user's home directory is unknown.
    pub(crate) fn of_user() -> Option<Self> {
        Some(Self(state_dir()?.join("allowed")))
    }

    /// Returns the files about which a warning was printed; `None` if the user's home directory is unknown.
    pub(crate) fn announced() -> Option<Self> {
        Some(Self(state_dir()?.join("announced")))
    }

    /// Returns whether a file is allowed in its current state. If other users can write the entries, no file is
    /// allowed.
    pub(crate) fn has(&self, file: &Allowed) -> bool {
        let entry = self.0.join(file.name());
        find_untrusted(&entry).is_none() && read(&entry).as_ref() == Some(file)
    }

    /// Allows a file in its current state.
    ///
    /// # Errors
    ///
    /// If the entry cannot be written, or other users can change the directory.
    pub(crate) fn add(&self, file: &Allowed) -> io::Result<()> {
        write_private_file(&self.0.join(file.name()), serde_json::to_string(file)?.as_bytes())
    }

    /// Returns all allowed files, in the order of their paths.
    ///
    /// # Errors
    ///
    /// If the directory cannot be read.
    pub(crate) fn list(&self) -> io::Result<Vec<Allowed>> {
        let entries = match std::fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut files: Vec<_> = entries.filter_map(|entry| read(&entry.ok()?.path())).collect();
        files.sort_by(|one, other| (&one.path, &one.sha256).cmp(&(&other.path, &other.sha256)));
        Ok(files)
    }

    /// Revokes all entries of a path, whatever their content, and returns their number.
    ///
    /// # Errors
    ///
    /// If an entry cannot be removed.
    pub(crate) fn revoke(&self, path: &Path) -> io::Result<usize> {
        let files: Vec<_> = self.list()?.into_iter().filter(|file| file.path == path).collect();
        for file in &files {
            std::fs::remove_file(self.0.join(file.name()))?;
        }
        Ok(files.len())
    }
}

fn read(entry: &Path) -> Option<Allowed> {
    serde_json::from_str(&std::fs::read_to_string(entry).ok()?).ok()
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").ok();
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_allowed_by_path_and_content() {
        let folder = tempfile::tempdir().unwrap();
        let allowed = AllowedFiles(folder.path().join("allowed"));
        let file = Allowed::new(Path::new("/w/.env"), b"a");
        assert!(!allowed.has(&file) && allowed.list().unwrap().is_empty());
        allowed.add(&file).unwrap();
        allowed.add(&file).unwrap();
        assert!(allowed.has(&file));
        assert!(!allowed.has(&Allowed::new(Path::new("/w/.env"), b"b")));
        assert!(!allowed.has(&Allowed::new(Path::new("/x/.env"), b"a")));
        assert_eq!(allowed.list().unwrap(), std::slice::from_ref(&file));
        assert_eq!((allowed.revoke(Path::new("/w/.env")).unwrap(), allowed.has(&file)), (1, false));
        assert_eq!(allowed.revoke(Path::new("/w/.env")).unwrap(), 0);
    }

    #[cfg(unix)]
    #[test]
    fn writable_entries_are_ignored() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let allowed = AllowedFiles(folder.path().join("allowed"));
        let file = Allowed::new(Path::new("/w/.env"), b"a");
        allowed.add(&file).unwrap();
        assert_eq!(allowed.0.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::set_permissions(&allowed.0, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(!allowed.has(&file));
    }
}
