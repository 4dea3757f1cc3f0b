//! The patch of a task, taken without trusting anything that the agent could write.
//!
//! The `.git` of the task is not read: hooks, `core.fsmonitor` and external diff programs that the agent planted there would run
//! with the user's rights. A private git directory borrows the objects of the mirror and has an index of its own.

use super::WorkspaceError;
use super::checkout::TaskWorkspace;
use super::files::{PRIVATE_PREFIX, blocking};
use super::git::{Git, failed, read_end};
use super::mirror::Repository;
use super::overlay::is_real_directory;
use super::repository::hex;
use opencode_run_process::spawn_plain;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tempfile::TempDir;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use walkdir::WalkDir;

/// The maximum size of a patch: a larger one contains build results.
const MAX_PATCH_BYTES: u64 = 256 * 1024 * 1024;
/// The mode of a submodule in an index.
const SUBMODULE_MODE: &[u8] = b"160000";
/// The maximum number of warnings.
const MAX_WARNINGS: usize = 20;

/// The changes of a task, as a file that `git apply` takes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Patch {
    /// The file with the patch.
    pub path: PathBuf,
    /// The SHA-256 of the patch, in hexadecimal.
    pub sha256: String,
    /// The size of the patch in bytes; 0 if nothing changed.
    pub bytes: u64,
    /// The number of changed files.
    pub files: u64,
    /// The tree that results from applying the patch to the base commit.
    pub tree: String,
    /// The files and nested repositories that the patch lacks, with the reasons.
    pub warnings: Vec<String>,
}

impl TaskWorkspace {
    /// Writes all changes since the base commit to a file: commits of the agent, untracked, deleted and binary files,
    /// links. Files that the repository ignores are skipped, as by `git add`. No program that the agent planted is run.
    ///
    /// Call it when all processes of the turn have ended. Content of repositories within the repository, including
    /// submodules, is skipped with a warning. The file is complete if this succeeds, and absent if it fails.
    ///
    /// # Errors
    ///
    /// If the task has no repository, its directory was replaced, git fails, or the patch is larger than 256 MiB.
    pub async fn take_patch(&self, to: &Path) -> Result<Patch, WorkspaceError> {
        let no_repository =
            || WorkspaceError::Git { operation: "diff-tree", message: "the task has no repository".to_owned() };
        let repository = self.repository().ok_or_else(no_repository)?;
        let private = Private::new(self, repository).await?;
        let commit = repository.base_commit();
        private.run("read-tree", &[commit]).await?;
        let (excluded, mut warnings) = private.nested_repositories().await?;
        warnings.extend(private.add(&excluded).await?);
        let tree = private.run("write-tree", &[]).await?;
        let tree = String::from_utf8_lossy(&tree).trim().to_owned();
        let Diff { sha256, bytes, files } = private.write_diff(commit, &tree, to).await?;
        warnings.truncate(MAX_WARNINGS);
        Ok(Patch { path: to.to_owned(), sha256, bytes, files, tree, warnings })
    }
}

/// A git directory without work tree and configuration of its own, removed on drop.
struct Private<'w> {
    directory: TempDir,
    workspace: &'w TaskWorkspace,
    git: &'w Git,
}

struct Diff {
    sha256: String,
    bytes: u64,
    files: u64,
}

impl<'w> Private<'w> {
    async fn new(workspace: &'w TaskWorkspace, repository: &Repository) -> Result<Self, WorkspaceError> {
        let root = workspace.directory.clone();
        let objects = repository.mirror.join("objects");
        let directory = blocking(move || {
            is_real_directory(&root)?;
            let beside = root.parent().unwrap_or(&root);
            make_private(beside, &objects).map_err(WorkspaceError::io("make a directory in", beside))
        });
        Ok(Self { directory: directory.await?, workspace, git: workspace.git()? })
    }

    fn command(&self) -> Command {
        let mut git = self.git.hardened();
        let directory = self.directory.path();
        git.env("GIT_DIR", directory).env("GIT_INDEX_FILE", directory.join("index"));
        git.env("GIT_WORK_TREE", &self.workspace.directory).current_dir(&self.workspace.directory);
        git
    }

    async fn run(&self, operation: &'static str, arguments: &[&str]) -> Result<Vec<u8>, WorkspaceError> {
        let mut git = self.command();
        git.arg(operation).args(arguments);
        let output = self.git.output(operation, git, None).await?;
        if output.status.success() { Ok(output.stdout) } else { Err(failed(operation, &output.stderr)) }
    }

