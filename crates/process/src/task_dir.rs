//! The directory that a task works in.

use crate::blocking;
use crate::descriptors;
use crate::environment::GIT_REPOSITORY;
use crate::tree::start_child;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::str::FromStr;
use tokio::process::Command;
use uuid::Uuid;

/// The longest name of a task, in bytes: with prefix and suffix it stays below the 255 that file systems allow.
const MAX_NAME_BYTES: usize = 128;

/// A task's name: something that can stand in a directory's name as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskName(String);

/// A text that cannot be a task's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` cannot be a task's name: {why}; use letters, digits, `_`, `-` and `.`")]
pub struct TaskNameError {
    name: String,
    why: &'static str,
}

impl TaskName {
    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TaskName {
    type Err = TaskNameError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let why = if name.is_empty() {
            "it is empty"
        } else if name.len() > MAX_NAME_BYTES {
            "it is longer than 128 bytes"
        } else if name.contains(['/', '\\']) {
            "it holds a path separator"
        } else if name.starts_with(['-', '.']) {
            "it begins with a dash or a dot"
        } else if !name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.')) {
            "it holds a space or another character that does not belong into a directory's name"
        } else {
            return Ok(Self(name.to_owned()));
        };
        let shown: String = name.chars().take(40).collect();
        Err(TaskNameError { name: shown.escape_debug().to_string(), why })
    }
}

