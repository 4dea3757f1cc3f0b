//! Workspaces on real repositories.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it")]

mod cleanup;
mod commands;
mod hostile;
mod mirrors;
mod patches;

use super::{Patch, Repository, RepositorySpec, TaskWorkspace, WorkspaceOptions, Workspaces};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A repository and the workspaces of a batch, in a directory of their own.
pub(super) struct Fixture {
    folder: TempDir,
    pub(super) workspaces: Workspaces,
    pub(super) repository: Repository,
}

impl Fixture {
    /// Creates a repository with these files in one commit, and clones it for tasks.
    pub(super) async fn new(files: &[(&str, &[u8])]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        make_repository(&source, files);
        let workspaces = Workspaces::open(options(folder.path())).await.unwrap();
        let repository = workspaces.resolve(&spec(&source)).await.unwrap();
        Self { folder, workspaces, repository }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) async fn task(&self) -> TaskWorkspace {
        self.workspaces.clone_repository(&self.repository, "fix it").await.unwrap()
    }

    pub(super) async fn patch(&self, task: &TaskWorkspace) -> Patch {
        task.take_patch(&self.path("patch.diff")).await.unwrap()
    }

    /// Applies a patch to a fresh clone, checks that this gives the tree of the patch, and returns the clone.
    pub(super) fn apply(&self, patch: &Patch) -> PathBuf {
        let fresh = self.path(&format!("fresh-{}", &patch.sha256[..8]));
        git(self.folder.path(), &["clone", "-q", "source", fresh.to_str().unwrap()]);
        git(&fresh, &["checkout", "-q", self.repository.base_commit()]);
        if patch.bytes > 0 {
            git(&fresh, &["apply", "--index", patch.path.to_str().unwrap()]);
        }
        assert_eq!(git(&fresh, &["write-tree"]).trim(), patch.tree);
        fresh
    }
}

pub(super) fn options(folder: &Path) -> WorkspaceOptions {
    WorkspaceOptions::new(folder.join("cache"), folder.join("clones"))
        .registry(folder.join("registry"))
        .supervisor(None)
}

pub(super) fn spec(path: &Path) -> RepositorySpec {
    RepositorySpec::new(path.to_str().unwrap())
}

pub(super) fn make_repository(path: &Path, files: &[(&str, &[u8])]) {
    std::fs::create_dir_all(path).unwrap();
    git(path, &["init", "-q", "-b", "trunk", "--template="]);
    commit(path, files);
}

/// Writes files and commits them. Returns the commit.
pub(super) fn commit(path: &Path, files: &[(&str, &[u8])]) -> String {
    for (name, bytes) in files {
        let file = path.join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, bytes).unwrap();
    }
    git(path, &["add", "-A"]);
    git(path, &["commit", "-q", "--allow-empty", "-m", "x"]);
    git(path, &["rev-parse", "HEAD"]).trim().to_owned()
}

/// Runs git without the configuration of the user who runs the tests.
pub(super) fn git(directory: &Path, arguments: &[&str]) -> String {
    let mut git = Command::new("git");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GIT_")) {
        git.env_remove(name);
    }
    git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    let configured = ["-c", "user.name=x", "-c", "user.email=x@y", "-c", "protocol.file.allow=always"];
    let output = git.current_dir(directory).args(configured).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
