//! The working directory of a task.

use crate::remove_dir::remove_dir_all;
use opencode_run_containment::{GIT_REPOSITORY_VARIABLES, blocking, start_child, withhold_inherited};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::str::FromStr;
use tokio::process::Command;
use uuid::Uuid;

/// The maximum length of a task's name in bytes: with prefix and suffix it stays below the 255 that file systems allow.
const MAX_NAME_BYTES: usize = 128;

/// A task's name: valid as a part of a directory name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskName(String);

/// A text that is not a valid task name.
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
            "it contains a path separator"
        } else if name.starts_with(['-', '.']) {
            "it begins with a dash or a dot"
        } else if !name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.')) {
            "it contains a space or another character that is not allowed in a directory name"
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

/// The reason why a task has no directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskDirError {
    /// The name is not valid in a directory name.
    #[error(transparent)]
    Name(#[from] TaskNameError),
    /// The workspace is not a directory.
    #[error("the workspace {} is not a directory", path.display())]
    NotADirectory {
        /// The path of the workspace.
        path: PathBuf,
    },
    /// The requested directory does not exist or is not a directory.
    #[error("cannot work in {}", path.display())]
    Existing {
        /// The path of the directory.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The task's directory cannot be created.
    #[error("cannot create a task directory in {}", workspace.display())]
    Create {
        /// The parent directory of the task's directory.
        workspace: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// `git init` failed in the new directory, which has been removed again.
    #[error("cannot make the task directory its own repository: git init failed: {why}")]
    Git {
        /// The error output of git.
        why: String,
    },
}

/// The working directory of a task. It outlives this value: dropping it removes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskDir {
    path: PathBuf,
    made: bool,
    own_root: bool,
}

impl TaskDir {
    /// Creates `task_<name>_<8 hex>` in the workspace, which is created too if it does not exist.
    ///
    /// opencode treats the repository around a directory as its project and puts that repository's instructions into
    /// the prompt, so the new directory becomes a repository of its own with `git init`. Without git,
    /// [`is_own_root`](Self::is_own_root) returns `false`.
    ///
    /// # Errors
    ///
    /// If the name or the workspace cannot be used. Then nothing is left behind except, possibly, the workspace; the
    /// same holds if the future is dropped.
    pub async fn create(workspace: &Path, name: &str) -> Result<Self, TaskDirError> {
        let name: TaskName = name.parse()?;
        let workspace = workspace.to_owned();
        let half_made = blocking::call(move || Self::make(&workspace, &name)).await?;
        let own_root = git_init(half_made.path()).await.map_err(|why| TaskDirError::Git { why })?;
        Ok(Self { path: half_made.keep(), made: true, own_root })
    }

    /// Creates the directory and its parents.
    fn make(workspace: &Path, name: &TaskName) -> Result<UnfinishedDir, TaskDirError> {
        let failed = |source| TaskDirError::Create { workspace: workspace.to_owned(), source };
        if workspace.exists() && !workspace.is_dir() {
            return Err(TaskDirError::NotADirectory { path: workspace.to_owned() });
        }
        std::fs::create_dir_all(workspace).map_err(failed)?;
        // opencode resolves links in its working directory; report the same path as opencode.
        let workspace_path = workspace.canonicalize().map_err(failed)?;
        loop {
            let suffix = Uuid::new_v4().simple().to_string();
            let path = workspace_path.join(format!("task_{name}_{}", &suffix[..8]));
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(UnfinishedDir(Some(path))),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// Returns an existing directory. Nothing is created in it.
    ///
    /// # Errors
    ///
    /// If it does not exist or is not a directory.
    pub fn existing(path: &Path) -> Result<Self, TaskDirError> {
        let failed = |source| TaskDirError::Existing { path: path.to_owned(), source };
        let canonical = path.canonicalize().map_err(failed)?;
        // Also checks that it may be entered.
        std::fs::read_dir(&canonical).map_err(failed)?;
        Ok(Self { path: canonical, made: false, own_root: false })
    }

    /// Returns an existing directory like [`existing`](Self::existing), without blocking the runtime: a network file
    /// system may be slow.
    ///
    /// # Errors
    ///
    /// If it does not exist or is not a directory.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, TaskDirError> {
        let path = path.into();
        blocking::call(move || Self::existing(&path)).await
    }

    /// Returns the absolute path, without links in it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether the directory was created for the task.
    #[must_use]
    pub fn was_made(&self) -> bool {
        self.made
    }

    /// Returns whether the directory became the root of its own repository.
    #[must_use]
    pub fn is_own_root(&self) -> bool {
        self.own_root
    }

    /// Removes a directory that was created for the task and is still empty but for its repository. Returns whether it
    /// did.
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

    /// Removes a directory that was created for the task, with its content. Returns whether it did; an existing one is kept.
    ///
    /// # Errors
    ///
    /// If it cannot be removed.
    pub fn remove(&self) -> io::Result<bool> {
        if self.made {
            remove_dir_all(&self.path)?;
        }
        Ok(self.made)
    }
}

/// Removes an unfinished task directory on drop, which includes a drop of the future that creates it.
struct UnfinishedDir(Option<PathBuf>);

impl UnfinishedDir {
    fn path(&self) -> &Path {
        self.0.as_deref().unwrap_or(Path::new(""))
    }

    fn keep(mut self) -> PathBuf {
        self.0.take().unwrap_or_default()
    }
}

impl Drop for UnfinishedDir {
    fn drop(&mut self) {
        if let Some(path) = &self.0
            && let Err(error) = std::fs::remove_dir_all(path)
        {
            tracing::warn!(path = %path.display(), %error, "an unfinished task directory could not be removed");
        }
    }
}

/// Makes a directory a repository of its own. Returns `false` without git.
async fn git_init(path: &Path) -> Result<bool, String> {
    let mut git = Command::new("git");
    // No template: a task must not run the hooks that the user keeps for new repositories.
    git.args(["init", "--quiet", "--template="]).current_dir(path).stdin(Stdio::null()).kill_on_drop(true);
    for variable in GIT_REPOSITORY_VARIABLES {
        git.env_remove(variable);
    }
    withhold_inherited(git.as_std_mut());
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
    async fn created_directory_is_its_own_root() {
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
    async fn invalid_task_name_is_refused() {
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
    async fn file_as_workspace_is_refused() {
        let workspace = tempfile::tempdir().unwrap();
        let file = workspace.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(TaskDir::create(&file, "x").await, Err(TaskDirError::NotADirectory { .. })));
        assert!(matches!(TaskDir::create(&file.join("below"), "x").await, Err(TaskDirError::Create { .. })));
        assert!(matches!(TaskDir::existing(&file), Err(TaskDirError::Existing { .. })));
        assert!(matches!(TaskDir::existing(&workspace.path().join("none")), Err(TaskDirError::Existing { .. })));
    }

    #[tokio::test]
    async fn only_untouched_directory_is_removed() {
        let workspace = tempfile::tempdir().unwrap();
        let untouched = TaskDir::create(workspace.path(), "x").await.unwrap();
        assert!(untouched.remove_if_untouched().unwrap() && !untouched.path().exists());

        let touched = TaskDir::create(workspace.path(), "x").await.unwrap();
        std::fs::write(touched.path().join("work"), "").unwrap();
        assert!(!touched.remove_if_untouched().unwrap() && touched.path().exists());

        let existing = TaskDir::existing(workspace.path()).unwrap();
        assert!(!existing.remove_if_untouched().unwrap() && !existing.remove().unwrap());
        assert!(workspace.path().exists());
        assert!(touched.remove().unwrap() && !touched.path().exists());
    }
}