    /// Finds the repositories within the repository that git must not look into, with a warning for each. git would
    /// start another git in a submodule, which trusts the configuration there.
    async fn nested_repositories(&self) -> Result<(Vec<PathBuf>, Vec<String>), WorkspaceError> {
        let root = self.workspace.directory.clone();
        let has_modules = root.join(".gitmodules").exists();
        let nested = blocking(move || Ok(find_nested(&root))).await?;
        if nested.is_empty() && !has_modules {
            return Ok((Vec::new(), Vec::new()));
        }
        let index = self.run("ls-files", &["--stage", "-z"]).await?;
        let mut excluded = Vec::new();
        let root = &self.workspace.directory;
        // A submodule is an empty directory in a clone, and git skips what is written there.
        let filled = submodules_in(&index).filter(|path| !nested.contains(path) && has_entries(&root.join(path)));
        let lacks =
            |path: PathBuf| format!("the patch lacks the files in the submodule {:?}", path.display().to_string());
        let mut warnings: Vec<_> = filled.map(lacks).collect();
        for path in nested {
            let shown = path.display().to_string();
            if is_directory_in(&index, &path) {
                warnings
                    .push(format!("the patch contains the tracked directory {shown:?}, which is also a repository"));
            } else {
                warnings.push(format!("the patch lacks the repository {shown:?} inside the task's repository"));
                excluded.push(path);
            }
        }
        Ok((excluded, warnings))
    }

    /// Adds all files to the index. Returns a warning for each that cannot be added.
    async fn add(&self, excluded: &[PathBuf]) -> Result<Vec<String>, WorkspaceError> {
        let mut git = self.command();
        // The last option wins: this one enables pathspec magic, and each path below is marked as literal.
        git.arg("--no-literal-pathspecs");
        git.args(["add", "--all", "--ignore-errors", "--pathspec-from-file=-", "--pathspec-file-nul"]);
        let mut input = b":/\0".to_vec();
        for path in excluded {
            input.extend_from_slice(b":(top,exclude,literal)");
            input.extend_from_slice(path.as_os_str().as_encoded_bytes());
            input.push(0);
        }
        let output = self.git.output("add", git, Some(input)).await?;
        if !output.status.success() && !self.directory.path().join("index").exists() {
            return Err(failed("add", &output.stderr));
        }
        if output.status.success() {
            return Ok(Vec::new());
        }
        let reasons = output.stderr.lines().filter_map(|line| line.strip_prefix("error: "));
        let warnings: Vec<_> = reasons.map(|reason| format!("the patch lacks a file: {reason}")).collect();
        if warnings.is_empty() { Err(failed("add", &output.stderr)) } else { Ok(warnings) }
    }

    /// Writes the difference between the commit and a tree.
    async fn write_diff(&self, commit: &str, tree: &str, to: &Path) -> Result<Diff, WorkspaceError> {
        let io = |operation| WorkspaceError::io(operation, to);
        let mut git = self.command();
        git.args(["diff-tree", "-r", "-p", "--binary", "--full-index", "--no-ext-diff", "--no-textconv"]);
        git.args(["--no-renames", "--no-color", "--submodule=short", "--src-prefix=a/", "--dst-prefix=b/"]);
        git.args([commit, tree]).stdout(Stdio::piped());
        let mut child = spawn_plain(git).map_err(io("make"))?;
        let stdout = child.stdout.take();
        let stderr = child.stderr.take();
        // An incomplete patch must not be mistaken for a complete one: it has another name, and is removed on drop.
        let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let temporary =
            tempfile::Builder::new().prefix(".patch-").make_in(folder, |path| std::fs::File::create_new(path));
        let temporary = temporary.map_err(io("write"))?;
        let mut file = File::from_std(temporary.as_file().try_clone().map_err(io("write"))?);
        let copy = async {
            let mut diff = (Sha256::new(), 0, HeaderCount::default());
            let mut buffer = vec![0; 64 * 1024];
            let Some(mut stdout) = stdout else { return Ok(diff) };
            loop {
                let count = stdout.read(&mut buffer).await.map_err(io("write"))?;
                if count == 0 {
                    break;
                }
                diff.1 += count as u64;
                if diff.1 > MAX_PATCH_BYTES {
                    return Err(WorkspaceError::PatchTooLarge { limit: MAX_PATCH_BYTES });
                }
                diff.0.update(&buffer[..count]);
                diff.2.count(&buffer[..count]);
                file.write_all(&buffer[..count]).await.map_err(io("write"))?;
            }
            file.sync_data().await.map_err(io("write"))?;
            Ok(diff)
        };
        let (copied, stderr) = tokio::join!(copy, read_end(stderr));
        // If the copy failed, dropping the child kills it.
        let (hash, bytes, headers) = copied?;
        let status = child.wait().await.map_err(io("make"))?;
        if !status.success() {
            return Err(failed("diff-tree", &stderr));
        }
        temporary.persist(to).map_err(|failed| io("write")(failed.error))?;
        Ok(Diff { sha256: hex(&hash.finalize()), bytes, files: headers.headers })
    }
}