impl fmt::Display for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Why there is no directory for a task.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskDirError {
    /// The name cannot stand in a directory's name.
    #[error(transparent)]
    Name(#[from] TaskNameError),
    /// The workspace is not a directory.
    #[error("the workspace {} is not a directory", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// The directory that was to be worked in does not exist or is no directory.
    #[error("cannot work in {}", path.display())]
    Existing {
        /// The path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The task's directory cannot be made.
    #[error("cannot make a task directory in {}", workspace.display())]
    Create {
        /// The workspace.
        workspace: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// `git init` failed in the new directory, which has been removed again.
    #[error("cannot make the task directory a root of its own: git init failed: {why}")]
    Git {
        /// What git says.
        why: String,
    },
}

/// The directory that a task works in. It outlives this value: dropping it removes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskDir {
    path: PathBuf,
    made: bool,
    own_root: bool,
}

impl TaskDir {
    /// Makes `task_<name>_<8 hex>` in the workspace, which is made as well where it does not exist.
    ///
    /// opencode takes the repository around a directory for its project and puts that repository's instructions into the
    /// prompt, so the new directory is made a repository of its own with `git init`. Where there is no git,
    /// [`is_own_root`](Self::is_own_root) says so.
    ///
    /// # Errors
    ///
    /// If the name or the workspace cannot be used. Then nothing is left behind but, perhaps, the workspace; nor is it where
    /// the future is dropped.
    pub async fn create(workspace: &Path, name: &str) -> Result<Self, TaskDirError> {
        let name: TaskName = name.parse()?;
        let workspace = workspace.to_owned();
        let half_made = blocking::call(move || Self::make(&workspace, &name)).await?;
        let own_root = git_init(half_made.path()).await.map_err(|why| TaskDirError::Git { why })?;
        Ok(Self { path: half_made.keep(), made: true, own_root })
    }

    /// Makes the directory and those above it.
    fn make(workspace: &Path, name: &TaskName) -> Result<HalfMade, TaskDirError> {
        let failed = |source| TaskDirError::Create { workspace: workspace.to_owned(), source };
        if workspace.exists() && !workspace.is_dir() {
            return Err(TaskDirError::NotADirectory { path: workspace.to_owned() });
        }
        std::fs::create_dir_all(workspace).map_err(failed)?;
        // opencode resolves links in its working directory; the name that we show is the one that it shows.
        let workspace_path = workspace.canonicalize().map_err(failed)?;
        loop {
            let suffix = Uuid::new_v4().simple().to_string();
            let path = workspace_path.join(format!("task_{name}_{}", &suffix[..8]));
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(HalfMade(Some(path))),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// Takes a directory that exists. Nothing is made in it.
    ///
    /// # Errors
    ///
    /// If it does not exist or is no directory.
    pub fn existing(path: &Path) -> Result<Self, TaskDirError> {
        let failed = |source| TaskDirError::Existing { path: path.to_owned(), source };
        let canonical = path.canonicalize().map_err(failed)?;
        // Also finds out whether it may be entered.
        std::fs::read_dir(&canonical).map_err(failed)?;
        Ok(Self { path: canonical, made: false, own_root: false })
    }

    /// Takes a directory that exists, as [`existing`](Self::existing) does, without blocking the runtime: a network file system may
    /// take long.
    ///
    /// # Errors
    ///
    /// If it does not exist or is no directory.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, TaskDirError> {
        let path = path.into();
        blocking::call(move || Self::existing(&path)).await
    }

    /// Returns the absolute path, without links in it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether the directory was made for the task.
    #[must_use]
    pub fn was_made(&self) -> bool {
        self.made
    }

    /// Returns whether the directory was made the root of a repository of its own.
    #[must_use]
    pub fn is_own_root(&self) -> bool {
        self.own_root
    }

    /// Removes a directory that was made for the task and in which nothing came about since. Returns whether it did.
    ///
    /// # Errors
    ///
    /// If it cannot be read or removed.
    pub fn remove_if_untouched(&self) -> io::Result<bool> {
        if !self.made || std::fs::read_dir(&self.path)?.any(|entry| entry.map_or(true, |e| e.file_name() != ".git")) {
            return Ok(false);
        }
        std::fs::remove_dir_all(&self.path)?;
        Ok(true)
    }
}

/// Removes a directory that did not come to be a task's, also where the future that makes it is dropped.
struct HalfMade(Option<PathBuf>);

impl HalfMade {
    fn path(&self) -> &Path {
        self.0.as_deref().unwrap_or(Path::new(""))
    }

    fn keep(mut self) -> PathBuf {
        self.0.take().unwrap_or_default()
    }
}

impl Drop for HalfMade {
    fn drop(&mut self) {
        if let Some(path) = &self.0
            && let Err(error) = std::fs::remove_dir_all(path)
        {
            tracing::warn!(path = %path.display(), %error, "a directory that was not needed could not be removed");
        }
    }
}

/// Makes a directory a repository of its own; false where there is no git.
async fn git_init(path: &Path) -> Result<bool, String> {
    let mut git = Command::new("git");
    // No template: a task must not run the hooks that somebody keeps for repositories of their own.
    git.args(["init", "--quiet", "--template="]).current_dir(path).stdin(Stdio::null()).kill_on_drop(true);
    for variable in GIT_REPOSITORY {
        git.env_remove(variable);
    }
    descriptors::withhold_from(git.as_std_mut());
    git.stdout(Stdio::null()).stderr(Stdio::piped());
    let output = async { start_child(|| git.spawn())?.wait_with_output().await };
    match output.await {
        Ok(output) if output.status.success() => Ok(true),
        Ok(output) => match String::from_utf8_lossy(&output.stderr).trim() {
            "" => Err(output.status.to_string()),
            reason => Err(reason.to_owned()),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn makes_a_root_of_its_own_with_the_name_in_it() {
        let workspace = tempfile::tempdir().unwrap();
        let dir = TaskDir::create(&workspace.path().join("new/workspace"), "fix-it").await.unwrap();
        let name = dir.path().file_name().unwrap().to_str().unwrap();
        let hex = name.strip_prefix("task_fix-it_").unwrap();
        assert!(hex.len() == 8 && hex.chars().all(|c| c.is_ascii_hexdigit()), "{name}");
        assert!(dir.path().join(".git/HEAD").is_file() && dir.is_own_root() && dir.was_made());
        assert!(!dir.path().join(".git/hooks").exists());
        let other = TaskDir::create(&workspace.path().join("new/workspace"), "fix-it").await.unwrap();
        assert_ne!(dir.path(), other.path());
    }

    #[tokio::test]
    async fn a_name_that_leaves_the_workspace_or_fits_in_no_directory_is_refused() {
        let workspace = tempfile::tempdir().unwrap();
        for name in ["", "../x", "a/b", "..", ".", "-x", "a\0b", "a b", "a\nb", "\u{202e}x", &"x".repeat(300)] {
            let error = TaskDir::create(workspace.path(), name).await.unwrap_err();
            assert!(matches!(error, TaskDirError::Name(_)), "{name:?}: {error}");
            assert!(error.to_string().contains("use letters"), "{error}");
        }
        assert_eq!(std::fs::read_dir(workspace.path()).unwrap().count(), 0);
        for name in ["task", "fix_1", "v1.2", "Übung", "x-y"] {
            assert!(name.parse::<TaskName>().is_ok(), "{name}");
        }
    }

    #[tokio::test]
    async fn a_workspace_that_is_a_file_is_refused() {
        let workspace = tempfile::tempdir().unwrap();
        let file = workspace.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(TaskDir::create(&file, "x").await, Err(TaskDirError::NotADirectory { .. })));
        assert!(matches!(TaskDir::create(&file.join("below"), "x").await, Err(TaskDirError::Create { .. })));
        assert!(matches!(TaskDir::existing(&file), Err(TaskDirError::Existing { .. })));
        assert!(matches!(TaskDir::existing(&workspace.path().join("none")), Err(TaskDirError::Existing { .. })));
    }

    #[tokio::test]
    async fn only_an_untouched_directory_of_ours_is_removed() {
        let workspace = tempfile::tempdir().unwrap();
        let untouched = TaskDir::create(workspace.path(), "x").await.unwrap();
        assert!(untouched.remove_if_untouched().unwrap() && !untouched.path().exists());

        let touched = TaskDir::create(workspace.path(), "x").await.unwrap();
        std::fs::write(touched.path().join("work"), "").unwrap();
        assert!(!touched.remove_if_untouched().unwrap() && touched.path().exists());

        let existing = TaskDir::existing(workspace.path()).unwrap();
        assert!(!existing.remove_if_untouched().unwrap() && workspace.path().exists());
    }
}
