//! The files beside a results file.

use crate::task::id_digest;
use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};

/// The maximum number of characters of an id in a directory's name.
const MAX_SLUG_LEN: usize = 60;

/// The directory of a batch beside its results file, `RESULTS.d`: a directory for each task, the clones, and the
/// sessions.
#[derive(Debug, Clone)]
pub struct BatchFolder {
    results: PathBuf,
    folder: PathBuf,
}

impl BatchFolder {
    /// Returns the directory of a results file, without creating it.
    ///
    /// # Errors
    ///
    /// If the path is relative and the current directory was deleted.
    pub fn of(results: &Path) -> io::Result<Self> {
        let results = std::path::absolute(results)?;
        Ok(Self { folder: beside(&results, ".d"), results })
    }

    /// Creates the directory, accessible only to the user: transcripts may hold secrets.
    ///
    /// # Errors
    ///
    /// If it cannot be created.
    pub fn create(&self) -> io::Result<()> {
        make_private(&self.folder)
    }

    /// Returns the path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Returns the directory of an attempt's files.
    #[must_use]
    pub fn attempt(&self, id: &str, attempt: u32) -> PathBuf {
        let plain = |letter: char| if letter.is_ascii_alphanumeric() || "._-".contains(letter) { letter } else { '-' };
        let slug: String = id.chars().map(plain).take(MAX_SLUG_LEN).collect();
        let mut name = format!("{}-", slug.trim_start_matches('.'));
        for byte in &id_digest(id)[..4] {
            // Writing to a string cannot fail.
            write!(name, "{byte:02x}").ok();
        }
        self.folder.join("tasks").join(name).join(attempt.to_string())
    }

    /// Returns the directory of the clones and of new task directories.
    #[must_use]
    pub fn clones(&self) -> PathBuf {
        self.folder.join("clones")
    }

    /// Returns opencode's database for the sessions of the batch.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.folder.join("sessions.db")
    }

    /// Returns the socket that controls the batch.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        beside(&self.results, ".sock")
    }

    /// Returns a path relative to the directory of the results file, if it is inside that directory.
    #[must_use]
    pub fn relative(&self, path: &Path) -> PathBuf {
        let base = self.results.parent().unwrap_or(Path::new("/"));
        path.strip_prefix(base).unwrap_or(path).to_owned()
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

/// Creates a directory, accessible only to the user, and its missing parents.
pub(super) fn make_private(folder: &Path) -> io::Result<()> {
    if let Some(above) = folder.parent() {
        std::fs::create_dir_all(above)?;
    }
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        made => made,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn task_directories_are_distinct() {
        let folder = BatchFolder::of(Path::new("/data/r.jsonl")).unwrap();
        assert_eq!(folder.path(), Path::new("/data/r.jsonl.d"));
        let of = |id: &str| folder.attempt(id, 1);
        assert_ne!(of("a/b"), of("a-b"));
        assert!(of("../../etc").starts_with("/data/r.jsonl.d/tasks"), "{:?}", of("../../etc"));
        assert!(!of("..").display().to_string().contains(".."), "{:?}", of(".."));
        assert_eq!(folder.relative(&of("a").join("x")).components().next(), Path::new("r.jsonl.d").components().next());
        assert_eq!(folder.socket(), Path::new("/data/r.jsonl.sock"));
    }
}