/// Counts the files of a patch as it comes: no other line begins like a file's header.
#[derive(Default)]
struct HeaderCount {
    headers: u64,
    line: Vec<u8>,
}

impl HeaderCount {
    const HEADER: &[u8] = b"diff --git ";

    fn count(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = Self::HEADER.len().saturating_sub(self.line.len());
            let before = self.line.len();
            self.line.extend_from_slice(&piece[..piece.len().min(room)]);
            if before < Self::HEADER.len() && self.line == Self::HEADER {
                self.headers += 1;
            }
            if piece.ends_with(b"\n") {
                self.line.clear();
            }
        }
    }
}

/// Creates a git directory that borrows the objects of the mirror.
fn make_private(beside: &Path, objects: &Path) -> std::io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PRIVATE_PREFIX);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
    let directory = builder.tempdir_in(beside)?;
    let path = directory.path();
    for folder in ["objects/info", "objects/pack", "refs"] {
        std::fs::create_dir_all(path.join(folder))?;
    }
    let mut alternates = objects.as_os_str().as_encoded_bytes().to_vec();
    alternates.push(b'\n');
    std::fs::write(path.join("objects/info/alternates"), alternates)?;
    std::fs::write(path.join("HEAD"), "ref: refs/heads/none\n")?;
    std::fs::write(
        path.join("config"),
        format!("[core]\n\trepositoryformatversion = 0\n\tfilemode = {}\n", cfg!(unix)),
    )?;
    Ok(directory)
}

/// Returns the directories below a root, relative to it, that have a `.git`.
fn find_nested(root: &Path) -> Vec<PathBuf> {
    let entries = WalkDir::new(root).min_depth(1).sort_by_file_name().into_iter();
    let is_below_git = |entry: &walkdir::DirEntry| entry.file_name() == ".git" && entry.file_type().is_dir();
    let mut nested = Vec::new();
    let mut entries = entries;
    while let Some(entry) = entries.next() {
        let Ok(entry) = entry else { continue };
        if is_below_git(&entry) {
            entries.skip_current_dir();
        }
        if entry.file_name() == ".git" && entry.depth() > 1 {
            let folder = entry.path().parent().and_then(|folder| folder.strip_prefix(root).ok());
            nested.extend(folder.map(Path::to_owned));
        }
    }
    nested
}

/// Returns the submodules in an index, as `ls-files --stage -z` prints it.
fn submodules_in(index: &[u8]) -> impl Iterator<Item = PathBuf> {
    let entries = index.split(|byte| *byte == 0).filter(|entry| entry.starts_with(SUBMODULE_MODE));
    let names = entries.filter_map(|entry| entry.splitn(2, |byte| *byte == b'\t').nth(1));
    names.map(|name| PathBuf::from(String::from_utf8_lossy(name).into_owned()))
}

fn has_entries(directory: &Path) -> bool {
    directory.read_dir().is_ok_and(|mut entries| entries.next().is_some())
}

/// Returns whether an index, as `ls-files --stage -z` prints it, has files below a path.
fn is_directory_in(index: &[u8], path: &Path) -> bool {
    let mut prefix = path.as_os_str().as_encoded_bytes().to_vec();
    prefix.push(b'/');
    let mut entries = index.split(|byte| *byte == 0);
    entries.any(|entry| {
        let name = entry.splitn(2, |byte| *byte == b'\t').nth(1);
        !entry.starts_with(SUBMODULE_MODE) && name.is_some_and(|name| name.starts_with(&prefix))
    })
}
