//! The found files that the user has allowed, each by its path and its content.
//!
//! Each is a file of its own in the state directory, so that commands that run at once do not lose each other's.

use opencode_run_process::{find_untrusted, write_private_file};
use opencode_runner::paths::state_dir;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

/// A file as it was when it was allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Allowed {
    /// The path, without links in its directory.
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

/// The files that are allowed.
#[derive(Debug)]
pub(crate) struct AllowedFiles(PathBuf);

impl AllowedFiles {
    /// Returns those of this user; `None` if the system does not know the user's home.
    pub(crate) fn of_user() -> Option<Self> {
        Some(Self(state_dir()?.join("allowed")))
    }

    /// Returns those that a warning was printed for; `None` if the system does not know the user's home.
    pub(crate) fn announced() -> Option<Self> {
        Some(Self(state_dir()?.join("announced")))
    }

    /// Returns whether a file is allowed as it is. Nothing is allowed if other users can write the answer.
    pub(crate) fn has(&self, file: &Allowed) -> bool {
        let entry = self.0.join(file.name());
        find_untrusted(&entry).is_none() && read(&entry).as_ref() == Some(file)
    }

    /// Allows a file as it is.
    ///
    /// # Errors
    ///
    /// If that cannot be written, or other users can change the directory.
    pub(crate) fn add(&self, file: &Allowed) -> io::Result<()> {
        write_private_file(&self.0.join(file.name()), serde_json::to_string(file)?.as_bytes())
    }

    /// Returns all that is allowed, in the order of the paths.
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

    /// Takes back what was allowed of a path, whatever its content, and returns how many entries that were.
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
    fn file_is_allowed_by_path_and_content_until_it_is_revoked() {
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
    fn what_others_can_write_is_not_believed() {
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
